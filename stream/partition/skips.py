"""Records that an operator has set aside: a worker makes each a dead letter (reason `skipped`) without handling it.

Laws:
- A skip names one record: topic, the id that the broker gave it, partition, offset. Another topic of the same name is
  another topic.
- Steps are never taken back, and no record of their log stops a worker: what isn't a step is logged and left out.

Format of a step, JSON: format (1), topic, topic_id (hexadecimal, "" if the broker tells none), partition, offset,
at_ms, actor, reason, forced. Unknown fields are ignored. A step of another format isn't read.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

log = logging.getLogger(__name__)

FORMAT = 1
_NOTHING: Mapping[int, str] = MappingProxyType({})


class Skip(msgspec.Struct, frozen=True, kw_only=True):
    """Who has set which record aside, when (ms) and why. `forced`: no worker stood at the record."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    at_ms: int
    actor: str
    reason: str = ""
    forced: bool = False
    format: int = FORMAT


class SkipError(ValueError):
    """Bytes that aren't a step."""


def encode(skip: Skip) -> bytes:
    return msgspec.json.encode(skip)


def decode(data: bytes | None) -> Skip:
    """Return the step of `encode`'s bytes. Raises SkipError."""
    try:
        skip = msgspec.json.decode(data or b"", type=Skip)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SkipError(f"not a step ({error})") from None
    if skip.format != FORMAT:
        raise SkipError(f"expected format {FORMAT}, found {skip.format}")
    return skip


class Skips:
    """All steps of the log so far.

    Attributes:
        offset: of the log's last record that was taken; -1: none.
        steps: offset in the log → step.
    """

    def __init__(self) -> None:
        self.offset = -1
        self.steps: dict[int, Skip] = {}
        # topic and partition → id of the topic → offset → text of its dead letter, from the record's first step
        self._at: defaultdict[tuple[str, int], dict[str, dict[int, str]]] = defaultdict(dict)

    def take(self, offset: int, data: bytes | None) -> None:
        """Take in the next record of the log. A record that was taken before changes nothing."""
        if offset <= self.offset:
            return
        self.offset = offset
        try:
            skip = decode(data)
        except SkipError as error:
            log.error(
                "offset %d of the skips: %s: left out. Next: update this worker, or find who wrote it", offset, error
            )
            return
        self.steps[offset] = skip
        its = self._at[skip.topic, skip.partition].setdefault(skip.topic_id, {})
        its.setdefault(skip.offset, f"set aside by an operator, step {offset} of `memberstream events skipped`")

    def begin_anew(self) -> None:
        """Another log begins, from its beginning. What was set aside stays set aside."""
        self.offset = -1

    def of(self, topic: str, topic_id: bytes, partition: int) -> Mapping[int, str]:
        """Return the offsets that are set aside in a partition, each with the text of its dead letter."""
        if not (by_id := self._at.get((topic, partition))):
            return _NOTHING
        ids = ("", topic_id.hex()) if topic_id else by_id
        found = [by_id[one] for one in ids if one in by_id]
        return found[0] if len(found) == 1 else {offset: said for its in found for offset, said in its.items()}
