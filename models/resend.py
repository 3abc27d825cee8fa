"""A dead letter that is sent again: a record of the topic around the event, with what its partition's owner must know.

    {"op": "resend", "partition": 1, "origin": 17, "seen_to": 40, "before": [], "at": 1772357400000, "by": "alice",
     "event": {"op": "patch", "patch": {"country": "de"}}}

- `event`: the record's value as it came, null too. `at`: that record's timestamp.
- `origin`: the offset at which the event first stood in this partition; -1: it stood in another one.
- `seen_to`: the sender had read this partition up to there, without this offset: of what comes behind it, it knew
  nothing.
- `before`: the offsets at which earlier events of the same member were sent again.

Laws:
- It holds only in the partition that it names, like a command (models/command.py). Elsewhere, and to a version that
  doesn't know it, it is an event with an unknown `op`: a dead letter again, and nothing is changed.
- The owner of the partition judges it in order with the member's other events (models/apply.py). So nothing can come
  between a look at the member and the change.
- A letter that was sent again and failed again is a letter of the event inside: origin and event stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from memberstream.models.event import Again, ChangeEvent, decode_value
from memberstream.models.position import NOWHERE, position_of

_NULL = b"null"


class Resend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes: by: for people who read the topic later. The others: see above."""

    partition: int
    origin: int
    seen_to: int
    before: tuple[int, ...]
    at: int
    by: str
    event: msgspec.Raw
    op: Literal["resend"] = "resend"

    @property
    def value(self) -> bytes | None:
        """The value of the record that became a dead letter."""
        return None if (value := bytes(self.event)) == _NULL else value


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Resend).decode


def encode_resend(
    value: bytes | None, partition: int, origin: int, seen_to: int, before: Sequence[int], at_ms: int, by: str
) -> bytes:
    """Return the value of the record that sends an event again; its key is the member's id."""
    event = msgspec.Raw(_NULL if value is None else value)
    return _encode(Resend(partition, origin, seen_to, tuple(before), at_ms, by, event))


def resent_in(value: bytes | None) -> Resend | None:
    """Return what a record sends again, whatever its partition; None if it doesn't."""
    try:
        return _decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_resend(value: bytes | None, partition: int) -> Resend | None:
    """Return what a record of a partition sends again; None if it doesn't, or belongs to another partition."""
    resend = resent_in(value)
    return resend if resend is not None and resend.partition == partition else None


def resent_event(resend: Resend, member_id: str, epoch: int, now_ms: int) -> ChangeEvent:
    """Return the event, with the positions by which it is judged. Raises BadEvent: it still can't be read."""
    event = decode_value(member_id, resend.value, resend.at, now_ms)
    origin, seen_to, *before = (
        NOWHERE if offset < 0 else position_of(epoch, offset)
        for offset in (resend.origin, resend.seen_to, *resend.before)
    )
    return msgspec.structs.replace(event, again=Again(origin, seen_to, tuple(before)))
