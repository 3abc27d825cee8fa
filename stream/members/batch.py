"""One micro-batch of one partition as plain values, in steps: events in; out comes what must be written. No I/O.

Laws:
- Every record ends in exactly one outcome.
- What is written for a member depends only on the member's state and its own events.
- How events are cut into batches changes no document, cluster or position. It changes only `since`: nobody sees a
  cluster that changed and changed back within one batch.
- A replayed event changes no document. But its member is written to Redis again, because the crash that caused the
  replay may have come before that write. Under other models than those of its state the member is scored again.
- An event that belongs to another partition (models/placement.py) is refused before anything else. Offsets of two
  partitions can't be compared, so a member with events in both could never be right. A member that the state holds is
  served where it is, even if a version without this law took it in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from memberstream.models.apply import Outcome, apply_one, fitting
from memberstream.models.command import Command, decode_command
from memberstream.models.event import (
    DELETE,
    FORGET,
    REPLACE,
    BadEvent,
    ChangeEvent,
    Order,
    Reason,
    decode_key,
    decode_value,
    json_key,
)
from memberstream.models.member import Member, Memberships, Move, NewerState, StateError, encode
from memberstream.models.member import decode as decode_state
from memberstream.models.placement import Placement
from memberstream.models.position import NOWHERE, position_of
from memberstream.models.rescore import rescoring
from memberstream.models.resend import decode_resend, resent_event
from memberstream.models.steps import Steps
from memberstream.models.timestamps import FOREVER
from memberstream.stream.partition.bookkeeping import APPLIED, Progress, voiding
from memberstream.stream.partition.dead_letters import DeadLetter
from memberstream.stream.partition.source_topic import Record, passed
from memberstream.stream.projection.members import Deletion, Release, Update, Write
from memberstream.stream.registry.publication import Publication

DEAD_LETTER = "dead_letter"
# Bytes of events or documents handled in one step: some tenths of a millisecond, some 10 ms at the worst.
STEP_BYTES = 1 << 16
_APPLIED, _REPLAYED = Outcome.APPLIED, Outcome.REPLAYED  # as in models/event.py


class Touched(msgspec.Struct, gc=False):
    """A member that the batch's events name, and what became of it. (A struct: nearly each event makes one.)"""

    member: Member
    was_stored: bool
    was_due_ms: int  # when its stored state falls due
    was: Memberships | None  # in its stored state
    changed: bool = False  # its state must be written
    replayed_position: int = NOWHERE  # position of an event whose outcome Redis may lack
    event_ms: int = 0  # latest time of the applied events
    is_deleted: bool = False  # one of its events deleted it: Redis drops its lists, too
    is_released: bool = False  # its last event was the command to forget it: Redis keeps no tombstone


@dataclass(slots=True)
class Batch:
    """What is known about a micro-batch so far.

    Attributes:
        done_position: events up to here are in the state already, also those of members that are gone.
        progress: how far the partition is once this batch is written. Its epoch is part of every position.
        records: key → its records in order.
        items: states that changed, for changelog and local state. Ahead of them stands the mark, if they void it.
        gone: members that are forgotten whole.
        left: members that were deleted, even if they have come back since: they are on no list any more.
        updates: what Redis must hold about members: changed ones, and replayed ones again.
        produced_ms: record timestamps of the applied events, for freshness.
        outcomes: outcome → number of records.
        written_at: the write position of what is written (stream/partition/write_position.py).
        placement: which partition is a member's own.
        state_bytes: the largest state that can be written.
        commands: of operators, with their positions.
        n_resent: dead letters that came again.
        timers: members that fall due at another time than before.
        moves: members in other clusters than before, and members that came or went.
    """

    partition: int
    done_position: int
    progress: Progress
    written_at: int
    placement: Placement
    state_bytes: int
    records: dict[bytes | None, list[Record]]
    items: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    gone: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    left: set[bytes] = field(default_factory=set)
    updates: list[Write] = field(default_factory=list)
    timers: list[tuple[bytes, int, int]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    commands: list[tuple[int, Command]] = field(default_factory=list)
    n_resent: int = 0
    produced_ms: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    membership_changes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of records.

    Attributes:
        whole_only: the topic may be compacted, so an event that changes a document without holding all of it is bad.
        json_keys: a key that is JSON itself is a member id.
    """

    whole_only: bool = False
    json_keys: bool = True


Events = dict[bytes, list[tuple[Record, ChangeEvent]]]  # member id → its events in order, with their records


def begin(
    partition: int,
    progress: Progress,
    records: Sequence[Record],
    written_at: int,
    mark: bytes | None,
    publication: Publication,
    skipped: Mapping[int, str],
    placement: Placement,
    state_bytes: int,
    next_offset: int | None = None,
) -> Batch:
    """Return the batch of a partition with this progress; its records are ordered by member.

    Args:
        written_at: the highest write position of the partition so far.
        mark: the models with which all its members have been scored, as stored (stream/partition/bookkeeping.py).
        publication: the models with which the batch is scored.
        skipped: offsets of records that are set aside, each with the text of its dead letter.
        next_offset: where reading goes on behind the records (stream/partition/source_topic.py).
    """
    by_key: dict[bytes | None, list[Record]] = {}
    for record in _without(records, skipped):
        by_key.setdefault(record.key, []).append(record)
    done = passed(progress, records, next_offset)
    batch = Batch(partition, progress.position, done, max(done.position, written_at), placement, state_bytes, by_key)
    if records:
        batch.items += voiding(mark, publication.fingerprint, batch.written_at)
    if skipped:
        for record in records:
            if (detail := skipped.get(record.offset)) is not None:
                _refuse(batch, record, BadEvent(Reason.SKIPPED, detail))
    return batch


def _without(records: Sequence[Record], skipped: Mapping[int, str]) -> Sequence[Record]:
    return [record for record in records if record.offset not in skipped] if skipped else records


def decoding(batch: Batch, keys: Sequence[bytes | None], now_ms: int, rules: Rules = Rules()) -> Steps[Events]:
    """Return the events of some of the batch's keys. Bad events become dead letters.

    Args:
        now_ms: wall clock, by which events from the future are recognised.
    """
    events: Events = {}
    clock_ms, n_bytes = batch.progress.clock_ms, 0
    for key in keys:
        its_records = batch.records[key]
        try:
            member_id = decode_key(key)
        except BadEvent as error:
            for record in its_records:
                _refuse(batch, record, error)
            continue
        unwanted = None if rules.json_keys or key is None else json_key(key)  # an operator may name such a member still
        its_events: list[tuple[Record, ChangeEvent]] = []
        for record in its_records:
            n_bytes += len(record.value or b"")
            if n_bytes > STEP_BYTES:
                n_bytes = 0
                yield
            try:
                if unwanted is not None and record.value is not None:  # a member of before may be deleted: `turn_away`
                    raise unwanted
                event = decode_value(member_id, record.value, record.timestamp, now_ms)
                _check_whole(event, rules)
            except BadEvent as error:
                try:
                    event = _of_an_operator(batch, member_id, record, error, now_ms)
                    if event.again is not None:
                        if unwanted is not None:
                            raise unwanted
                        _check_whole(event, rules)
                except BadEvent as refusal:
                    _refuse(batch, record, refusal)
                    continue
            if event.at_ms > clock_ms:
                clock_ms = event.at_ms
            its_events.append((record, event))
        if its_events and key:
            events[key] = its_events
    batch.progress = Progress(batch.progress.position, clock_ms, batch.progress.topic_id)
    return events


def _check_whole(event: ChangeEvent, rules: Rules) -> None:
    if rules.whole_only and event.op is not REPLACE and event.op is not DELETE:
        raise BadEvent(Reason.NOT_WHOLE, f'op: expected "replace" or "delete", found "{event.op}"')


def turn_away(
    batch: Batch, events: Events, states: Sequence[bytes | None], rules: Rules = Rules()
) -> Sequence[bytes | None]:
    """Refuse events of members that aren't held here and can't be. Returns the states of the other members.

    Those are another partition's members; and deletes by a key that is JSON, where such keys aren't member ids: the
    producer means another member, who would stay. (`decoding` has refused their other events.)

    A replay isn't refused: its position shows it, and it may still owe a write to Redis. Nor is a command refused.
    """
    if None not in states:
        return states
    placement, base = batch.placement, position_of(batch.progress.epoch, 0)
    unknown = [key for key, state in zip(events, states, strict=True) if state is None]
    wrong: dict[bytes, BadEvent] = {}
    if not rules.json_keys:
        wrong = {key: refusal for key in unknown if (refusal := json_key(key)) is not None}
    for key in placement.misplaced(unknown, batch.partition):
        detail = f"key: {placement.partitioner} puts it into partition {placement.partition_of(key)}, found in "
        wrong.setdefault(key, BadEvent(Reason.WRONG_PARTITION, f"{detail}{batch.partition}"))
    if not wrong:
        return states
    keys = list(events)
    for key, refusal in wrong.items():
        kept = []
        for record, event in events.pop(key):
            if base + record.offset <= batch.done_position or type(event.op) is Order:
                kept.append((record, event))
            else:
                _refuse(batch, record, refusal)
        if kept:
            events[key] = kept
    stored = dict(zip(keys, states, strict=True))
    return [stored[key] for key in events]


def applying(batch: Batch, events: Events, states: Sequence[bytes | None]) -> Steps[dict[bytes, Touched]]:
    """Return members with their events applied to their stored states. These are in the order of `events`."""
    base, done_position, n_applied, n_bytes = position_of(batch.progress.epoch, 0), batch.done_position, 0, 0
    members: dict[bytes, Touched] = {}
    fitting_bytes = fitting(batch.state_bytes)
    for (key, its_events), state in zip(events.items(), states, strict=True):
        try:
            member = Member() if state is None else decode_state(state)
        except StateError as error:
            if isinstance(error, NewerState) or its_events[0][1].op is not FORGET:
                raise
            member = Member()  # damaged: it is dropped, whatever it was
        was = None if member.document is None else member.memberships.copy()
        touched = members[key] = Touched(member, state is not None, member.valid_until_ms, was)
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
                _refuse(batch, record, error)
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


def encoding(batch: Batch, members: Mapping[bytes, Touched], publication: Publication) -> Steps[None]:
    """Add what must be written for these members. After that they aren't needed any more.

    A deleted member whose events carried versions keeps the last one, so that an older event can't bring it back.
    """
    n_bytes = 0
    for key, touched in members.items():
        member, is_there = touched.member, touched.member.document is not None
        n_bytes += member.document_bytes
        if n_bytes > STEP_BYTES:
            n_bytes = 0
            yield
        if touched.changed:
            if is_there or member.version >= 0:
                batch.items.append((key, encode(member, batch.written_at, batch.state_bytes)))
            elif touched.was_stored:
                batch.gone.append((key, None))
            if member.valid_until_ms != touched.was_due_ms:  # of a deleted one it is for ever
                batch.timers.append((key, touched.was_due_ms, member.valid_until_ms))
            if (now := member.memberships if is_there else None) != touched.was:
                batch.moves.append(Move(key, touched.was, now))
        elif touched.replayed_position < 0:
            continue
        if is_there:
            batch.updates.append(to_update(key, member, publication))
            continue
        is_released = touched.is_released or bool(batch.placement.misplaced([key], batch.partition))
        if touched.is_deleted or not is_released:
            batch.updates.append(to_deletion(key, member, touched.replayed_position))
        if is_released:  # another partition's row of it must not meet a tombstone of ours
            batch.updates.append(Release(key))


def to_items(batch: Batch) -> list[tuple[bytes, bytes | None]]:
    """Return all changes of the state. Deletions come last, next to the progress: that tells a replay about them."""
    return [*batch.items, *batch.gone, (APPLIED, batch.progress.encode(batch.written_at))]


def to_update(key: bytes, member: Member, publication: Publication) -> Update:
    """Return what Redis must hold about a member with a document."""
    held, fields, keys = member.memberships, publication.fields, publication.keys
    valid_until_ms = None if member.valid_until_ms == FOREVER else member.valid_until_ms
    update = Update(key, member.position, member.as_of_ms, valid_until_ms, fields, [held[k] for k in keys])
    if not member.past:
        return update
    past = [(field, member.past[k]) for field, k in zip(fields, keys, strict=True) if k in member.past]
    return update._replace(past=past)


def to_deletion(key: bytes, member: Member, position: int) -> Deletion:
    """Return what Redis must hold about a deleted member."""
    return Deletion(key, max(member.position, position), member.as_of_ms)


_MAY_BE_AN_OPERATORS = (Reason.UNKNOWN_OP, Reason.BAD_KEY)


def _of_an_operator(batch: Batch, member_id: str, record: Record, error: BadEvent, now_ms: int) -> ChangeEvent:
    """Return what an operator has sent: a command, or a dead letter again. Raises BadEvent: it is neither."""
    if error.reason not in _MAY_BE_AN_OPERATORS:
        raise error
    epoch = batch.progress.epoch
    is_new = position_of(epoch, record.offset) > batch.done_position
    if (command := decode_command(record.value, batch.partition)) is not None:
        if is_new:
            batch.commands.append((record.offset, command))
        return command.event
    if (resend := decode_resend(record.value, batch.partition)) is None:
        raise error
    batch.n_resent += is_new
    return resent_event(resend, member_id, epoch, now_ms)


def _refuse(batch: Batch, record: Record, error: BadEvent) -> None:
    if position_of(batch.progress.epoch, record.offset) <= batch.done_position:  # a replay makes no other dead letter
        batch.outcomes[_REPLAYED] += 1
        return
    batch.outcomes[DEAD_LETTER] += 1
    batch.dead_letters.append(DeadLetter(record, error))
