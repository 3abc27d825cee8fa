"""Rounds under load, judged by an oracle that was written from the documents alone (tests/oracle): while the load runs
nobody is told something that isn't so, and afterwards nobody is wrong and nobody is unscored.

ORACLE_ROUNDS (10) and ORACLE_SEED (random, printed) choose how many rounds and which. In each: events of every kind by
librdkafka's producers, in every codec, in transactions that commit or abort, to wrong partitions; models published,
promoted, rolled back and retired, lists uploaded, campaigns set; one of two workers killed (-9).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from chaos.authors import Authors
from chaos.check import fail_with
from chaos.conftest import CrewOn
from chaos.foreign import Producers, Reader
from chaos.sampler import BEACONS, Sampler, now_ms
from chaos.vitals import share
from chaos.workers import Crew
from e2e.system import Pair
from oracle.judge import Answer, Judge
from oracle.replay import Record, Replay
from oracle.worlds import SPAN_DAYS, World
from servers import ApacheKafka, Broker, RedisServer

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS, N_MEMBERS = 4, 400
PORTIONS, PORTION, LOAD_S = 25, 50, 4.0  # of a round: so many times, so many events, in so long
SESSION_S = 2.0
PATIENCE_S = 30.0


class Court:
    """Reads the topics back and compares."""

    def __init__(self, crew: Crew, world: World, authors: Authors) -> None:
        self.crew, self._world, self._authors = crew, world, authors
        bootstrap, settings = crew.system.pair.broker.bootstrap, crew.system.settings
        self._events = Reader(bootstrap, settings.topic, N_PARTITIONS)
        self._letters = Reader(bootstrap, settings.dead_letter_topic, N_PARTITIONS)
        self._replay = Replay(N_PARTITIONS)
        self._told: dict[tuple[int, int], tuple[str, bytes | None]] = {}
        self._records: dict[tuple[int, int], bytes | None] = {}
        self.statuses: Counter[str] = Counter()
        self.current_but_wrong = self.on_border = 0

    def read(self) -> None:
        """Take in what the topics hold now."""
        now = now_ms()

        def event(record: Record, headers: list[tuple[str, bytes]]) -> None:
            self._records[record.partition, record.offset] = record.value
            self._replay.take(record, now)

        def letter(record: Record, headers: list[tuple[str, bytes]]) -> None:
            said = {name: value.decode(errors="replace") for name, value in headers}
            place = int(said["origin_partition"]), int(said["origin_offset"])
            self._told[place] = said["reason"], record.value

        self._events.more(event)
        self._letters.more(letter)
        self.crew.system.next_offset = self._events.ends

    def judge(self, answers: list[Answer]) -> list[str]:
        """Return what was wrong in what readers were told."""
        judge = Judge(self._replay.members, self._authors.journal)
        wrong: list[str] = []
        for answer in answers:
            self.statuses[answer.status] += 1
            if why := judge.wrong_answer(answer):
                self.current_but_wrong += answer.status == "current"
                wrong.append(f"{why}: {answer}")
        self.on_border += judge.on_border
        return wrong

    def settled(self) -> tuple[list[str], int]:
        """Return what is wrong now that all is applied, and how many members lack a version."""
        store = self.crew.system.redis
        judge = Judge(self._replay.members, self._authors.journal)
        wrong = [] if store.exists("ms:{meta}:epoch") else ["no epoch"]
        beacons = {int(p): list(map(int, b.split(b":"))) for p, b in store.hgetall(BEACONS).items()}
        clocks = {p: clock_ms for p, (_, clock_ms, _) in beacons.items()}
        members = self._world.members
        rows = [row and row.decode() for row in store.mget([b"ms:member:" + member for member in members])]
        for member, row in zip(members, rows, strict=True):
            if why := judge.wrong_row(member, row, clocks):
                wrong.append(f"{member!r}: {why}; Redis has {row}")
        unscored = sum(judge.lacks_versions(member, row) for member, row in zip(members, rows, strict=True))
        self.on_border += judge.on_border
        return [*wrong, *self._wrong_letters(), *self._wrong_small_keys(store)], unscored

    def _wrong_letters(self) -> list[str]:
        wrong = [f"no dead letter of {place}" for place in self._replay.dead.keys() - self._told.keys()]
        for place, (reason, value) in self._told.items():
            true = self._replay.dead.get(place, frozenset())
            if reason not in true:
                wrong.append(f"dead letter of {place}: {reason}, true is {sorted(true)}")
            if value != self._records.get(place):
                wrong.append(f"dead letter of {place} isn't whole")
        return wrong

    def _wrong_small_keys(self, store: Any) -> list[str]:
        journal = self._authors.journal
        live = {name: str(steps.last) for name, steps in journal.live.items()}
        told = {name.decode(): version.decode() for name, version in store.hgetall("ms:{meta}:live").items()}
        wrong = [] if told == live else [f"live: {told}, right is {live}"]
        campaigns = {
            name: [c.model, list(c.clusters), c.from_ms, c.until_ms, c.holdout, "paused" if c.is_paused else "enabled"]
            for name, steps in journal.campaigns.items()
            if (c := steps.last) is not None
        }
        fields = ("model", "clusters", "from", "until", "holdout", "state")
        held = {
            name.decode(): [orjson.loads(text)[field] for field in fields]
            for name, text in store.hgetall("ms:{meta}:campaigns").items()
        }
        return wrong if held == campaigns else [*wrong, f"campaigns: {held}, right is {campaigns}"]

    @property
    def size(self) -> tuple[int, int]:
        return len(self._records), len(self._replay.dead)

    @property
    def reasons(self) -> set[str]:
        return {reason for reason, _ in self._told.values()}

    def close(self) -> None:
        self._events.close()
        self._letters.close()


async def test_a_second_oracle_finds_nobody_wrong(own_kafka: ApacheKafka, tmp_path: Path, crew_on: CrewOn) -> None:
    """0 wrong after settling, 0 `current` but wrong at that moment, 0 unscored, in each round."""
    n_rounds = int(os.environ.get("ORACLE_ROUNDS", "10"))
    seed = int(os.environ.get("ORACLE_SEED", str(random.randrange(1_000_000))))
    print(f"ORACLE_SEED={seed} ORACLE_ROUNDS={n_rounds}")
    world, chance = World(seed, N_MEMBERS), random.Random(seed)
    with RedisServer("redis", tmp_path / "store") as store:
        crew = await crew_on(Pair(Broker("apache", own_kafka.bootstrap), store), [], N_PARTITIONS)
        crew.system.set(session_timeout_s=SESSION_S)
        authors = Authors(crew.system, world, seed)
        await authors.first_models()
        for _ in range(2):
            crew.hire().start()
        await share(crew, crew.workers)
        producers = Producers(own_kafka.bootstrap, crew.system.settings.topic, seed)
        court = Court(crew, world, authors)
        await asyncio.to_thread(producers.send, world.everyone())
        with Sampler(store.url, world.members, seed) as sampler:
            for number in range(1, n_rounds + 1):
                started = time.monotonic()
                await one_round(crew, world, authors, producers, chance, number)
                await settled(crew, court)
                answers = sampler.take()
                wrong = court.judge(answers)
                problems, unscored = await at_rest(crew, court)
                done = time.monotonic() - started
                steps, authors.steps = authors.steps, []
                told = dict(Counter(answer.status for answer in answers))
                print(f"round {number}: {done:.1f} s, {told}; {'; '.join(steps)}")
                fail_with(
                    wrong, f"{len(answers)} answers of round {number}, {court.current_but_wrong} of them `current`"
                )
                fail_with(problems, f"{N_MEMBERS} members after round {number}, {unscored} of them unscored")
        court.close()
    n_records, n_dead = court.size
    print(
        f"{n_records} records, {n_dead} dead letters, {producers.aborted} aborted; answers: "
        f"{dict(court.statuses)}; on a border: {court.on_border}; workers restarted: {crew.restarts}"
    )
    assert court.statuses["current"] > 100 * n_rounds
    # Redis loses nothing here: a worker that dies, comes back or takes over leaves complete what was complete.
    assert court.statuses["rebuilding"] < 0.05 * court.statuses["current"]
    assert "wrong_partition" in court.reasons or n_rounds < 3
    assert producers.aborted > 0 or n_rounds < 3


async def one_round(
    crew: Crew, world: World, authors: Authors, producers: Producers, chance: random.Random, number: int
) -> None:
    """Load, authors and a kill -9 at a random moment, side by side."""

    async def load() -> None:
        start = time.monotonic()
        for i in range(PORTIONS):
            await asyncio.to_thread(producers.send, world.some(PORTION))
            world.pass_days(SPAN_DAYS / 12 / PORTIONS)
            await asyncio.sleep(max(0.0, start + LOAD_S * (i + 1) / PORTIONS - time.monotonic()))

    async def people() -> None:
        await authors.a_campaign()
        await authors.a_model()
        if number % 2:
            await authors.a_list()
        await authors.a_campaign()

    async def killer() -> None:
        await asyncio.sleep(chance.uniform(0, LOAD_S))
        worker = chance.choice(crew.running)
        worker.kill()
        worker.start()

    async with asyncio.TaskGroup() as group:
        for work in (load(), people(), killer()):
            group.create_task(work)


async def settled(crew: Crew, court: Court) -> None:
    """Return when all that was sent is applied."""
    await asyncio.to_thread(court.read)
    await crew.applied()
    await asyncio.to_thread(court.read)  # dead letters


async def at_rest(crew: Crew, court: Court) -> tuple[list[str], int]:
    """Return what stays wrong: candidates may still be on their way, and what is retired on its way out."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        problems, unscored = court.settled()
        if not problems or time.monotonic() > give_up_at:
            return problems, unscored
        await asyncio.sleep(0.5)
        await crew.applied()
