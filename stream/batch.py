"""One micro-batch of one partition as plain values: events in, what has to be written out. No I/O.

Laws: every record ends in exactly one outcome; what is written for a member depends on the member's state and its own
events only; how events are cut into batches changes no document, cluster or position (only `since`: a cluster that
changed and changed back within one batch was never to be seen). A replayed event changes no document, but its member is
written to Redis again, because the crash that made the replay may have come before that write; under other models than
those of its state it is scored again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from models.apply import Outcome, apply_one
from models.event import DELETE, BadEvent, ChangeEvent, decode_key, decode_value
from models.member import Member, encode
from models.member import decode as decode_state
from models.position import NOWHERE, position_of
from models.rescore import rescore_many
from models.timestamps import FOREVER
from stream.bookkeeping import APPLIED, Progress
from stream.dead_letters import DeadLetter
from stream.projection import Deletion, Update
from stream.publication import Publication
from stream.source_topic import Record

DEAD_LETTER = "dead_letter"
_APPLIED, _REPLAYED = Outcome.APPLIED, Outcome.REPLAYED  # as in models/event.py


class Touched(msgspec.Struct, gc=False):
    """A member that the batch's events name, and what became of them. (A struct: one is made for nearly each event.)"""

    member: Member
    was_stored: bool
    was_due_ms: int  # when its stored state falls due
    changed: bool = False  # its state must be written
    replayed_position: int = NOWHERE  # of an event whose outcome Redis may lack
    event_ms: int = 0  # latest time of the applied events


@dataclass(slots=True)
class Batch:
    """What is known of a micro-batch so far.

    Attributes:
        done_position: events up to here are in the state already, also those of members that are gone.
        progress: how far the partition is once this batch is written; its epoch is part of every position.
        records: key → its records in order.
        items: states that changed, for changelog and local state.
        gone: members that are forgotten whole.
        left: members that were deleted, also those that have come back since: they are on no list any more.
        updates: what Redis is to hold of the members: the changed ones, and again the replayed ones.
        produced_ms: record timestamps of the applied events, for freshness.
        outcomes: outcome → number of records.
        written_at: the write position of what is written (stream/state_store.py).
        timers: members that fall due at another time than before.
    """

    partition: int
    done_position: int
    progress: Progress
    written_at: int
    records: dict[bytes | None, list[Record]]
    items: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    gone: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    left: set[bytes] = field(default_factory=set)
    updates: list[Update | Deletion] = field(default_factory=list)
    timers: list[tuple[bytes, int, int]] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    produced_ms: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    membership_changes: Counter[str] = field(default_factory=Counter)


Events = dict[bytes, list[tuple[Record, ChangeEvent]]]  # member id → its events in order, with their records


def begin(partition: int, progress: Progress, records: Sequence[Record], written_at: int) -> Batch:
    """Return the batch of a partition that is as far as `progress`, its records put in order by member.

    Args:
        written_at: the highest write position of the partition so far.
    """
    by_key: dict[bytes | None, list[Record]] = {}
    for record in records:
        by_key.setdefault(record.key, []).append(record)
    last = max(progress.position, position_of(progress.epoch, records[-1].offset))
    done = Progress(last, progress.clock_ms, progress.topic_id)
    return Batch(partition, progress.position, done, max(last, written_at), by_key)


def decode_many(batch: Batch, keys: Sequence[bytes | None], now_ms: int) -> Events:
    """Return the events of some of the batch's keys; bad ones are dead letters.

    Args:
        now_ms: wall clock, against which events from the future are known.
    """
    events: Events = {}
    clock_ms = batch.progress.clock_ms
    for key in keys:
        its_records = batch.records[key]
        try:
            member_id = decode_key(key)
        except BadEvent as error:
            for record in its_records:
                _refuse(batch, record, error)
            continue
        its_events: list[tuple[Record, ChangeEvent]] = []
        for record in its_records:
            try:
                event = decode_value(member_id, record.value, record.timestamp, now_ms)
            except BadEvent as error:
                _refuse(batch, record, error)
                continue
            if event.at_ms > clock_ms:
                clock_ms = event.at_ms
            its_events.append((record, event))
        if its_events and key:
            events[key] = its_events
    batch.progress = Progress(batch.progress.position, clock_ms, batch.progress.topic_id)
    return events


def apply_many(batch: Batch, events: Events, states: Sequence[bytes | None]) -> dict[bytes, Touched]:
    """Return members with their events applied to their stored states, which are in the order of `events`."""
    base, done_position, n_applied = position_of(batch.progress.epoch, 0), batch.done_position, 0
    members: dict[bytes, Touched] = {}
    for (key, its_events), state in zip(events.items(), states, strict=True):
        member = Member() if state is None else decode_state(state)
        touched = members[key] = Touched(member, state is not None, member.valid_until_ms)
        for record, event in its_events:
            position = base + record.offset
            try:
                outcome = (
                    _REPLAYED
                    if position <= done_position
                    else apply_one(member, position, event, len(record.value or b""))
                )
            except BadEvent as error:
                _refuse(batch, record, error)
                continue
            if outcome is _APPLIED:
                n_applied += 1
                touched.changed = True
                if member.document is None:  # what follows is a fresh member, in this batch or another
                    batch.left.add(key)
                    touched.event_ms = 0
                elif event.at_ms > touched.event_ms:
                    touched.event_ms = event.at_ms
                batch.produced_ms.append(record.timestamp)
                continue
            batch.outcomes[outcome] += 1
            # Without a document only a delete wrote to Redis: what failed for want of one must make no tombstone.
            if outcome is _REPLAYED and (member.document is not None or event.op is DELETE):
                touched.replayed_position = position
    if n_applied:
        batch.outcomes[_APPLIED] += n_applied
    return members


def score_many(
    members: Sequence[tuple[Batch, Mapping[bytes, Touched]]], publication: Publication, now_ms: int | None
) -> None:
    """Bring the memberships of changed members up to date; `now_ms` None: at the time of each one's last event."""
    together = [touched for _, its in members for touched in its.values()]
    for touched in together:
        if touched.replayed_position >= 0 and not touched.changed and touched.member.document is not None:
            touched.changed = not publication.covers(touched.member)
    changed = [t for t in together if t.changed and t.member.document is not None]
    times = [t.event_ms if now_ms is None else now_ms for t in changed]
    changes = rescore_many(publication.plan, [t.member for t in changed], times)
    members[0][0].membership_changes += changes  # they are counted by model: one batch may tell for all


def encode_many(batch: Batch, members: Mapping[bytes, Touched], publication: Publication) -> None:
    """Add what is to be written of these members; after it they aren't needed any more.

    A deleted member that carried versions keeps its last one, so that an older event can't bring it back.
    """
    for key, touched in members.items():
        member, is_there = touched.member, touched.member.document is not None
        if touched.changed:
            if is_there or member.version >= 0:
                batch.items.append((key, encode(member, batch.written_at)))
            elif touched.was_stored:
                batch.gone.append((key, None))
            if member.valid_until_ms != touched.was_due_ms:  # of a deleted one it is for ever
                batch.timers.append((key, touched.was_due_ms, member.valid_until_ms))
        elif touched.replayed_position < 0:
            continue
        if is_there:
            batch.updates.append(to_update(key, member, publication))
        else:
            batch.updates.append(to_deletion(key, member, touched.replayed_position))


def to_items(batch: Batch) -> list[tuple[bytes, bytes | None]]:
    """Return all that changes in the state; deletions come last, next to the progress that tells a replay of them."""
    return [*batch.items, *batch.gone, (APPLIED, batch.progress.encode(batch.written_at))]


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


def _refuse(batch: Batch, record: Record, error: BadEvent) -> None:
    if position_of(batch.progress.epoch, record.offset) <= batch.done_position:  # a replay makes no other dead letter
        batch.outcomes[_REPLAYED] += 1
        return
    batch.outcomes[DEAD_LETTER] += 1
    batch.dead_letters.append(DeadLetter(record, error))
