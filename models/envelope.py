"""The envelope of a change event as types: a well-formed one is read in one pass, without asking field by field.

Laws: only a well-formed envelope is returned; for anything else the answer is None, without a reason. Documents,
patches and appended values stay JSON text here, and orjson reads them, like every document everywhere: two readers of
JSON differ in numbers beyond 64 bits.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Raw

MAX_VERSION = 2**53 - 1  # the largest integer that every JSON reader keeps exact

Version = Annotated[int, msgspec.Meta(ge=0, le=MAX_VERSION)]


class _Common(msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="op"):
    """Fields of every envelope. `at`: ms since the epoch, or ISO 8601; None: the record's timestamp."""

    at: int | str | None = None
    version: Version | None = None
    member_id: str | None = None
    meta: Any = None  # read so that its text is checked, too


class Replace(_Common, tag="replace"):
    document: Raw = Raw()


class Patch(_Common, tag="patch"):
    patch: Raw = Raw()
    create: bool = False


class Append(_Common, tag="append"):
    path: str = ""
    value: Raw = Raw()
    create: bool = False


class Delete(_Common, tag="delete"):
    pass


Envelope = Replace | Patch | Append | Delete
_decode = msgspec.json.Decoder(Envelope).decode


def read_typed(value: bytes) -> Envelope | None:
    """Return the envelope, or None if anything about it is unusual."""
    try:
        envelope: Envelope = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return envelope
