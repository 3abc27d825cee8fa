"""Change event → document: what one event does to one member's state.

Laws:
- Replaying changes nothing: an event at or below the member's position is REPLAYED, whatever it says.
- Older changes nothing: an event whose version is at or below the member's is IGNORED.
- A deleted member is forgotten whole; what is created after it starts from nothing.
- An event that can't be applied raises `BadEvent` and leaves the member as it was.
"""

from __future__ import annotations

from enum import StrEnum

import orjson

from models.document import NotAList, append, merge_patch
from models.event import DELETE, MAX_VALUE_BYTES, PATCH, REPLACE, BadEvent, ChangeEvent, Reason
from models.member import Member
from models.plan import EVERYTHING

_MAX_GROWTH = 4  # orjson writes `9e15` (4 bytes and a comma) as `9000000000000000.0` (18 and a comma), the worst case


class Outcome(StrEnum):
    """What became of an event; with `dead_letter` the values of the metric's label."""

    APPLIED = "applied"
    IGNORED_VERSION = "ignored_version"
    REPLAYED = "replayed"


_APPLIED, _IGNORED_VERSION, _REPLAYED = Outcome  # as in models/event.py


def apply_one(member: Member, position: int, event: ChangeEvent, size_bytes: int = 0) -> Outcome:
    """Apply one event to a member in place; a member never seen is `Member()`.

    Args:
        position: of the event in the member's partition (models/position.py).
        size_bytes: length of the event's record, to bound the document's growth.

    Raises:
        BadEvent: UNKNOWN_MEMBER, NOT_A_LIST or TOO_LARGE; the member is as before, but for paths in `touched`.
    """
    if position <= member.position:
        return _REPLAYED
    if event.version is not None and event.version <= member.version:
        return _IGNORED_VERSION
    if event.op is DELETE:
        member.forget()
    else:
        _change(member, event, size_bytes)
    member.position = position
    if event.version is not None:
        member.version = event.version
    return _APPLIED


def _change(member: Member, event: ChangeEvent, size_bytes: int) -> None:
    document, touched = member.document, member.touched
    if event.op is REPLACE:
        changed = event.body
        touched |= EVERYTHING
        document_bytes = _MAX_GROWTH * size_bytes
    else:
        if document is None:
            if not event.create:
                raise BadEvent(Reason.UNKNOWN_MEMBER, 'expected a known member, or "create": true in the envelope')
            document = {}
            touched |= EVERYTHING
        document_bytes = member.document_bytes + _MAX_GROWTH * size_bytes
        try:
            if event.op is PATCH:
                changed = merge_patch(document, event.body, touched)
            else:
                changed = append(document, event.path, event.body, touched)
        except NotAList:
            raise BadEvent(
                Reason.NOT_A_LIST, "path: expected a list or nothing at this path of the document, found another value"
            ) from None
    if document_bytes > MAX_VALUE_BYTES:  # an upper estimate: only now is measuring worth its time
        document_bytes = len(orjson.dumps(changed))
        if document_bytes > MAX_VALUE_BYTES:
            raise BadEvent(Reason.TOO_LARGE, f"expected the document to stay within {MAX_VALUE_BYTES} bytes")
    member.document, member.document_bytes = changed, document_bytes
