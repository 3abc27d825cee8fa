"""One micro-batch of interactions of one partition as plain values: records in; out comes what must be written. No I/O.

Laws:
- Every record ends in exactly one outcome.
- Neither the way in which records are cut into batches nor a replay changes a count.
- The partition's clock is taken in the order of the records, before they are sorted by member.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from memberstream.models.count_state import (
    Count,
    cell_key,
    decode,
    encode,
    encode_count,
    nothing_of,
    outstanding,
    owe,
)
from memberstream.models.counting import COUNTED, DUPLICATE, Verdict, apply
from memberstream.models.counts import AnyCell, AnyTally, Changes, Gathered, gather, plus, total
from memberstream.models.engagement import Engagement
from memberstream.models.event import BadEvent, decode_key
from memberstream.models.interaction import Interaction, Refusal
from memberstream.models.interaction import decode as decode_interaction
from memberstream.models.position import position_of
from memberstream.models.rules import Rules, Stood
from memberstream.models.steps import Steps
from memberstream.stream.partition.bookkeeping import APPLIED, Progress
from memberstream.stream.partition.dead_letters import RESENT, DeadLetter
from memberstream.stream.partition.source_topic import Record, passed

# Interactions counted in one step: for a member that has as many as are allowed, each takes up to a millisecond.
AT_ONCE = 16
DEAD_LETTER = "dead_letter"
OUTCOMES = (*map(str, Verdict), DEAD_LETTER)


@dataclass(slots=True)
class Batch:
    """What is known about a micro-batch so far.

    Attributes:
        counted_to: the position up to which the partition's counts are written.
        progress: how far the partition is once this batch is written.
        members: member id → its records in order: position, record, interaction (None: forget the member), the
            partition's clock.
        forgotten: members that were forgotten, or of whom nothing is remembered. If a member's record is empty, nothing
            of it may stay.
        items: member records that changed, for changelog and local state.
        sums: what must be added to the counts.
        produced_ms: timestamps of the records that were counted, for freshness.
        n_resent: dead letters that came again.
    """

    counted_to: int
    progress: Progress
    members: dict[bytes, list[tuple[int, Record, Interaction | None, int]]] = field(default_factory=dict)
    forgotten: set[bytes] = field(default_factory=set)
    items: list[tuple[bytes, bytes]] = field(default_factory=list)
    sums: Gathered = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    produced_ms: list[int] = field(default_factory=list)
    n_resent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


def begin(progress: Progress, records: Sequence[Record], next_offset: int | None = None) -> Batch:
    """Return the batch of a partition with this progress. `next_offset`: see stream/partition/source_topic.py."""
    return Batch(progress.position, passed(progress, records, next_offset))


def set_aside(batch: Batch, records: Sequence[Record], skipped: Mapping[int, str]) -> Sequence[Record]:
    """Refuse the records that an operator has set aside. Returns the others.

    Args:
        skipped: offset → text of the dead letter. Nearly always empty.
    """
    if not skipped:
        return records
    base = position_of(batch.progress.epoch, 0)
    for record in records:
        if (detail := skipped.get(record.offset)) is not None:
            if base + record.offset <= batch.counted_to:
                batch.outcomes[Verdict.REPLAYED] += 1
            else:
                _refuse(batch, record, BadEvent(Refusal.SKIPPED, detail))
    return [record for record in records if record.offset not in skipped]


def decode_many(
    batch: Batch, records: Sequence[Record], now_ms: int, kinds: Collection[str], *, json_keys: bool = True
) -> None:
    """Read the next of the batch's records, sorted by member. A record that can't be read becomes a dead letter.

    Args:
        now_ms: wall clock, by which interactions from the future are recognised.
        json_keys: a key that is JSON itself is a member id.
    """
    progress, members, counted_to = batch.progress, batch.members, batch.counted_to
    base, clock_ms = position_of(progress.epoch, 0), progress.clock_ms
    for record in records:
        position = base + record.offset
        if position <= counted_to:  # the committed offset was below what is counted already
            batch.outcomes[Verdict.REPLAYED] += 1
            with suppress(BadEvent):  # a crash may have come before the removal of an empty record
                batch.forgotten.add(decode_key(record.key).encode())
            continue
        if record.headers and any(name == RESENT for name, _ in record.headers):
            batch.n_resent += 1
        try:
            interaction = decode_interaction(
                record.key, record.value, record.timestamp, now_ms, kinds, may_be_json=json_keys
            )
        except BadEvent as error:
            _refuse(batch, record, error)
            continue
        if interaction is not None and interaction.at_ms > clock_ms:
            clock_ms = interaction.at_ms
        its = position, record, interaction, clock_ms
        if (those := members.get(key := record.key or b"")) is None:
            members[key] = [its]
        else:
            those.append(its)
    batch.progress = Progress(progress.position, clock_ms, progress.topic_id)


def counting(
    batch: Batch,
    keys: Sequence[bytes],
    states: Sequence[bytes | None],
    stood: Sequence[Stood | None],
    rules: Rules,
    written_at: int,
) -> Steps[None]:
    """Count the interactions of some of the batch's members. States and `stood` are in the order of `keys`."""
    n, outcomes, horizon_ms, end = 0, [], rules.horizon_ms, batch.progress.position
    for key, state, its_stood in zip(keys, states, stood, strict=True):
        record = Engagement() if state is None else decode(state)
        member_id, changes = key.decode(), outstanding(record, batch.counted_to)
        is_changed, clock_ms = bool(changes), 0
        for position, source, interaction, clock_ms in batch.members[key]:
            n += 1
            if not n % AT_ONCE:
                yield
            if interaction is None:
                batch.forgotten.add(key)
            if position <= record.position:  # from the batch that a crash cut short; its counts are outstanding
                batch.outcomes[Verdict.REPLAYED] += 1
                if record.is_empty:  # emptied too early: it may be removed with the last of these records
                    batch.forgotten.add(key)
                continue
            record.position = position
            if interaction is None:
                record.forget()
                is_changed = is_changed or state is not None
                batch.outcomes[Verdict.FORGOTTEN] += 1
                continue
            try:
                outcome = apply(record, member_id, its_stood, interaction, rules, clock_ms, changes)
            except BadEvent as error:
                _refuse(batch, source, error)
                continue
            outcomes.append(outcome)
            if outcome is COUNTED:
                is_changed = True
                batch.produced_ms.append(source.timestamp)
            elif outcome is not DUPLICATE and not record.is_empty:
                is_changed = True
        if is_changed or changes:  # what is refused is counted, too
            record.forget_old(clock_ms - horizon_ms)
            record.counted_at = end
            owe(record, changes)
            batch.items.append((key, encode(record, written_at)))
            if record.is_empty:  # only something refused, of which nothing is remembered
                batch.forgotten.add(key)
            gather(batch.sums, changes)
    batch.outcomes.update(outcomes)


def to_removals(
    keys: Sequence[bytes], states: Sequence[bytes | None], counted_to: int
) -> list[tuple[bytes, bytes | None]]:
    """Return what removes the forgotten members who have nothing but an empty record.

    A record that a crash left ahead of the progress stays until the progress has passed it: nothing else says what is
    counted.
    """
    found = [(key, decode(state)) for key, state in zip(keys, states, strict=True) if state is not None]
    return [(key, None) for key, record in found if record.is_empty and record.position <= counted_to]


def to_items(
    batch: Batch, counts: Mapping[AnyCell, AnyTally], written_at: int
) -> tuple[list[tuple[bytes, bytes | None]], Changes]:
    """Return all changes of the state, and the counts that changed. The progress is last: it makes the others valid."""
    sums = {cell: total(tallies) for cell, tallies in batch.sums.items()}
    before = {cell: counts.get(cell) or nothing_of(cell) for cell, its in sums.items() if any(its)}
    changed = {cell: plus(tally, sums[cell]) for cell, tally in before.items()}
    end = batch.progress.position
    cells = [
        (cell_key(cell), encode_count(Count(tally, end, before[cell]), written_at)) for cell, tally in changed.items()
    ]
    return [*batch.items, *cells, (APPLIED, batch.progress.encode(written_at))], changed


def to_corrections(
    wrong: Mapping[AnyCell, AnyTally | None], progress: Progress, written_at: int
) -> list[tuple[bytes, bytes | None]]:
    """Return what an owner writes first: its term, and corrections of counts that a crash left too far ahead."""
    cells = [
        (cell_key(cell), None if tally is None else encode_count(Count(tally, progress.position, tally), written_at))
        for cell, tally in wrong.items()
    ]
    return [*cells, (APPLIED, progress.encode(written_at))]


def _refuse(batch: Batch, record: Record, error: BadEvent) -> None:
    batch.outcomes[DEAD_LETTER] += 1
    batch.dead_letters.append(DeadLetter(record, error))
