"""Health of a real worker: what /healthz and /readyz say in each trouble, the watchdog, `memberstream rebuild`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from keys import KEYS
from prefork import Fork
from servers import ApacheKafka, Broker, KafkaMissing, RedisServer, missing

from memberstream.stream.keyspace.formats import parse_beacon

N = 3_000
#: A worker whose handler does something else than handling; the rest of it is the real command.
HANGING = """
import asyncio, sys, time
from memberstream.stream.cli.main import main
from memberstream.stream.members.pipeline import Pipeline
async def handle(self, partition, records, next_offset):
    {hang}
Pipeline.handle = handle
sys.argv = ["memberstream", "worker"]
main()
"""


def changes(round_: int = 0, n: int = N) -> list[Sent]:
    """A whole document for each of n members."""
    return [Sent(b"m%d" % i, event("replace", document={"x": (i + round_) % 2})) for i in range(n)]


def health(system: System, path: str = "/readyz") -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the status and the checks by name."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{system.settings.metrics_port}{path}", timeout=5) as reply:
            status, body = reply.status, reply.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    return status, {check["name"]: check for check in json.loads(body)["checks"]}


def wrong(system: System) -> set[str]:
    """Return the names of the checks that aren't ok."""
    return {name for name, check in health(system)[1].items() if not check["ok"]}


async def committed(system: System) -> dict[int, int]:
    """Return the group's committed offsets."""
    consumer = AIOKafkaConsumer(bootstrap_servers=system.pair.broker.bootstrap, group_id=system.settings.group)
    await consumer.start()
    try:
        parts = [TopicPartition(system.settings.topic, p) for p in range(system.n_partitions)]
        return {part.partition: await consumer.committed(part) or 0 for part in parts}
    finally:
        await consumer.stop()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that this test may stop; it keeps its data."""
    with RedisServer("redis", tmp_path / "redis", persistent=True) as store:
        yield store


@pytest.mark.redis_server
@pytest.mark.kafka
async def test_redis_down_is_said_and_nothing_is_committed(
    real_pair: Pair, own_store: RedisServer, install: Install
) -> None:
    """/readyz turns 503 and names Redis, /healthz stays 200, committed offsets stay where they are; when Redis is back,
    all is applied and /readyz is 200 again, without anybody's doing."""
    system = await install(Pair(real_pair.broker, own_store), [level()])
    system.start()
    await system.send(changes())
    await system.applied()
    await system.until(lambda: health(system)[0] == 200, "ready")
    own_store.stop()
    before = dict(system.next_offset)
    await system.send(changes(1))
    await system.until(lambda: wrong(system) == {"redis"}, "Redis named")
    check = health(system)[1]["redis"]
    assert "Next:" in check["problem"] or check["next"]
    assert system.metrics("memberstream_ready") == {(): 0}
    await asyncio.sleep(2.5)  # more than two commit intervals
    assert await committed(system) == before
    assert health(system, "/healthz")[0] == 200
    assert wrong(system) == {"redis"}
    own_store.start()
    await system.applied()
    await system.until(lambda: health(system)[0] == 200, "ready again")
    assert system.metrics("memberstream_ready") == {(): 1}


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A broker that this test may kill."""
    try:
        with ApacheKafka(tmp_path / "kafka") as broker:
            yield broker
    except KafkaMissing as error:
        missing(str(error))


@pytest.mark.redis_server
@pytest.mark.kafka
async def test_kafka_away_is_said_and_outlived(
    own_broker: ApacheKafka, redis_server: RedisServer, install: Install
) -> None:
    """The only broker is killed with a batch's changelog unacknowledged, and comes back after the session has expired:
    /readyz names Kafka alone, the log says it once when it goes and once when it is back, the same process carries on,
    and every member is right in Redis and in the changelog."""
    system = await install(Pair(Broker("apache", own_broker.bootstrap), redis_server), [level()])
    system.set(session_timeout_s=4.0)
    system.start()
    await system.send(changes())
    await system.applied()
    pid = system.pid
    await system.send(changes(1))
    own_broker.kill()
    await system.until(lambda: wrong(system) == {"kafka"}, "Kafka named")
    assert system.metrics("memberstream_kafka_available") == {(): 0}
    assert health(system, "/healthz")[0] == 200
    await asyncio.sleep(system.settings.session_timeout_s + 1)
    assert wrong(system) == {"kafka"}, health(system)[1]["tasks"]
    await asyncio.to_thread(own_broker.start)
    await system.until(lambda: health(system)[0] == 200, "ready again")
    await system.send(changes(2))
    await system.applied()
    assert system.pid == pid
    states = await system.states()
    assert all(states[f"m{i}"].document == {"x": i % 2} for i in range(N))
    assert system.metrics("memberstream_events_total")[("applied",)] == 3 * N
    await system.until(lambda: "Kafka is back" in system.says(), "the watchdog's next look at Kafka")
    said = system.says()
    assert said.count("Kafka is unreachable") == said.count("Kafka is back") == 1
    assert said.count("Unable connect to node") <= 2, "aiokafka drowns the log"


@pytest.mark.parametrize(
    ("hang", "path"),
    [("await asyncio.Event().wait()", "/readyz"), ("time.sleep(3600)", "/healthz")],
    ids=["a task that waits for ever", "a loop that is blocked"],
)
async def test_a_stalled_worker_says_so_and_ends(
    embedded_pair: Pair, install: Install, tmp_path: Path, hang: str, path: str
) -> None:
    """A handler that never returns: the endpoint answers all the while and turns 503, the log shows once where it
    hangs, and the worker ends with status 1. The next one applies what it left."""
    system = await install(embedded_pair, [level()])
    script = tmp_path / "hanging.py"
    script.write_text(HANGING.format(hang=hang))
    system.set(stall_limit_s=14.0)
    process = Fork([sys.executable, str(script)], log=tmp_path / "hanging.log", cwd=tmp_path, env=system.environment())
    try:
        await until(lambda: health(system)[0] == 200, 60)
        await system.send(changes(n=10))
        await until(lambda: health(system, path)[0] == 503, 13)
        assert "progress" in wrong(system)
        assert await asyncio.to_thread(process.wait, 20) == 1
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "hanging.log").read_text()
    assert said.count("Next: report what hangs") == 1
    assert said.count(f'{script}", line') or said.count("in handle")
    system.start()
    await system.applied()


async def until(holds: Any, timeout_s: float) -> None:
    """Return when `holds()`."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            if holds():
                return
        assert time.monotonic() < give_up_at, "not in time"
        await asyncio.sleep(0.05)


async def test_rebuild_on_demand(pair: Pair, install: Install) -> None:
    """What somebody has changed or removed in Redis by hand is right again after `rebuild --yes`, and only then; the
    command returns when all is written. Without a worker it changes nothing and says so; so does a `no`."""
    system = await install(pair, [level()])
    status, _, said = await memberstream(system, "rebuild", "--yes")
    assert status == 1
    assert "no worker has written" in said
    system.start()
    await system.send(changes())
    await system.applied()
    right = system.held("m1")
    system.redis.delete("ms:member:m1")
    system.redis.set("ms:member:m2", system.redis.get("ms:member:m2").partition(b"|")[0] + b"|level@1=9:0")
    status, _, _ = await memberstream(system, "rebuild")  # nobody there to answer
    assert status == 1
    assert not system.held("m1")
    status, written, said = await memberstream(system, "rebuild", "--yes")
    assert status == 0, said
    assert f"{system.n_partitions} partitions written again" in written
    assert system.held("m1") == right
    assert system.held("m2")["level@1"].split(":")[0] != "9"
    assert system.metrics("memberstream_rebuild_written_members_total")[()] >= N


async def sigterm(system: System, process: Fork) -> float:
    """Stop a worker as a supervisor does; returns how long it took. It ends with status 0."""
    started_at = time.monotonic()
    process.terminate()
    status = await asyncio.to_thread(process.wait, 15)
    assert status == 0, system.says()[-4000:]
    assert "Traceback" not in system.says()
    return time.monotonic() - started_at


@contextlib.contextmanager
def running(system: System) -> Iterator[Fork]:
    """A worker whose exit status the test sees."""
    process = Fork(system.command(), log=system.log, cwd=system.directory, env=system.environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def beacons(system: System) -> dict[int, int]:
    """Return how far Redis says that each partition is."""
    return {int(p): parse_beacon(value).next_offset for p, value in system.redis.hgetall(KEYS.beacons).items()}


@pytest.mark.redis_server
@pytest.mark.kafka
async def test_a_stop_under_load_commits_all_that_is_applied(real_pair: Pair, install: Install) -> None:
    """SIGTERM in the middle of a stream: status 0 within 10 s, and the committed offsets, the beacons and what was
    applied are the same; the next worker replays nothing."""
    system = await install(real_pair, [level()])
    with running(system) as process:
        await system.send(changes())
        await until(system.is_applied, 120)
        loading = asyncio.create_task(load(system))
        await asyncio.sleep(3)
        assert await sigterm(system, process) < 10
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    at = await committed(system)
    assert sum(at.values()) > N
    assert beacons(system) == at
    system.start()
    await system.applied()
    assert system.metrics("memberstream_events_total")[("replayed",)] == 0


async def load(system: System) -> None:
    """Send for ever."""
    for round_ in range(1, 1_000_000):
        await system.send(changes(round_))


@pytest.mark.redis_server
@pytest.mark.kafka
@pytest.mark.parametrize("trouble", ["Redis is down", "rebuilding", "recovering"])
async def test_a_stop_never_waits_for_a_trouble_to_end(
    real_pair: Pair, own_store: RedisServer, install: Install, trouble: str
) -> None:
    """SIGTERM while Redis is down and a batch waits for it, while members are written again, and while state is
    recovered: status 0 within 10 s; the next worker makes all right."""
    system = await install(Pair(real_pair.broker, own_store), [level()])
    with running(system) as process:
        for round_ in range(10):
            await system.send([Sent(b"%d-%s" % (round_, r.key), r.value) for r in changes()])
        await until(system.is_applied, 120)
        if trouble == "Redis is down":
            own_store.stop()
            await system.send(changes(1))
            await until(lambda: "redis" in wrong(system), 20)
        if trouble == "rebuilding":
            system.redis.flushall()
            await until(lambda: "rebuilt" in wrong(system), 20)
        seconds = await sigterm(system, process)
    if trouble == "recovering":
        system.lose_disk()
        with running(system) as process:
            await until(lambda: "recovered" in wrong(system), 30)
            seconds = await sigterm(system, process)
    assert seconds < 10
    if trouble == "Redis is down":
        own_store.start()
    system.start()
    await system.applied()
