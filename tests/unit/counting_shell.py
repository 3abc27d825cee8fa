"""The worker that counts, between fakes that keep the promises of the real things, and forget what a crash forgets.

`Disk` is what outlives a crash. Local state is recovered from the changelog as the real one is: by `judge`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from unit.shell import WALL_MS, Crash, FakeTopic, Record

from memberstream.models.count_state import CELL_PREFIXES, decode, decode_count
from memberstream.models.counts import EXPOSED, AnyCell, AnyTally, Cell, Changes
from memberstream.models.log_steps import Promote, SetCampaign
from memberstream.models.registry import Registry
from memberstream.models.rules import Stood
from memberstream.models.terms import Terms
from memberstream.stream.interactions.pipeline import Interactions
from memberstream.stream.interactions.standing import Standing
from memberstream.stream.kafka.outgoing import Outgoing
from memberstream.stream.keyspace.formats import Beacon
from memberstream.stream.partition.dead_letters import DeadLetters
from memberstream.stream.partition.holds import Holds
from memberstream.stream.partition.report import Report
from memberstream.stream.partition.state import Items, State
from memberstream.stream.partition.write_position import deletion_headers, judge
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.projection.patience import Patience
from memberstream.stream.projection.projection import CountProjection
from memberstream.stream.settings import Settings

CrashPoint = Literal["1", "half of 2", "2", "3", "half of 4", "4", "half of 5", "5"]
CRASH_POINTS: tuple[CrashPoint, ...] = get_args(CrashPoint)
#: Member id → where it stood.
Stands = Callable[[str], Stood | None]


@dataclass
class ChangelogRecord:
    """A record of the changelog."""

    key: bytes
    value: bytes | None
    offset: int
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class Disk:
    """All that outlives a crash. `stray`: records on their way when the process stopped."""

    changelog: list[ChangelogRecord] = field(default_factory=list)
    stray: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    dead: list[Outgoing] = field(default_factory=list)
    counts: dict[int, tuple[int, Changes]] = field(default_factory=dict)  # partition → term, counts
    beacons: dict[int, Beacon] = field(default_factory=dict)
    partitions: int | None = None
    known: int = -1
    committed: int = 0
    is_redis_down: bool = False
    reports: list[Report] = field(default_factory=list)

    def append(self, items: Items, written_at: int) -> None:
        """Take records into the changelog."""
        for key, value in items:
            headers = deletion_headers(written_at) if value is None else ()
            self.changelog.append(ChangelogRecord(key, value, len(self.changelog), headers))

    @property
    def redis(self) -> Changes:
        """The counts that readers see."""
        return {cell: tally for cell, tally in self.counts.get(0, (0, {}))[1].items() if any(tally)}


class FakeState:
    """The state of one partition (stream.faust_batch.PartitionState), recovered from the disk's changelog."""

    def __init__(self, disk: Disk, die_at: Callable[[CrashPoint], None]) -> None:
        self._disk, self._die_at = disk, die_at
        latest, stale, self._written_at = judge(disk.changelog, -1)
        self._local = {key: value for key, value in latest.items() if value is not None}
        disk.append(
            [(key, self._local.get(key)) for key in sorted(stale)], self._written_at
        )  # as the recovery repairs them

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._local.get(key) for key in keys]

    def written_at(self, partition: int) -> int:
        return self._written_at

    async def publish(self, partition: int, items: Items, written_at: int) -> int:
        assert written_at >= self._written_at
        assert len({key for key, _ in items}) == len(items)
        is_removal = all(value is None for _, value in items)
        half = len(items) // 2
        self._disk.append(items[:half], written_at)
        self._disk.stray = list(items[half:])
        self._die_at("half of 5" if is_removal else "half of 2")
        self._disk.append(items[half:], written_at)
        self._die_at("5" if is_removal else "2")
        return len(self._disk.changelog) - 1

    def write(self, partition: int, items: Items, changelog_offset: int, written_at: int) -> None:
        assert changelog_offset == len(self._disk.changelog) - 1
        self._written_at = written_at
        for key, value in items:
            if value is None:
                self._local.pop(key, None)
            else:
                self._local[key] = value
        if items[-1][1] is not None:
            self._die_at("3")

    def empty_records(self) -> list[bytes]:
        """Those of whom a record says nothing."""
        return [key for key, value in self.scan(0) if not key.startswith(CELL_PREFIXES) and decode(value).is_empty]

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, value) for key, value in sorted(self._local.items()) if not key.startswith(b"\0")])

    def counts(self) -> Changes:
        """What the state holds."""
        counts = dict(decode_count(key, value) for key, value in self.scan(0) if key.startswith(CELL_PREFIXES))
        return {cell: count.tally for cell, count in counts.items() if any(count.tally)}


class FakeRedis:
    """A CountProjection on the disk's dictionary, with the guard of stream/lua/counts.lua."""

    def __init__(self, disk: Disk, die_at: Callable[[CrashPoint], None]) -> None:
        self._disk, self._die_at = disk, die_at
        self._told: set[int] = set()
        self.calls = self.counts = self.readers = self

    async def write(self, partition: int, term: int, counts: Mapping[AnyCell, AnyTally]) -> bool:
        self._check()
        known, held = self._disk.counts.get(partition, (0, {}))
        if known > term:
            return False
        half = len(counts) // 2
        for some in (list(counts.items())[:half], list(counts.items())[half:]):
            held = held | dict(some)
            self._disk.counts[partition] = term, held
            self._die_at("half of 4")
        self._die_at("4")
        return True

    async def lost(self, partitions: Sequence[int]) -> list[int]:
        self._check()
        lost = [p for p in partitions if p in self._told and p not in self._disk.beacons]
        self._told -= set(lost)
        return lost

    async def tell(self, beacons: Mapping[int, Beacon]) -> list[int]:
        lost = await self.lost(list(beacons))
        self._disk.beacons |= beacons
        self._told |= beacons.keys()
        return lost

    async def tell_partitions(self, n_partitions: int) -> None:
        self._check()
        self._disk.partitions = n_partitions

    async def known(self) -> int:
        self._check()
        return self._disk.known

    async def ping(self) -> None:
        self._check()

    def _check(self) -> None:
        if self._disk.is_redis_down:
            raise RedisUnavailable("down. Next: wait")


class FakeStanding:
    """Where members stand (stream.standing.Standing)."""

    def __init__(self, stands: Stands) -> None:
        self._stands = stands

    async def of_many(self, member_ids: Sequence[str]) -> list[Stood | None]:
        return [self._stands(member_id) for member_id in member_ids]


def campaigns() -> Registry:
    """Return a registry with two campaigns; from the first many are held out."""
    terms = {"summer": Terms("activity", (1, 2), holdout=5_000), "high": Terms("activity", (2,))}
    steps = [SetCampaign(name, None, its, at_ms=0, actor="ann") for name, its in terms.items()]
    return Registry(
        history=[Promote("activity", 1, None, at_ms=0, actor="ann")],
        campaign_history=[*steps],
        campaign_offsets=list(range(len(steps))),
        offset=len(steps) - 1,
    )


class Process:
    """One run of a worker on a disk, until it crashes."""

    def __init__(self, disk: Disk, stands: Stands, wall_ms: int = WALL_MS) -> None:
        self.disk, self.registry = disk, campaigns()
        self._crash_at: CrashPoint | None = None
        self.state = FakeState(disk, self._die_at)
        self.topic = FakeTopic()
        self.patience = Patience()
        self.interactions = Interactions(
            settings=Settings(),
            registry=self.registry,
            until_known=self._until_known,
            topic=self.topic,
            holds=Holds(),
            state=cast(State, self.state),
            standing=cast(Standing, FakeStanding(stands)),
            projection=cast(CountProjection, FakeRedis(disk, self._die_at)),
            patience=self.patience,
            dead_letters=DeadLetters("member-interactions", "member-interactions.dead", self._produce, lambda: wall_ms),
            wall_ms=lambda: wall_ms,
            latest_ms=lambda: wall_ms,
            look=_nothing,
            report=disk.reports.append,
        )

    async def _until_known(self, offset: int) -> None:
        while self.registry.offset < offset:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0.005)

    async def run(self, batches: Sequence[Sequence[Record]], crash_at: CrashPoint | None = None) -> None:
        """Handle what isn't committed yet; with `crash_at` die when that point is reached first. Raises Crash."""
        first = await self.interactions.assigned({0: 0})
        self._crash_at = crash_at
        for batch in batches:
            left = [record for record in batch if record.offset >= min(self.disk.committed, first[0])]
            if left:
                await self.interactions.handle(0, left)
                self.disk.committed = left[-1].offset + 1
        exposed = Counter[tuple[str, bool]]()
        for cell, tally in self.disk.redis.items():
            if isinstance(cell, Cell) and cell.kind == EXPOSED:
                exposed[cell.campaign, cell.is_held_out] += tally.members
        assert Counter(self.interactions.exposed()) == exposed  # a count of 0 is none

    def _die_at(self, point: CrashPoint) -> None:
        if self._crash_at == point:
            raise Crash(point)

    async def _produce(self, topic: str, records: Sequence[Outgoing]) -> None:
        assert topic == "member-interactions.dead"
        self.disk.dead += records
        self._die_at("1")


async def _nothing() -> None:
    """Redis says nothing about itself."""
