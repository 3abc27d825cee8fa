"""The pipeline between fakes that keep the promises of the real things, and forget what a crash forgets.

`Disk` is what outlives a crash: topics, changelog, Redis, committed offset. Local state is rebuilt from the changelog,
as recovery does. `crash_at` names the side effect (pipeline.py) after which the process dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from models.list_version import ListVersion
from models.member import decode
from models.model import Model
from models.timestamps import FOREVER
from stream.backfill import Backfill
from stream.dead_letters import OutgoingRecord
from stream.enlisting import Enlisting
from stream.forgetting import Forgetting
from stream.keyspace import Announcement, Beacon, Scored, membership_field
from stream.list_rows import Chunk
from stream.locks import Locks
from stream.pipeline import Pipeline, _reap
from stream.projection import BeaconReply, BuiltMark, Deletion, Projection, RedisUnavailable, Update
from stream.publication import Current, Lists, compile_models
from stream.rebuild import Rebuild
from stream.report import BatchReport
from stream.rescoring import Rescoring
from stream.settings import Clock, Settings
from stream.state import Items, Timer, Timers
from stream.state_store import write_position
from stream.timers import MemberTimers
from stream.turns import Turns
from stream.writer import Writer

WALL_MS = 1_700_000_000_000
CrashPoint = Literal["1", "1b", "1c", "half of 2a", "2a", "half of 2b", "2b", "2a and 2b", "3"]
CRASH_POINTS: tuple[CrashPoint, ...] = get_args(CrashPoint)


class Crash(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Record:
    """A consumed record."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = WALL_MS
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class Held:
    """What Redis has of a member; memberships None: a tombstone."""

    position: tuple[int, int]
    valid_until_ms: int | None
    memberships: dict[bytes, tuple[int, int]] | None


#: A published list without rows: whoever is deleted leaves it all the same.
LISTED = ListVersion("buyers", 1, "", "token", WALL_MS, first=(0,), end=(0,))
LISTED_FIELD = membership_field(LISTED.name, LISTED.version)


@dataclass
class Disk:
    """All that outlives a crash."""

    changelog: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    dead: list[OutgoingRecord] = field(default_factory=list)
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)  # of the lists' topic
    #: Told on the interactions' topic: partition, member, whether Redis had a tombstone by then.
    forgotten: list[tuple[int, bytes, bool]] = field(default_factory=list)
    redis: dict[bytes, Held] = field(default_factory=dict)
    epoch: bool = False
    built: dict[int, BuiltMark] = field(default_factory=dict)
    committed: int = 0
    is_redis_down: bool = False  # for writes
    announcement: Announcement | None = None
    scored: dict[int, Scored] = field(default_factory=dict)
    reports: list[BatchReport] = field(default_factory=list)
    late_ms: list[int] = field(default_factory=list)

    def state(self) -> dict[bytes, bytes]:
        """Return the compacted changelog."""
        newest = dict(self.changelog)
        return {key: value for key, value in newest.items() if value is not None}


class FakeRedis:
    """A projection (stream.projection.Projection) on the disk's dictionary, with the guard of stream/lua/*.lua."""

    def __init__(self, disk: Disk, die_at: Callable[[CrashPoint], None]) -> None:
        self._disk, self._die_at = disk, die_at
        self.is_published = False  # whether the batch's changelog records are

    async def write(self, partition: int, updates: Sequence[Update | Deletion]) -> int:
        if self._disk.is_redis_down:
            raise RedisUnavailable("down. Next: wait")
        is_early = not self.is_published and all(isinstance(update, Deletion) for update in updates)  # of 1c
        if not is_early:
            self._die_at("2a")  # nothing has arrived here yet
        refused = 0
        for i, update in enumerate(updates):
            if not is_early and i == len(updates) // 2:
                self._die_at("half of 2b")
            held = self._disk.redis.get(update.member_id)
            position = (update.position, update.as_of_ms)
            if isinstance(update, Deletion) and update.only_if_held and (held is None or held.memberships is None):
                continue
            if held is not None and position < held.position:
                refused += 1
            elif isinstance(update, Deletion):
                self._disk.redis[update.member_id] = Held(position, None, None)
            else:
                kept = {} if held is None else held.memberships or {}
                memberships = kept | dict(zip(update.fields, update.memberships, strict=True))
                self._disk.redis[update.member_id] = Held(position, update.valid_until_ms, memberships)
        return refused

    async def ping(self) -> None:
        if self._disk.is_redis_down:
            raise RedisUnavailable("down. Next: wait")

    async def beacon(self, beacons: Mapping[int, Beacon]) -> BeaconReply:
        return BeaconReply(self._disk.epoch, {p: self._disk.built.get(p) for p in beacons}, {})

    def reconnected(self) -> bool:
        return False

    async def begin(self, partition: int) -> bytes:
        self._disk.built[partition] = BuiltMark(b"token", False)
        return b"token"

    async def finish(self, partition: int, token: bytes, n_partitions: int, now_ms: int) -> str:
        self._disk.epoch = True
        return "complete"

    async def announce(self, announcement: Announcement) -> bool:
        self._disk.announcement = announcement
        return True

    async def tell_scored(self, scored: Mapping[int, Scored]) -> None:
        self._disk.scored.update(scored)

    async def enlist(self, field: bytes, rows: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        refused = []
        for member_id, value in rows:
            held = self._disk.redis.setdefault(member_id, Held((-1, 0), None, {}))
            if held.memberships is None:
                refused.append(member_id)
            else:
                cluster, since_ms = value.split(b":")
                held.memberships[field] = (int(cluster), int(since_ms))
        return refused

    async def drop(self, member_ids: Sequence[bytes], fields: Sequence[bytes]) -> None:
        for member_id in member_ids:
            held = self._disk.redis.get(member_id)
            if held is not None and held.memberships is not None:
                held.memberships = {name: value for name, value in held.memberships.items() if name not in fields}


class FakeState:
    """The state of one partition (stream.faust_batch.PartitionState), recovered from the disk's changelog."""

    def __init__(self, disk: Disk, redis: FakeRedis, die_at: Callable[[CrashPoint], None]) -> None:
        self._disk, self._redis, self._die_at = disk, redis, die_at
        self._local = disk.state()
        self.timers = set(self._due())  # a store of before the crash recovers them so (stream/state_store.py)
        positions = [write_position(value, ()) for _, value in disk.changelog if value is not None]
        self._written_at = max((p for p in positions if p is not None), default=-1)

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._local.get(key) for key in keys]

    def written_at(self, partition: int) -> int:
        return self._written_at

    async def publish(self, partition: int, items: Items, written_at: int) -> int:
        assert written_at >= self._written_at
        assert all(write_position(value, ()) == written_at for _, value in items if value is not None)
        self._redis.is_published = True  # for what is written there from now on
        self._die_at("2b")  # nothing has arrived here yet
        assert len({key for key, _ in items}) == len(items)
        half = len(items) // 2
        self._disk.changelog += items[:half]
        self._die_at("half of 2a")
        self._disk.changelog += items[half:]
        return len(self._disk.changelog) - 1

    def write(self, partition: int, items: Items, changelog_offset: int, written_at: int, timers: Timers = ()) -> None:
        self._die_at("2a and 2b")
        self._redis.is_published = False
        self._written_at = written_at
        assert changelog_offset == len(self._disk.changelog) - 1
        for key, value in items:
            if value is None:
                self._local.pop(key, None)
            else:
                self._local[key] = value
        assert self._local == self._disk.state()
        for key, was_due_ms, due_ms in timers:
            self.timers.discard(Timer(was_due_ms, key))
            self.timers |= {Timer(due_ms, key)} if due_ms < FOREVER else set()
        assert self.timers == set(self._due())

    def _due(self) -> Iterator[Timer]:
        """When members fall due, by their states."""
        for key, value in self.scan(0):
            if (due_ms := decode(value).valid_until_ms) < FOREVER:
                yield Timer(due_ms, key)

    async def index_timers(self, partition: int) -> None:
        pass

    def due(self, partition: int, until_ms: int, limit: int, after: Timer | None = None) -> list[Timer]:
        found = sorted(timer for timer in self.timers if timer.due_ms <= until_ms and (after is None or timer > after))
        return found[:limit]

    def next_due_ms(self, partition: int) -> int:
        return min(self.timers, default=Timer(FOREVER, b"")).due_ms

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, value) for key, value in self._local.items() if not key.startswith(b"\0")])

    def approximate_count(self, partition: int) -> int:
        return len(self._local)


class FakeTopic:
    """The source topic (stream.source_topic.SourceTopic) of a broker that tells nothing of it."""

    topic_id = b""

    def end_offset(self, partition: int) -> int | None:
        return None


class TimersByHand(MemberTimers):
    """Timers that nobody looks at until `catch_up` is called."""

    async def run(self, partition: int) -> None:
        await asyncio.Event().wait()


class Process:
    """One run of a worker on a disk, until it crashes."""

    def __init__(self, disk: Disk, models: Sequence[Model], clock: Clock = "event") -> None:
        self.disk = disk
        self._crash_at: CrashPoint | None = None
        redis = FakeRedis(disk, self._die_at)
        self.state = state = FakeState(disk, redis, self._die_at)
        lists = Lists(published=((-1, LISTED),))
        self.current = Current(compile_models(models, 0, members_offset=0, lists=lists), Announcement(-1, (), {}))
        self.writer = Writer(cast(Projection, redis), clock, lambda: WALL_MS)
        rescoring, locks = Rescoring(state, self.writer, clock, lambda: WALL_MS), Locks()
        turns = Turns(lambda: len(disk.reports))
        enlisting = Enlisting(self.current, self.writer, lambda: 1, self._read, self._withdraw)
        rebuild = Rebuild(self.current, state, self.writer, rescoring, enlisting, lambda: 1)
        backfill = Backfill(self.current, state, self.writer, rescoring, enlisting, locks, turns)
        self.timers = TimersByHand(self.current, state, rescoring, locks, turns, disk.late_ms.extend)
        self.pipeline = Pipeline(
            Settings(clock=clock),
            self.current,
            FakeTopic(),
            state,
            self.writer,
            rebuild,
            backfill,
            enlisting,
            Forgetting(self.writer, self._n_partitions, self._tell),
            self.timers,
            locks,
            self._produce,
            lambda: WALL_MS,
            self.disk.reports.append,
        )

    async def run(self, batches: Sequence[Sequence[Record]], crash_at: CrashPoint | None = None) -> None:
        """Handle what isn't committed yet; with `crash_at` die when that point is reached first. Raises Crash."""
        await self.pipeline.assigned(frozenset({0}))
        self._crash_at = crash_at
        try:
            for batch in batches:
                left = [record for record in batch if record.offset >= self.disk.committed]
                if left:
                    await self.pipeline.handle(0, left)
                    self._die_at("3")
                    self.disk.committed = left[-1].offset + 1
            _reap(self.pipeline._backfills)  # it may have met the crash first
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        """End what would go on for a moment, and write, in a process that is gone."""
        for task in self.pipeline._backfills.values():
            if not task.cancel() and not task.cancelled():
                task.exception()  # of the same crash

    async def rescore_due(self, crash_at: CrashPoint | None = None) -> None:
        """Rescore all members that are due, after any backfill; with `crash_at` as in `run`. Raises Crash."""
        await asyncio.gather(*self.pipeline._backfills.values())
        self._crash_at = crash_at
        await self.timers.catch_up(0)
        self._die_at("3")

    def _die_at(self, point: CrashPoint) -> None:
        if self._crash_at == point:
            raise Crash(point)

    async def _read(self, topic_id: str, partition: int, first: int, end: int) -> AsyncGenerator[Chunk, None]:
        yield Chunk(self.disk.rows[first:], len(self.disk.rows), len(self.disk.rows))

    async def _withdraw(self, partition: int, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        self.disk.rows += records
        self._die_at("1b")

    async def _n_partitions(self) -> int:
        return 2

    async def _tell(self, partition: int, records: Sequence[tuple[bytes, None]]) -> None:
        for member_id, _ in records:
            held = self.disk.redis.get(member_id)
            self.disk.forgotten.append((partition, member_id, held is not None and held.memberships is None))
        if partition:
            self._die_at("1c")

    async def _produce(self, topic: str, records: Sequence[OutgoingRecord]) -> None:
        assert topic == "member-docs.dead"
        self.disk.dead += records
        self._die_at("1")
