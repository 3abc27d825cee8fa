"""Rounds of damage under load, on Apache Kafka 4 and redis-server: whatever breaks, nobody is wrong afterwards.

CHAOS_ROUNDS (20) and CHAOS_SEED (random, printed) choose how many rounds and which; the times at which things break
against one another are the machine's, so a seed repeats the plan and the events, not every interleaving.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest
from chaos.check import check, check_disk, read_whole
from chaos.conftest import CrewOn
from chaos.load import Load, models
from chaos.vitals import share
from chaos.watcher import Watcher
from chaos.workers import Crew, Worker
from e2e.system import Pair
from rights import grant, rights_of
from secure import PASSWORD, SecureKafka, TokenEndpoint
from servers import ApacheKafka, Broker, KafkaMissing, RedisServer, missing

from memberstream.stream.kafka.security import Security
from memberstream.stream.partition.write_position import judge

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS = 4
N_MEMBERS = 400
PORTIONS, PORTION = 30, 40  # of a round's load: so many times, so many events
LOAD_S = 3.0
TOKEN_S = 8.0
SESSION_S = 2.0
GRACE_S = 10.0  # what a supervisor gives between SIGTERM and SIGKILL


class Rounds:
    """The installation, and each kind of damage as a method; load runs meanwhile."""

    def __init__(self, crew: Crew, kafka: ApacheKafka, store: RedisServer, load: Load, watcher: Watcher) -> None:
        self.crew, self.kafka, self.store, self.load, self.watcher = crew, kafka, store, load, watcher
        self.chance = random.Random(load.chance.random())
        self.redis_was_emptied = False

    async def some_time(self) -> None:
        await asyncio.sleep(self.chance.uniform(0, LOAD_S * 0.6))

    def someone(self) -> Worker:
        return self.chance.choice(self.crew.running)

    async def worker_killed(self) -> None:
        worker = self.someone()
        worker.kill()
        worker.start()

    async def worker_and_disk_lost(self) -> None:
        worker = self.someone()
        worker.kill()
        worker.lose_disk()
        worker.start()

    async def worker_paused(self) -> None:
        """Longer than its session: the other one takes over, then the stale one wakes up in the middle of its work."""
        stale = self.someone()
        stale.pause()
        await asyncio.sleep(2 * SESSION_S)
        stale.resume()

    async def worker_joins(self) -> None:
        self.another().start()

    async def worker_leaves(self) -> None:
        took_s = await asyncio.to_thread(self.someone().stop)
        assert took_s < GRACE_S, f"the stop took {took_s:.1f} s"

    async def redis_killed(self) -> None:
        self.store.kill()
        await asyncio.sleep(self.chance.uniform(0, 1))
        self.store.start()

    async def redis_emptied(self) -> None:
        self.store.kill()
        shutil.rmtree(self.store.directory / "appendonlydir")
        self.redis_was_emptied = True
        self.watcher.forget()
        await asyncio.sleep(self.chance.uniform(0, 1))
        self.store.start()

    async def broker_restarted(self) -> None:
        await asyncio.to_thread(self.kafka.stop)
        self.kafka.start()

    async def broker_killed(self) -> None:
        self.kafka.kill()
        self.kafka.start()

    def another(self) -> Worker:
        """A worker that isn't running, its disk as it left it."""
        idle = [worker for worker in self.crew.workers if worker.pid is None]
        return idle[0] if idle else self.crew.hire()

    async def staff(self, n: int) -> None:
        """See to it that n workers run and are at work."""
        while True:
            while len(self.crew.running) > n:
                self.someone().stop()
            while len(self.crew.running) < n:
                self.another().start()
            await self.crew.ready()
            if len(self.crew.running) == n:
                return  # else one had just ended, as a stale worker does, and is back

    async def send_slowly(self) -> None:
        start = time.monotonic()
        for i in range(PORTIONS):
            await self.crew.system.send(self.load.some(PORTION))
            await asyncio.sleep(max(0.0, start + LOAD_S * (i + 1) / PORTIONS - time.monotonic()))


# How many workers each kind of damage starts from; None: as many as there are.
KINDS: dict[str, int | None] = {
    "worker_killed": None,
    "worker_and_disk_lost": None,
    "worker_paused": 2,
    "worker_joins": 1,
    "worker_leaves": 2,
    "redis_killed": None,
    "redis_emptied": None,
    "broker_restarted": None,
    "broker_killed": None,
}


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SecureKafka]:
    """A broker that asks for tokens, of this test alone."""
    try:
        with SecureKafka(tmp_path / "secured", reauthenticate_ms=3_600_000) as server:
            yield server
    except KafkaMissing as error:
        missing(str(error))


@pytest.fixture
def store(tmp_path: Path) -> RedisServer:
    """A redis-server that keeps its data."""
    return RedisServer("redis", tmp_path / "store", persistent=True)


async def test_rounds_of_damage_leave_nobody_wrong(secured: SecureKafka, store: RedisServer, crew_on: CrewOn) -> None:
    """Each kind of damage twice and more, in random order, under load: after each round Redis, changelog and dead
    letters are as replayed from scratch, in the end RocksDB, too; and no position in Redis ever went back. Workers come
    by TLS, with tokens of seconds and the rights that docs/kafka-security.md lists."""
    n_rounds = int(os.environ.get("CHAOS_ROUNDS", "20"))
    seed = int(os.environ.get("CHAOS_SEED", str(random.randrange(1_000_000))))
    print(f"CHAOS_SEED={seed} CHAOS_ROUNDS={n_rounds}")
    plan = (list(KINDS) * (n_rounds // len(KINDS) + 1))[:n_rounds]
    random.Random(seed).shuffle(plan)
    load = Load(seed, N_MEMBERS)
    with store, TokenEndpoint(lifetime_s=TOKEN_S).running() as tokens:
        pair = Pair(Broker("apache", secured.bootstrap["PLAINTEXT"]), store)
        crew = await crew_on(pair, models(), n_partitions=N_PARTITIONS)
        grant(secured.bootstrap["PLAINTEXT"], "worker", rights_of("worker", crew.system.settings))
        crew.system.set(
            session_timeout_s=SESSION_S,
            kafka_bootstrap=(secured.bootstrap["SASL_SSL"],),
            kafka_security=Security(
                "SASL_SSL",
                ssl_ca_location=secured.certificates.ca,
                sasl_mechanism="OAUTHBEARER",
                sasl_oauthbearer_token_endpoint_url=tokens.url,
                sasl_oauthbearer_client_id="worker",
                sasl_oauthbearer_client_secret=PASSWORD,
            ),
        )
        with Watcher(store.url, load.member_ids, seed) as watcher:
            rounds = Rounds(crew, secured.node, store, load, watcher)
            await rounds.staff(1)
            await crew.system.send(load.everyone())
            for number, kind in enumerate(plan, start=1):
                started = time.monotonic()
                await one_round(rounds, kind)
                await repaired(crew)
                checked = await check(crew.system, redis_was_emptied=rounds.redis_was_emptied)
                watcher.check()
                print(f"round {number}: {kind}, {checked}, {time.monotonic() - started:.1f} s")
            await rounds.staff(1)
            [last] = crew.running
            await share(crew, [last])  # it is ready, but may not have heard yet that another one's partitions are its
            await crew.applied()
            last.stop()
            assert await check_disk(crew.system, last.data_dir) > checked.living
    print(f"{watcher.samples} samples; workers restarted: {crew.restarts}")
    assert watcher.samples > 0


async def repaired(crew: Crew) -> None:
    """Return when no record of a stale worker is the last of its key in the changelog; its owner sees to that."""
    for _ in range(100):
        records = await read_whole(crew.system, crew.system.settings.changelog_topic)
        if not any(judge(list(part), -1)[1] for _, part in groupby(records, key=lambda record: record.partition)):
            return
        await asyncio.sleep(0.2)
        await crew.applied()
    crew.fail("records of a stale worker stay in the changelog")


async def one_round(rounds: Rounds, kind: str) -> None:
    """Damage of this kind at a random moment of the load; returns when all is applied."""
    damage: Callable[[], Awaitable[None]] = getattr(rounds, kind)
    n_workers = KINDS[kind]
    if n_workers is not None:
        await rounds.staff(n_workers)
    load = asyncio.create_task(rounds.send_slowly())
    try:
        await rounds.some_time()
        await damage()
        await load
    finally:
        load.cancel()
    await rounds.crew.applied()
