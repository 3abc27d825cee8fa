"""One micro-batch of one partition as plain values: events in, what has to be written out. No I/O.

Laws: every record ends in exactly one outcome; what is written for a member depends on the member's state and its own
events only; how events are cut into batches changes no document, cluster or position (only `since`: a cluster that
changed and changed back within one batch was never to be seen). A replayed event changes no state, but its member is
written to Redis again, because the crash that made the replay may have come before that write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from models.apply import Outcome, apply_one
from models.event import BadEvent, ChangeEvent, decode
from models.member import Member, encode
from models.member import decode as decode_state
from models.plan import Plan
from models.position import NOWHERE, position_of
from models.rescore import rescore_many
from models.timestamps import FOREVER
from stream.bookkeeping import APPLIED, Progress
from stream.dead_letters import DeadLetter, Record
from stream.projection import Deletion, Update
from stream.publication import Publication

DEAD_LETTER = "dead_letter"


class Touched(msgspec.Struct, gc=False):
    """A member that the batch's events name, and what became of them. (A struct: one is made for nearly each event.)"""

    member: Member
    was_stored: bool
    applied: bool = False
    replayed_position: int = NOWHERE
    event_ms: int = 0  # latest time of the applied events


@dataclass(slots=True)
class Batch:
    """What is known of a micro-batch so far.

    Attributes:
        done_position: events up to here are in the state already, also those of members that are gone.
        epoch: of the topic, part of every position.
        progress: how far the partition is once this batch is written.
        events: member id → its events in order, with their records.
        members: member id → its state, once loaded.
        produced_ms: record timestamps of the applied events, for freshness.
        outcomes: outcome → number of records.
    """

    done_position: int
    epoch: int
    progress: Progress
    events: dict[bytes, list[tuple[Record, ChangeEvent]]] = field(default_factory=dict)
    members: dict[bytes, Touched] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    produced_ms: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    membership_changes: Counter[str] = field(default_factory=Counter)


def decode_many(records: Sequence[Record], progress: Progress, now_ms: int) -> Batch:
    """Return the batch with its events decoded and put in order by member; bad ones are dead letters.

    Args:
        progress: how far the partition is before this batch.
        now_ms: wall clock, against which events from the future are known.
    """
    batch = Batch(progress.position, progress.epoch, progress)
    events = batch.events
    clock_ms = progress.clock_ms
    for record in records:
        key = record.key
        try:
            event = decode(key, record.value, record.timestamp, now_ms)
        except BadEvent as error:
            _refuse(batch, record, error)
            continue
        clock_ms = max(clock_ms, event.at_ms)
        events.setdefault(key or b"", []).append((record, event))  # decode has refused an empty key
    last = position_of(batch.epoch, records[-1].offset)
    batch.progress = Progress(max(progress.position, last), clock_ms, progress.topic_id)
    return batch


def apply_many(batch: Batch, states: Sequence[bytes | None]) -> None:
    """Apply the batch's events to the members' stored states, given in the order of `batch.events`."""
    base, done_position, n_applied = position_of(batch.epoch, 0), batch.done_position, 0
    for (key, events), state in zip(batch.events.items(), states, strict=True):
        member = Member() if state is None else decode_state(state)
        touched = batch.members[key] = Touched(member, state is not None)
        for record, event in events:
            position = base + record.offset
            try:
                outcome = (
                    Outcome.REPLAYED
                    if position <= done_position
                    else apply_one(member, position, event, len(record.value or b""))
                )
            except BadEvent as error:
                _refuse(batch, record, error)
                continue
            if outcome is Outcome.APPLIED:
                n_applied += 1
                touched.applied = True
                is_gone = member.document is None  # what follows is a fresh member, in this batch or another
                touched.event_ms = 0 if is_gone else max(touched.event_ms, event.at_ms)
                batch.produced_ms.append(record.timestamp)
                continue
            batch.outcomes[outcome] += 1
            if outcome is Outcome.REPLAYED:
                touched.replayed_position = position
    if n_applied:
        batch.outcomes[Outcome.APPLIED] += n_applied


def score_many(batch: Batch, plan: Plan, now_ms: int | None) -> None:
    """Bring the memberships of all changed members up to date; `now_ms` None: at the time of each one's last event."""
    changed = [t for t in batch.members.values() if t.applied and t.member.document is not None]
    times = [t.event_ms if now_ms is None else now_ms for t in changed]
    batch.membership_changes = rescore_many(plan, [t.member for t in changed], times)


def to_update(key: bytes, member: Member, publication: Publication) -> Update:
    """Return what Redis is to hold of a member that has a document."""
    held = member.memberships
    valid_until_ms = None if member.valid_until_ms == FOREVER else member.valid_until_ms
    return Update(
        key, member.position, member.as_of_ms, valid_until_ms, publication.fields, [held[k] for k in publication.keys]
    )


def to_deletion(key: bytes, member: Member, position: int) -> Deletion:
    """Return what Redis is to hold of a deleted member."""
    return Deletion(key, max(member.position, position), member.as_of_ms)


def to_updates(batch: Batch, publication: Publication) -> list[Update | Deletion]:
    """Return what Redis is to hold of the batch's members: the changed ones, and again the replayed ones."""
    updates: list[Update | Deletion] = []
    for key, touched in batch.members.items():
        member = touched.member
        if not touched.applied and touched.replayed_position < 0:
            continue
        if member.document is not None:
            updates.append(to_update(key, member, publication))
        else:
            updates.append(to_deletion(key, member, touched.replayed_position))
    return updates


def to_items(batch: Batch, written_at: int) -> list[tuple[bytes, bytes | None]]:
    """Return the states that changed, for changelog and local state; None: the member is forgotten whole.

    Deletions come last, next to the progress that tells a replay of them.
    A deleted member that carried versions keeps its last one, so that an older event can't bring it back.
    """
    items: list[tuple[bytes, bytes | None]] = []
    gone: list[tuple[bytes, bytes | None]] = []
    for key, touched in batch.members.items():
        if not touched.applied:
            continue
        member = touched.member
        if member.document is not None or member.version >= 0:
            items.append((key, encode(member, written_at)))
        elif touched.was_stored:
            gone.append((key, None))
    return [*items, *gone, (APPLIED, batch.progress.encode(written_at))]


def _refuse(batch: Batch, record: Record, error: BadEvent) -> None:
    if position_of(batch.epoch, record.offset) <= batch.done_position:  # a replay doesn't make another dead letter
        batch.outcomes[Outcome.REPLAYED] += 1
        return
    batch.outcomes[DEAD_LETTER] += 1
    batch.dead_letters.append(DeadLetter(record, error))
