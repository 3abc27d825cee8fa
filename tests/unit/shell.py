"""The pipeline between fakes that keep the promises of the real things, and forget what a crash forgets.

`Disk` is what outlives a crash: topics, changelog, Redis, committed offset. Local state is rebuilt from the changelog,
as recovery does. `crash_at` names the side effect (pipeline.py) after which the process dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from memberstream.models.list_version import ListVersion
from memberstream.models.member import Move, decode, head_of
from memberstream.models.model import Model
from memberstream.models.placement import Partitioner
from memberstream.models.timestamps import FOREVER
from memberstream.stream.interactions.forgetting import Forgetting
from memberstream.stream.kafka.outgoing import Outgoing
from memberstream.stream.keyspace.formats import Announcement, Beacon, Behind, Door, Scored, Sizes, membership_field
from memberstream.stream.lists.enlisting import Enlisting
from memberstream.stream.lists.rows import Chunk
from memberstream.stream.members.admission import Admission
from memberstream.stream.members.backfill import Backfill
from memberstream.stream.members.background import BACKFILL, KINDS, Background
from memberstream.stream.members.computing import Computing
from memberstream.stream.members.decoding import Rules
from memberstream.stream.members.level import Level
from memberstream.stream.members.ownership import Ownership
from memberstream.stream.members.pipeline import Pipeline
from memberstream.stream.members.rebuild import Rebuild
from memberstream.stream.members.redis_watch import RedisWatch
from memberstream.stream.members.rescoring import Rescoring
from memberstream.stream.members.roll_call import RollCall
from memberstream.stream.members.sweep import Sweep
from memberstream.stream.members.timers import MemberTimers
from memberstream.stream.partition.census import Census
from memberstream.stream.partition.dead_letters import DeadLetters
from memberstream.stream.partition.holds import Holds
from memberstream.stream.partition.locks import Locks
from memberstream.stream.partition.report import Report
from memberstream.stream.partition.state import Items, NotOwner, Timer, Timers
from memberstream.stream.partition.write_position import write_position
from memberstream.stream.projection.build import BeaconReply, BuiltMark
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.projection.members import Deletion, Release, Write
from memberstream.stream.projection.projection import Projection
from memberstream.stream.projection.writer import Writer
from memberstream.stream.registry.publication import Current, Lists, compile_models
from memberstream.stream.settings import Clock
from memberstream.stream.tasks.supervisor import Supervisor
from memberstream.stream.tasks.turns import Turns

WALL_MS = 1_700_000_000_000
CrashPoint = Literal["1", "1b", "1c", "half of 2a", "2a", "half of 2b", "2b", "2a and 2b", "3"]
CRASH_POINTS: tuple[CrashPoint, ...] = get_args(CrashPoint)


#: Awaited in each call to Kafka and Redis, before it takes effect.
Pause = Callable[[], Awaitable[object]]


async def _no_pause() -> None:
    pass


PARTITIONER: Partitioner = "murmur2"


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
    dead: list[Outgoing] = field(default_factory=list)
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)  # of the lists' topic
    #: Told on the interactions' topic: partition, member, whether Redis had a tombstone by then.
    forgotten: list[tuple[int, bytes, bool]] = field(default_factory=list)
    redis: dict[bytes, Held] = field(default_factory=dict)
    listed: set[bytes] = field(default_factory=lambda: {LISTED_FIELD})  # fields in Redis that are lists'
    epoch: bool = False
    told: list[int] = field(default_factory=list)  # the offsets of the partition's beacons
    built: dict[int, BuiltMark] = field(default_factory=dict)
    committed: int = 0
    is_redis_down: bool = False  # for writes
    announcement: Announcement | None = None
    known: int = -1  # up to which step of the models' log readers know, by whom ever
    log_end: int = -1  # its last step
    scored: dict[int, Scored] = field(default_factory=dict)
    behind: dict[int, Behind] = field(default_factory=dict)
    sizes: dict[int, Sizes] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    late_ms: list[int] = field(default_factory=list)

    def state(self) -> dict[bytes, bytes]:
        """Return the compacted changelog."""
        newest = dict(self.changelog)
        return {key: value for key, value in newest.items() if value is not None}


class FakeRedis:
    """A projection (stream/projection/projection.py) on the disk's dictionary, with the guard of stream/lua/*.lua."""

    def __init__(self, disk: Disk, die_at: Callable[[CrashPoint], None], pause: Pause) -> None:
        self._disk, self._die_at, self._pause = disk, die_at, pause
        self.is_published = False  # whether the batch's changelog records are
        self.calls = self.members = self.rows = self.readers = self.partitions = self.build = self

    async def write(self, partition: int, updates: Sequence[Write]) -> int:
        if self._disk.is_redis_down:
            raise RedisUnavailable("down. Next: wait")
        await self._pause()
        is_early = not self.is_published and all(isinstance(update, Deletion) for update in updates)  # of 1c
        if not is_early:
            self._die_at("2a")  # nothing has arrived here yet
        refused = 0
        for i, update in enumerate(updates):
            if not is_early and i == len(updates) // 2:
                self._die_at("half of 2b")
            held = self._disk.redis.get(update.member_id)
            if isinstance(update, Release):
                if held is not None and held.position != (-1, 0):  # else only on lists
                    listed = {f: c for f, c in (held.memberships or {}).items() if f == LISTED_FIELD}
                    self._disk.redis.pop(update.member_id)
                    if listed:
                        self._disk.redis[update.member_id] = Held((-1, 0), None, listed)
                continue
            position = (update.position, update.as_of_ms)
            if isinstance(update, Deletion) and update.only_if_held and (held is None or held.memberships is None):
                continue
            if held is not None and position < held.position:
                refused += 1
            elif isinstance(update, Deletion) and update.only_if_held:
                del self._disk.redis[update.member_id]
            elif isinstance(update, Deletion):
                self._disk.redis[update.member_id] = Held(position, None, None)
            else:
                kept = {} if held is None or held.memberships is None else held.memberships
                kept = {name: value for name, value in kept.items() if name in self._disk.listed}  # as in write.lua
                memberships = kept | dict(zip(update.fields, update.memberships, strict=True))
                self._disk.redis[update.member_id] = Held(position, update.valid_until_ms, memberships)
        return refused

    async def ping(self) -> None:
        if self._disk.is_redis_down:
            raise RedisUnavailable("down. Next: wait")

    async def beacon(self, beacons: Mapping[int, Beacon]) -> BeaconReply:
        self._disk.told += [beacon.next_offset for beacon in beacons.values()]
        return BeaconReply(self._disk.epoch, {p: self._disk.built.get(p) for p in beacons}, {})

    async def begin(self, partition: int) -> bytes:
        self._disk.built[partition] = BuiltMark(b"token", False)
        return b"token"

    async def finish(self, partition: int, token: bytes, n_partitions: int, now_ms: int) -> str:
        if partition not in self._disk.built:
            return "restart"
        self._disk.epoch = True
        return "complete"

    async def announce(self, announcement: Announcement) -> bool:
        self._disk.announcement = announcement
        return True

    async def known(self) -> int:
        return self._disk.known

    async def tell(
        self,
        scored: Mapping[int, Scored],
        behind: Mapping[int, Behind],
        sizes: Mapping[int, Sizes],
        doors: Mapping[int, Door],
    ) -> None:
        self._disk.scored.update(scored)
        self._disk.behind.update(behind)
        self._disk.sizes.update(sizes)

    async def nodes(self) -> list[None]:
        return []

    async def enlist(self, field: bytes, rows: Sequence[tuple[bytes, bytes]], over_tombstones: bool) -> list[bytes]:
        refused = []
        self._disk.listed.add(field)
        for member_id, value in rows:
            held = self._disk.redis.setdefault(member_id, Held((-1, 0), None, {}))
            if held.memberships is None and over_tombstones:
                held = self._disk.redis[member_id] = Held((-1, 0), None, {})
            if held.memberships is None:
                refused.append(member_id)
            else:
                cluster, since_ms = value.split(b":")
                held.memberships[field] = (int(cluster), int(since_ms))
        return refused

    async def drop(self, member_ids: Sequence[bytes], fields: Sequence[bytes]) -> None:
        await self._pause()
        for member_id in member_ids:
            held = self._disk.redis.get(member_id)
            if held is not None and held.memberships is not None:
                held.memberships = {name: value for name, value in held.memberships.items() if name not in fields}


class FakeState:
    """The state of one partition (stream.faust_batch.PartitionState), recovered from the disk's changelog."""

    largest = 8 << 20

    def __init__(self, disk: Disk, redis: FakeRedis, die_at: Callable[[CrashPoint], None], pause: Pause) -> None:
        self._disk, self._redis, self._die_at, self._pause = disk, redis, die_at, pause
        self._local = disk.state()
        self.timers = set(self._due())  # a store of before the crash recovers them so (stream/faust_batch/store.py)
        self._census = self._counted()
        positions = [write_position(value, ()) for _, value in disk.changelog if value is not None]
        self._written_at = max((p for p in positions if p is not None), default=-1)

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._local.get(key) for key in keys]

    def written_at(self, partition: int) -> int:
        return self._written_at

    async def publish(self, partition: int, items: Items, written_at: int) -> int:
        assert written_at >= self._written_at
        assert all(write_position(value, ()) == written_at for _, value in items if value is not None)
        await self._pause()
        self._redis.is_published = True  # for what is written there from now on
        self._die_at("2b")  # nothing has arrived here yet
        assert len({key for key, _ in items}) == len(items)
        half = len(items) // 2
        self._disk.changelog += items[:half]
        self._die_at("half of 2a")
        self._disk.changelog += items[half:]
        return len(self._disk.changelog) - 1

    def write(
        self,
        partition: int,
        items: Items,
        changelog_offset: int,
        written_at: int,
        timers: Timers = (),
        moves: Sequence[Move] = (),
    ) -> None:
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
        self._census.change(NoBatch(), moves, changelog_offset)
        assert self._census.counts.documents == self._counted().counts.documents
        assert self._census.counts.models == self._counted().counts.models

    def _counted(self) -> Census:
        """The census, by the states."""
        census = Census(None, (), None)
        census.begin_recount()
        census.recount((key, head_of(value).held) for key, value in sorted(self.scan(0)))
        census.end_recount(NoBatch(), 0)
        return census

    def census(self, partition: int) -> Census:
        return self._census

    def end_recount(self, partition: int) -> int:
        return self._census.end_recount(NoBatch(), 0)

    def _due(self) -> Iterator[Timer]:
        """When members fall due, by their states."""
        for key, value in self.scan(0):
            if (due_ms := decode(value).valid_until_ms) < FOREVER:
                yield Timer(due_ms, key)

    async def index_timers(self, partition: int) -> None:
        pass

    async def take_back(self, partition: int) -> None:
        """Nothing fails here but by a crash, and then nobody is left to do it."""

    def due(self, partition: int, until_ms: int, limit: int, after: Timer | None = None) -> list[Timer]:
        found = sorted(timer for timer in self.timers if timer.due_ms <= until_ms and (after is None or timer > after))
        return found[:limit]

    def next_due_ms(self, partition: int) -> int:
        return min(self.timers, default=Timer(FOREVER, b"")).due_ms

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, value) for key, value in self._local.items() if not key.startswith(b"\0")])

    def members(self, partition: int, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return sorted((key, value) for key, value in self.scan(partition) if key > after)[:limit]

    def approximate_count(self, partition: int) -> int:
        return len(self._local)


class NoBatch:
    """A RocksDB WriteBatch that goes nowhere: a crash forgets local state."""

    def put(self, key: bytes, value: bytes) -> None:
        pass

    def delete(self, key: bytes) -> None:
        pass

    def delete_range(self, begin: bytes, end: bytes) -> None:
        pass


class FakeTopic:
    """The source topic (stream.source_topic.SourceTopic) of a broker that tells nothing of it; `aside`: its skips."""

    topic_id = b""
    end: int | None = None
    waiting: Mapping[int, int] = {0: 0}
    partition_count = 1

    def __init__(self) -> None:
        self.aside: dict[int, str] = {}

    def end_offset(self, partition: int) -> int | None:
        return self.end

    def skipped(self, partition: int) -> Mapping[int, str]:
        return self.aside

    def lag(self) -> Mapping[int, int]:
        return self.waiting


class TimersByHand(MemberTimers):
    """Timers that nobody looks at until `catch_up` is called."""

    async def run(self, partition: int) -> None:
        await asyncio.Event().wait()


class RollCallByHand(RollCall):
    """A roll call that is made when `once` is called."""

    async def run(self, partition: int) -> None:
        self._called[partition] = self._state.census(partition)
        await asyncio.Event().wait()

    async def once(self) -> None:
        await self._call(0, self._called[0])
        self.look()


RULES = Rules()


class Process:
    """One run of a worker on a disk, until it crashes.

    Attributes:
        pause: a test's own, to hold calls up.
    """

    def __init__(self, disk: Disk, models: Sequence[Model], clock: Clock = "event", rules: Rules = RULES) -> None:
        self.disk, self.topic = disk, FakeTopic()
        self._crash_at: CrashPoint | None = None
        self.pause: Pause = _no_pause
        redis = FakeRedis(disk, self._die_at, lambda: self.pause())
        self.state = state = FakeState(disk, redis, self._die_at, lambda: self.pause())
        lists = Lists(published=((-1, LISTED),))
        self.current = Current(compile_models(models, 0, members_offset=0, lists=lists), Announcement(-1, (), {}))
        self.writer = Writer(cast(Projection, redis), Holds(), clock, lambda: WALL_MS)
        self.tasks = Supervisor(KINDS, over=(NotOwner,))
        self.locks = locks = Locks()
        rescoring = Rescoring(state, self.writer, clock, lambda: WALL_MS)
        turns = Turns(lambda: len(disk.reports))
        enlisting = Enlisting(self.current, self.writer, lambda: 1, self._until_known, self._read, self._withdraw)
        sweep = Sweep(state, self.writer, lambda: 1)
        level = Level(self.topic, self.writer, rescoring)
        rebuild = Rebuild(
            self.current, state, self.writer, rescoring, enlisting, sweep, level, lambda: 1, self._until_current
        )
        self.backfill = Backfill(self.current, state, self.writer, rescoring, enlisting, locks, turns)
        self.timers = TimersByHand(self.current, state, rescoring, locks, turns, disk.late_ms.extend)
        self.roll_call = RollCallByHand(self.current, state, rescoring, self.backfill.is_complete, locks, turns)
        self.background = Background(
            tasks=self.tasks,
            locks=locks,
            writer=self.writer,
            rebuild=rebuild,
            backfill=self.backfill,
            timers=self.timers,
            roll_call=self.roll_call,
        )
        self.ownership = Ownership(
            current=self.current,
            writer=self.writer,
            admission=Admission(
                topic=self.topic,
                state=state,
                writer=self.writer,
                epoch=0,
                partitioner=PARTITIONER,
                until_known=self._until_known,
            ),
            background=self.background,
            locks=locks,
            look=_no_pause,
        )
        self.redis_watch = RedisWatch(
            writer=self.writer,
            background=self.background,
            rebuild=rebuild,
            backfill=self.backfill,
            roll_call=self.roll_call,
            lag=self.topic.lag,
            wall_ms=lambda: WALL_MS,
        )
        self.pipeline = Pipeline(
            locks=locks,
            computing=Computing(
                self.current,
                self.topic,
                state,
                self.writer,
                clock,
                lambda: WALL_MS,
                PARTITIONER,
                latest_ms=lambda: WALL_MS,
                rules=rules,
            ),
            dead_letters=DeadLetters("member-docs", "member-docs.dead", self._produce, lambda: WALL_MS),
            enlisting=enlisting,
            forgetting=Forgetting(self.writer, self._n_partitions, self._tell),
            state=state,
            writer=self.writer,
            wall_ms=lambda: WALL_MS,
            report=self.disk.reports.append,
            on_written=self.background.on_batch,
        )

    async def run(self, batches: Sequence[Sequence[Record]], crash_at: CrashPoint | None = None) -> None:
        """Handle what isn't committed yet; with `crash_at` die when that point is reached first. Raises Crash."""
        await self.ownership.assigned({0: self.disk.committed})
        self._crash_at = crash_at
        try:
            for batch in batches:
                left = [record for record in batch if record.offset >= self.disk.committed]
                if left:
                    await self.pipeline.handle(0, left)
                    self._die_at("3")
                    self.disk.committed = left[-1].offset + 1
            if self.tasks.fatal is not None:  # a backfill may have met the crash first
                raise self.tasks.fatal
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        """End what would go on for a moment, and write, in a process that is gone."""
        for task in self.tasks.tasks().values():
            if not task.cancel() and not task.cancelled():
                task.exception()  # of the same crash

    async def _until_known(self, offset: int) -> None:
        """Goes by what readers know; takeovers with fewer steps than states know of are the backfill's laws."""
        while self.current.announcement.offset < min(offset, self.disk.known):  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0)

    async def _until_current(self) -> None:
        while self.current.announcement.offset < self.disk.log_end:  # noqa: ASYNC110 (nobody announces it)
            await asyncio.sleep(0)

    async def backfilled(self) -> None:
        """Return when no backfill is under way; raises what one met."""
        while running := [task for name, task in self.tasks.tasks().items() if name.startswith(BACKFILL)]:
            await asyncio.wait(running, timeout=0.1)
            if self.tasks.fatal is not None:
                raise self.tasks.fatal
            assert not self.tasks.down()

    async def rescore_due(self, crash_at: CrashPoint | None = None) -> None:
        """Rescore all members that are due, after any backfill; with `crash_at` as in `run`. Raises Crash."""
        await self.backfilled()
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

    async def _produce(self, topic: str, records: Sequence[Outgoing]) -> None:
        assert topic == "member-docs.dead"
        self.disk.dead += records
        self._die_at("1")
