"""Events of a batch applied to members' stored states, and the members scored again.

Laws:
- A replayed event changes no document. But its member is written to Redis again, because the crash that caused the
  replay may have come before that write. Under other models than those of its state the member is scored again.
- Whoever has no document isn't scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from memberstream.models.apply import Outcome, apply_one, fitting
from memberstream.models.event import DELETE, FORGET, BadEvent
from memberstream.models.member import Member, Memberships, NewerState, StateError
from memberstream.models.position import NOWHERE, position_of
from memberstream.models.rescore import rescoring
from memberstream.models.steps import Steps
from memberstream.stream.members.batch import REPLAYED, STEP_BYTES, Batch, refuse
from memberstream.stream.members.decoding import Events
from memberstream.stream.members.recent import Recent
from memberstream.stream.registry.publication import Publication

_APPLIED, _REPLAYED = Outcome.APPLIED, REPLAYED  # as in models/event.py


class Touched(msgspec.Struct, gc=False):
    """A member that the batch's events name, and what became of it. (A struct: nearly each event makes one.)"""

    member: Member
    was_due_ms: int  # when its stored state falls due
    was: Memberships | None  # in its stored state
    changed: bool = False  # its state must be written
    replayed_position: int = NOWHERE  # position of an event whose outcome Redis may lack
    event_ms: int = 0  # latest time of the applied events
    is_deleted: bool = False  # one of its events deleted it: Redis drops its lists, too
    is_released: bool = False  # its last event was the command to forget it: Redis keeps no tombstone


def applying(
    batch: Batch, events: Events, states: Sequence[bytes | None], recent: Recent
) -> Steps[dict[bytes, Touched]]:
    """Return members with their events applied to their stored states. These are in the order of `events`."""
    base, done_position, n_applied, n_bytes = position_of(batch.progress.epoch, 0), batch.done_position, 0, 0
    members: dict[bytes, Touched] = {}
    fitting_bytes = fitting(batch.state_bytes)
    for (key, its_events), state in zip(events.items(), states, strict=True):
        try:
            member = Member() if state is None else recent.decode(key, state)
        except StateError as error:
            if isinstance(error, NewerState) or its_events[0][1].op is not FORGET:
                raise
            member = Member()  # damaged: it is dropped, whatever it was
        was = None if member.document is None else member.memberships.copy()
        touched = members[key] = Touched(member, member.valid_until_ms, was)
        for record, event in its_events:
            n_bytes += member.document_bytes
            if n_bytes > STEP_BYTES:
                n_bytes = 0
                yield
            position = base + record.offset
            try:
                outcome = (
                    _REPLAYED
                    if position <= done_position
                    else apply_one(member, position, event, len(record.value or b""), fitting_bytes)
                )
            except BadEvent as error:
                refuse(batch, record, error)
                continue
            if outcome is _APPLIED:
                n_applied += 1
                touched.changed = True
                if member.document is None:  # an event after this makes a fresh member, in this batch or another
                    touched.is_released = event.op is FORGET
                    if event.op is DELETE:
                        touched.is_deleted = True
                        batch.left.add(key)
                    touched.event_ms = 0
                elif event.at_ms > touched.event_ms:
                    touched.event_ms = event.at_ms
                batch.produced_ms.append(record.timestamp)
                continue
            batch.outcomes[outcome] += 1
            # Without a document only a delete writes to Redis. An event that failed for lack of one must make no
            # tombstone.
            if outcome is _REPLAYED and (member.document is not None or event.op is DELETE or event.op is FORGET):
                touched.replayed_position = position
                touched.is_released = event.op is FORGET
                touched.is_deleted = touched.is_deleted or event.op is DELETE
    if n_applied:
        batch.outcomes[_APPLIED] += n_applied
    return members


def scoring(
    members: Sequence[tuple[Batch, Mapping[bytes, Touched]]], publication: Publication, now_ms: int | None
) -> Steps[None]:
    """Bring the memberships of changed members up to date. `now_ms` None: at the time of each member's last event."""
    together = [touched for _, its in members for touched in its.values()]
    for touched in together:
        if touched.replayed_position >= 0 and not touched.changed and touched.member.document is not None:
            touched.changed = not publication.covers(touched.member)
    changed = [t for t in together if t.changed and t.member.document is not None]
    times = [t.event_ms if now_ms is None else now_ms for t in changed]
    changes = yield from rescoring(publication.plan, [t.member for t in changed], times)
    members[0][0].membership_changes += changes  # they are counted by model, so one batch may report for all
