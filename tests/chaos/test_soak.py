"""A worker under steady load for minutes: its memory is flat, look-ups don't slow down, nobody is wrong.

SOAK_MINUTES (4) says for how long, SOAK_WORKERS (1) how many share the work; 30 and 2 before a release. A burst comes
first: it fills what grows to a bound, such as write buffers and caches, sooner than waiting would. Members, events and
models are those of bench/job.py, whose plain NumPy is the oracle; there is a fixed number of members, so what grows is
a leak. A busy machine can put off what grows to its bound, but a leak never ends: memory that isn't flat yet is watched
for longer, up to three times the minutes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest
from chaos.check import on_disk
from chaos.conftest import CrewOn
from chaos.soak_parts import WINDOW_S, bodies, sent
from chaos.vitals import metric, rss_mb, share
from chaos.workers import Crew, Worker
from e2e.system import Pair, Sent
from keys import KEYS
from servers import COMPACTED, ApacheKafka, Broker, RedisServer, create_topic

from bench import job
from memberstream.models.member import decode as decode_state
from memberstream.stream.keyspace.formats import membership_field, parse_membership, parse_row
from memberstream.stream.local.server_process import ServerProcess

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_MEMBERS, N_PARTITIONS = 20_000, 4
# Six million records shall not fill the disk; the broker's own defaults keep a week in files of 1 GB.
SMALL_FILES = {"segment.bytes": str(64 << 20)}
BURST_PER_S, BURST_S = 20_000, 20.0
PER_S = 2_000  # a quarter of what a worker does on two cores that others share
READ_EVERY_S = 1.0
FLAT = 1.03  # the last third of the readings by the second: medians
# Others share the machine: 400,000 events of the burst, and a changelog of up to two million records read back.
PATIENCE_S = 300.0
ROOT = Path(__file__).resolve().parents[2]


class Part:
    """A process of soak_parts.py; every line of its output is JSON."""

    def __init__(self, name: str, directory: Path) -> None:
        self.output = directory / f"{name}.jsonl"
        self.process = ServerProcess(f"the soak's {name}", self.output)

    def start(self, *arguments: Any) -> None:
        script = Path(__file__).with_name("soak_parts.py")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        command = [sys.executable, str(script), *map(str, arguments)]
        self.process.spawn(command, cwd=self.output.parent, env=environment)

    def lines(self) -> list[dict[str, Any]]:
        text = self.output.read_text()
        assert "Traceback" not in text, text
        return [orjson.loads(line) for line in text.splitlines()]


async def test_memory_and_look_ups_stay_as_they_are(
    own_kafka: ApacheKafka, redis_server: RedisServer, crew_on: CrewOn, tmp_path: Path
) -> None:
    """After the burst each worker's memory grows by less than 3% from the second third to the last (medians). The p99
    of look-ups, measured by that of a bare PING, grows by less than a half, in the calmest ten seconds of each third:
    other processes come and go meanwhile. In the end every member's document and clusters are right in Redis, in
    RocksDB and, read back from there, in the changelog.
    """
    duration_s = 60 * float(os.environ.get("SOAK_MINUTES", "4"))
    pair = Pair(Broker("apache", own_kafka.bootstrap), redis_server)
    crew = await crew_on(pair, job.model_files().values(), n_partitions=N_PARTITIONS)
    system, settings = crew.system, crew.system.settings
    await create_topic(
        own_kafka.bootstrap, settings.changelog_topic, partitions=N_PARTITIONS, config=COMPACTED | SMALL_FILES
    )
    system.set(session_timeout_s=10.0)
    documents, patches = bodies(N_MEMBERS)
    workers = [crew.hire() for _ in range(int(os.environ.get("SOAK_WORKERS", "1")))]
    for worker in workers:
        worker.start()
    await share(crew, workers)
    await system.send([Sent(job.member_id(i), orjson.dumps(body)) for i, body in enumerate(documents)])
    await crew.applied()
    where = (own_kafka.bootstrap, settings.topic, N_PARTITIONS, N_MEMBERS)
    burst, sender, looker = Part("burst", tmp_path), Part("sender", tmp_path), Part("looker", tmp_path)
    burst.start("send", *where, BURST_PER_S, BURST_S)
    while burst.process.pid is not None:  # noqa: ASYNC110 - a process tells nobody that it ended
        await asyncio.sleep(0.05)
    n_burst = burst.lines()[0]["sent"]

    async def applied(n: int) -> None:
        def n_applied() -> float:
            return sum(metric(worker, "memberstream_events_total")["applied"] for worker in workers)

        await crew.until(lambda: n_applied() >= N_MEMBERS + n, "all applied", PATIENCE_S)

    await applied(n_burst)
    pids = [worker.pid for worker in workers]

    memory: list[list[float]] = [[] for _ in workers]
    try:
        sender.start("send", *where, PER_S, 3 * duration_s + 60)
        looker.start("look", settings.redis_url, N_MEMBERS)
        started = time.monotonic()
        while (passed_s := time.monotonic() - started) < duration_s or (
            passed_s < 3 * duration_s and not all(is_flat(readings, duration_s) for readings in memory)
        ):
            assert sender.process.pid is not None, "the sender has ended"
            assert [worker.pid for worker in workers] == pids
            for worker, readings in zip(workers, memory, strict=True):
                readings.append(rss_mb(worker))
            await asyncio.sleep(READ_EVERY_S)
        sender.process.stop(grace_s=30.0)
    finally:
        sender.process.kill()
        looker.process.kill()
    [said] = sender.lines()
    runs = (n_burst, said["sent"])  # of the same sequence of events each
    await applied(sum(runs))
    p99 = [line["p99"] / line["ping_p99"] for line in looker.lines()]
    print(
        f"{n_burst} events in a burst, then {said['sent'] / said['seconds']:.0f}/s for {said['seconds']:.0f} s; "
        f"p99 of look-ups {thirds(p99, median)} x a PING's in windows of {WINDOW_S:g} s; memory, MB a minute:"
    )
    for readings in memory:
        print(*(f"{median(readings[i : i + 60]):.1f}" for i in range(0, len(readings), 60)))
    patched = [event for n in runs for event in islice(sent(N_MEMBERS), n)]
    everyone = [body["document"] for body in documents]
    for member, patch in patched:
        job.merge(everyone[member], patches[patch]["patch"])
    assert wrong_in_redis(crew, everyone) == []
    assert [worker.pid for worker in workers] == pids
    assert crew.restarts == []
    *others, last = workers
    for worker in others:
        worker.stop()
    await share(crew, [last])
    last.stop()
    assert wrong_on_disk(last, everyone) == []
    last.lose_disk()
    last.start()
    await crew.until(last.is_ready, "the changelog to be read", PATIENCE_S)
    last.stop()
    assert wrong_on_disk(last, everyone) == [], "read from the changelog"
    for readings in memory:
        *_, middle, last_mb = thirds(recent(readings, duration_s), median)
        assert last_mb <= FLAT * middle, f"memory grows: {middle} MB, then {last_mb}, after {len(readings)} readings"
    p99_first, _, p99_last = thirds(p99, min)
    assert p99_last <= 1.5 * p99_first, f"look-ups slow down: {p99_first} x a PING's p99, then {p99_last}"


def is_flat(readings: Sequence[float], duration_s: float) -> bool:
    """Return whether memory hardly grew within the last `duration_s` of the readings."""
    _, middle, last = thirds(recent(readings, duration_s), median)  # the first third may still be filled
    return last <= FLAT * middle


def recent(readings: Sequence[float], duration_s: float) -> Sequence[float]:
    """Return the readings of the last `duration_s`."""
    return readings[-int(duration_s / READ_EVERY_S) :]


def thirds(values: Sequence[float], of: Callable[[Sequence[float]], float]) -> list[float]:
    """Return the median, or what else `of` makes, of the first, the second and the last third."""
    size = len(values) // 3
    return [round(of(part), 3) for part in (values[:size], values[size : 2 * size], values[-size:])]


def wrong_in_redis(crew: Crew, documents: list[dict[str, Any]]) -> list[int]:
    """Return the members whose clusters in Redis aren't those of their documents."""
    rows = map(parse_row, crew.system.redis.mget([KEYS.member(job.member_id(i)) for i in range(len(documents))]))
    fields = membership_field(job.ACTIVITY, 1), membership_field(job.STYLE, 1)
    held = [tuple(parse_membership(row[field])[0] for field in fields) for row in rows]
    expected = zip(*job.score_many(documents), strict=True)
    return [i for i, (found, right) in enumerate(zip(held, expected, strict=True)) if found != right]


def wrong_on_disk(worker: Worker, documents: list[dict[str, Any]]) -> list[int]:
    """Return the members whose document, or whose clusters, aren't right in the local state of a stopped worker."""
    state: dict[bytes, bytes] = {}
    for partition in range(N_PARTITIONS):
        state |= {key: value for key, value in on_disk(worker.data_dir, partition).items() if not key.startswith(b"\0")}
    assert len(state) == len(documents)
    members = [decode_state(state[job.member_id(i)]) for i in range(len(documents))]
    clusters = zip(*job.score_many(documents), strict=True)
    return [
        i
        for i, (member, document, expected) in enumerate(zip(members, documents, clusters, strict=True))
        if member.document != document or {cluster for cluster, _ in member.memberships.values()} != set(expected)
    ]
