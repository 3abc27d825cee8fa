"""What people were told of campaigns: the findings that reports have shown, one after the other.

Laws:
- A finding is written down when it differs from the last one told of the same family. So what is taken back is known,
  and looking daily writes nothing.
- Whatever the bytes are, they become a finding or a ToldError. A further field, of a newer version, is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class ToldError(ValueError):
    """A record that isn't a finding."""


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a report has told.

    Attributes:
        family: the campaign's id, or that of its split.
        kind: by which it was judged; "": none.
        status: the headline, as readout/finding.py has it.
        at_ms, actor: when, and to whom.
        difference, low, high: the overall effect and its interval; None: not told.
    """

    family: str
    kind: str
    status: str
    at_ms: int
    actor: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def encode(told: Told) -> bytes:
    """Return a finding as JSON."""
    return msgspec.json.encode(told)


def decode(data: bytes | None) -> Told:
    """Return the finding of a record's value. Raises ToldError."""
    try:
        return msgspec.json.decode(data or b"", type=Told)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ToldError(f"expected a finding, found something else ({str(error)[:200]})") from None


def is_news(told: Told, before: Iterable[Told]) -> bool:
    """Return whether a finding differs from the last one of its family: in its kind, or its headline."""
    last = [(other.kind, other.status) for other in before if other.family == told.family]
    return not last or last[-1] != (told.kind, told.status)
