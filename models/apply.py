"""Change event → document: what one event does to one member's state.

Laws:
- A replayed event changes nothing: at or below the member's position it is REPLAYED, whatever it says.
- An older event changes nothing: if its version is at or below the member's, it is IGNORED.
- A dead letter that is sent again changes no member that has had a later event: it is refused (SUPERSEDED). Two
  versions say which event is later, up to where the sender had seen the topic. Positions say it behind that, and where
  one has no version, or the member is deleted.
- A deleted member is forgotten whole. If it is created again, it starts from nothing.
- FORGET drops all that is known of a member here, its version too. REWRITE changes nothing, like a replay.
- An event that can't be applied raises `BadEvent` and leaves the member as it was.
"""

from __future__ import annotations

from enum import StrEnum

from memberstream.models.document import NotAList, append, merge_patch
from memberstream.models.event import (
    DELETE,
    FORGET,
    MAX_VALUE_BYTES,
    PATCH,
    REPLACE,
    REWRITE,
    Again,
    BadEvent,
    ChangeEvent,
    Reason,
)
from memberstream.models.member import Member, document_size
from memberstream.models.packed_list import json_bytes
from memberstream.models.plan import EVERYTHING
from memberstream.models.position import NOWHERE

# Most paths that are looked at one by one. If an event touches more, all predictors are evaluated. That costs less than
# to ask, for each of 100,000 paths and for every part of the plan, which predictors read it.
MAX_TOUCHED = 256
_STATE_GROWTH = 3  # a number of 4 bytes in JSON, `1.5,`, takes 9 in a state, the worst case
_BESIDE_BYTES = 65_536  # of a state beside its document: memberships, some 30 bytes each; rows go if there is no room
_MAX_GROWTH = 4  # orjson writes `9e15` (4 bytes and a comma) as `9000000000000000.0` (18 and a comma), the worst case


class Outcome(StrEnum):
    """What became of an event. These values, and `dead_letter`, are those of the metric's label."""

    APPLIED = "applied"
    IGNORED_VERSION = "ignored_version"
    REPLAYED = "replayed"


_APPLIED, _IGNORED_VERSION, _REPLAYED = Outcome  # as in models/event.py


def fitting(state_bytes: int) -> int:
    """Return the size of a document, as JSON, that surely fits into a state of so many bytes."""
    return max(0, min(MAX_VALUE_BYTES, (state_bytes - _BESIDE_BYTES) // _STATE_GROWTH))


def apply_one(
    member: Member, position: int, event: ChangeEvent, size_bytes: int = 0, fitting_bytes: int = MAX_VALUE_BYTES
) -> Outcome:
    """Apply one event to a member in place; a member never seen is `Member()`.

    Args:
        position: of the event in the member's partition (models/position.py).
        size_bytes: length of the event's record, to bound the document's growth.
        fitting_bytes: a document of this size surely fits into its state. By default, every document that is allowed.

    Raises:
        BadEvent: UNKNOWN_MEMBER, NOT_A_LIST, TOO_LARGE or SUPERSEDED. The member is as before; `touched` may have more
            paths.
    """
    if position <= member.position:
        return _REPLAYED
    if event.version is not None and event.version <= member.version:
        return _IGNORED_VERSION
    if event.again is not None:
        _refuse_superseded(member, event.version, event.again)
    if event.op is DELETE:
        member.forget()
    elif event.op is REWRITE:
        return _REPLAYED
    elif event.op is FORGET:
        member.forget()
        member.version = NOWHERE
    else:
        _change(member, event, size_bytes, fitting_bytes)
    member.position = position
    if event.version is not None:
        member.version = event.version
    return _APPLIED


def _refuse_superseded(member: Member, version: int | None, again: Again) -> None:
    if member.document is None and member.version < 0:
        return  # unknown: of a delete without versions nothing is kept, so one in the same batch must not count either
    is_ordered_by_version = version is not None and member.version >= 0 and member.document is not None
    # A member keeps its version through events without one: of the last event, only who has seen it knows which it was.
    first_later = again.seen_to if is_ordered_by_version else again.origin
    if member.position >= first_later and member.position not in again.before:
        raise BadEvent(Reason.SUPERSEDED, "expected no later event of the member, found one: nothing is changed")


def _change(member: Member, event: ChangeEvent, size_bytes: int, fitting_bytes: int) -> None:
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
    if len(touched) > MAX_TOUCHED:
        touched.clear()
        touched |= EVERYTHING
    if document_bytes > fitting_bytes:  # an upper estimate: only now is measuring worth its time
        document_bytes = json_bytes(changed)
        if document_bytes > MAX_VALUE_BYTES:
            raise BadEvent(Reason.TOO_LARGE, f"expected the document to stay within {MAX_VALUE_BYTES} bytes")
        room = _STATE_GROWTH * fitting_bytes
        if document_bytes > fitting_bytes and document_size(changed) > room:
            raise BadEvent(Reason.TOO_LARGE, f"expected the document to stay within the {room} bytes of its state")
    member.document, member.document_bytes = changed, document_bytes
