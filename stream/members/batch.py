"""One micro-batch of one partition as plain values, and its steps: events in; out comes what must be written. No I/O.

    begin       here         its records, ordered by member
    decoding    decoding.py  records → events
    turn_away   decoding.py  events of members that aren't held here and can't be
    applying    applying.py  events → members
    scoring     applying.py  members → memberships
    encoding    encoding.py  members → what must be written

Laws:
- Every record ends in exactly one outcome.
- What is written for a member depends only on the member's state and its own events.
- How events are cut into batches changes no document, cluster or position. It changes only `since`: nobody sees a
  cluster that changed and changed back within one batch.
- A replay makes no dead letter that wasn't there before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memberstream.models.apply import Outcome
from memberstream.models.command import Command
from memberstream.models.event import BadEvent, Reason
from memberstream.models.member import Move
from memberstream.models.placement import Placement
from memberstream.models.position import position_of
from memberstream.stream.partition.bookkeeping import Progress, voiding
from memberstream.stream.partition.dead_letters import DeadLetter
from memberstream.stream.partition.source_topic import Record, passed
from memberstream.stream.projection.members import Write
from memberstream.stream.registry.publication import Publication

DEAD_LETTER = "dead_letter"
# Bytes of events or documents handled in one step: some tenths of a millisecond, some 10 ms at the worst.
STEP_BYTES = 1 << 16
REPLAYED = Outcome.REPLAYED  # as in models/event.py


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
                refuse(batch, record, BadEvent(Reason.SKIPPED, detail))
    return batch


def _without(records: Sequence[Record], skipped: Mapping[int, str]) -> Sequence[Record]:
    return [record for record in records if record.offset not in skipped] if skipped else records


def refuse(batch: Batch, record: Record, error: BadEvent) -> None:
    """Note that a record ends as a dead letter."""
    if position_of(batch.progress.epoch, record.offset) <= batch.done_position:  # a replay makes no other dead letter
        batch.outcomes[REPLAYED] += 1
        return
    batch.outcomes[DEAD_LETTER] += 1
    batch.dead_letters.append(DeadLetter(record, error))
