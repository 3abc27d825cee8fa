"""One micro-batch of interactions of one partition as plain values: records in, what has to be written out. No I/O.

Laws: every record ends in exactly one outcome; how records are cut into batches changes no count; nor do replays. The
partition's clock is taken in the order of the records, before they are sorted by member.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from models.counts import Cell, Tally, field_of, plus
from models.engagement import (
    NOTHING,
    Changes,
    Count,
    Engagement,
    Memberships,
    Outcome,
    Rules,
    apply,
    cell_key,
    decode,
    encode,
    encode_count,
    forget_old,
    merge,
    outstanding,
)
from models.event import BadEvent
from models.interaction import Interaction
from models.interaction import decode as decode_interaction
from models.position import position_of
from stream.bookkeeping import APPLIED, Progress
from stream.dead_letters import DeadLetter
from stream.source_topic import Record

DEAD_LETTER = "dead_letter"
OUTCOMES = (*map(str, Outcome), DEAD_LETTER)


@dataclass(slots=True)
class Batch:
    """What is known of a micro-batch so far.

    Attributes:
        counted_to: the position up to which the partition's counts are written.
        progress: how far the partition is once this batch is written.
        members: member id → its records in order: position, record, interaction (None: forget the member), the
            partition's clock.
        forgotten: members that were forgotten; of those whose record is empty nothing is to stay.
        items: member records that changed, for changelog and local state.
        changes: what is to be added to the counts.
        produced_ms: record timestamps of what was counted, for freshness.
    """

    counted_to: int
    progress: Progress
    members: dict[bytes, list[tuple[int, Record, Interaction | None, int]]] = field(default_factory=dict)
    forgotten: set[bytes] = field(default_factory=set)
    items: list[tuple[bytes, bytes]] = field(default_factory=list)
    changes: Changes = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    produced_ms: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


def begin(progress: Progress, records: Sequence[Record]) -> Batch:
    """Return the batch of a partition that is as far as `progress`."""
    end = max(progress.position, position_of(progress.epoch, records[-1].offset))
    return Batch(progress.position, Progress(end, progress.clock_ms, progress.topic_id))


def decode_many(batch: Batch, records: Sequence[Record], now_ms: int, kinds: Collection[str]) -> None:
    """Read the next of the batch's records, sorted by member; what can't be read is a dead letter.

    Args:
        now_ms: wall clock, against which interactions from the future are known.
    """
    progress = batch.progress
    base, clock_ms = position_of(progress.epoch, 0), progress.clock_ms
    for record in records:
        position = base + record.offset
        if position <= batch.counted_to:  # the offset was committed below what is counted already
            batch.outcomes[Outcome.REPLAYED] += 1
            if record.value is None and record.key is not None:  # a crash may have come before the removal
                batch.forgotten.add(record.key)
            continue
        try:
            interaction = decode_interaction(record.key, record.value, record.timestamp, now_ms, kinds)
        except BadEvent as error:
            _refuse(batch, record, error)
            continue
        if interaction is not None and interaction.at_ms > clock_ms:
            clock_ms = interaction.at_ms
        batch.members.setdefault(record.key or b"", []).append((position, record, interaction, clock_ms))
    batch.progress = Progress(progress.position, clock_ms, progress.topic_id)


def count_many(
    batch: Batch,
    keys: Sequence[bytes],
    states: Sequence[bytes | None],
    memberships: Sequence[Memberships],
    rules: Rules,
    written_at: int,
) -> None:
    """Count the interactions of some of the batch's members. States and memberships are in the order of `keys`."""
    for key, state, its_memberships in zip(keys, states, memberships, strict=True):
        record = Engagement() if state is None else decode(state)
        member_id, changes = key.decode(), outstanding(record, batch.counted_to)
        is_changed = bool(changes)
        for position, source, interaction, clock_ms in batch.members[key]:
            if interaction is None:
                batch.forgotten.add(key)
            if position <= record.position:  # of the batch that a crash cut short; its counts are outstanding
                batch.outcomes[Outcome.REPLAYED] += 1
                continue
            record.position = position
            if interaction is None:
                record.forget()
                is_changed = is_changed or state is not None
                batch.outcomes[Outcome.FORGOTTEN] += 1
                continue
            try:
                outcome = apply(record, member_id, its_memberships, interaction, rules, clock_ms, changes)
            except BadEvent as error:
                _refuse(batch, source, error)
                continue
            batch.outcomes[outcome] += 1
            if outcome is Outcome.COUNTED:
                is_changed = True
                batch.produced_ms.append(source.timestamp)
        if is_changed:
            forget_old(record, batch.members[key][-1][3] - rules.horizon_ms)
            record.counted_at = batch.progress.position
            record.added = [(cell.campaign, field_of(cell), tally) for cell, tally in changes.items()]
            batch.items.append((key, encode(record, written_at)))
            for cell, tally in changes.items():
                merge(batch.changes, cell, tally)


def to_removals(keys: Sequence[bytes], states: Sequence[bytes | None]) -> list[tuple[bytes, bytes | None]]:
    """Return what removes those of the forgotten members that have nothing but an empty record."""
    return [
        (key, None) for key, state in zip(keys, states, strict=True) if state is not None and decode(state).is_empty
    ]


def to_items(
    batch: Batch, counts: Mapping[Cell, Tally], written_at: int
) -> tuple[list[tuple[bytes, bytes | None]], dict[Cell, Tally]]:
    """Return all that changes in the state, the progress last: with it the others hold; and the counts that changed."""
    changed = {cell: plus(counts.get(cell, NOTHING), tally) for cell, tally in batch.changes.items()}
    end = batch.progress.position
    cells = [
        (cell_key(cell), encode_count(Count(tally, end, counts.get(cell, NOTHING)), written_at))
        for cell, tally in changed.items()
    ]
    return [*batch.items, *cells, (APPLIED, batch.progress.encode(written_at))], changed


def to_corrections(
    wrong: Mapping[Cell, Tally | None], progress: Progress, written_at: int
) -> list[tuple[bytes, bytes | None]]:
    """Return what an owner writes first: its term, and the counts that a crash left ahead of the progress."""
    cells = [
        (cell_key(cell), None if tally is None else encode_count(Count(tally, progress.position, tally), written_at))
        for cell, tally in wrong.items()
    ]
    return [*cells, (APPLIED, progress.encode(written_at))]


def _refuse(batch: Batch, record: Record, error: BadEvent) -> None:
    batch.outcomes[DEAD_LETTER] += 1
    batch.dead_letters.append(DeadLetter(record, error))
