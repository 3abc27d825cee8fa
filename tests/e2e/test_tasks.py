"""Tasks of real workers outlive what ends them: a broker that pauses, a cancel from nowhere, an exception."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_health import health, wrong
from servers import ApacheKafka, Broker, KafkaMissing, RedisServer, create_topic, missing, unique

from memberstream.stream.faust_batch.probe import PATIENCE_S
from memberstream.stream.kafka.clients import Kafka

#: A worker that ends each of its tasks, named in a file, once: first by a cancel, then by an exception.
KILLED = """
import asyncio, sys
from pathlib import Path
from memberstream.stream.cli.main import main
from memberstream.stream.tasks.supervisor import Supervisor
nurse, failing = Supervisor._nurse, set()
async def run(self, original=Supervisor.run):
    async def kill():
        while True:
            await asyncio.sleep(0.05)
            for order in Path("orders").glob("*"):
                how, name = order.read_text().split(" ", 1)
                order.unlink()
                if how == "raise":
                    failing.add(name)
                self.tasks()[name].cancel()
    killing = asyncio.create_task(kill())
    await original(self)
def begin(self, kept, original=Supervisor._begin):
    work = kept.work
    async def fails():
        if str(kept) in failing:
            failing.discard(str(kept))
            raise ValueError("an order")
        await work()
    kept.work = fails
    original(self, kept)
Supervisor.run, Supervisor._begin, Supervisor.PROVEN_S = run, begin, 2.0
sys.argv = ["memberstream", *sys.argv[1:]]
main()
"""


@pytest.mark.kafka
@pytest.mark.redis_server
@pytest.mark.parametrize("words", [["worker"], ["interactions", "worker"]])
async def test_each_task_that_is_ended_is_begun_again(
    real_pair: Pair, install: Install, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a cancel that isn't ours, then by an exception at its next beginning: counted, /readyz red while it is down
    and green after, the process the same, and events are applied."""
    system = await install(real_pair, [level()])
    system.set(interactions_topic=unique("interactions"))
    await create_topic(real_pair.broker.bootstrap, system.settings.interactions_topic, partitions=2)
    names = ["probe", "redis", "models", "skips"]
    if words == ["worker"]:
        names += ["timers of partition 0", "timers of partition 1"]
    (system.directory / "orders").mkdir()
    monkeypatch.setattr(System, "command", staticmethod(lambda: [sys.executable, "-c", KILLED, *words]))
    system.start()
    await system.until(lambda: health(system)[0] == 200, "ready")
    pid = system.pid
    for name in names:
        (system.directory / "order").write_text(f"raise {name}")
        (system.directory / "order").rename(system.directory / "orders" / "one")  # whole when it is found
        await system.until(lambda: wrong(system) == {"tasks"}, f"{name} down")
        assert name in health(system)[1]["tasks"]["problem"]
        await system.until(lambda: health(system)[0] == 200, f"{name} well again")
    restarts = system.metrics("memberstream_task_restarts_total")
    assert {kind: restarts[(kind,)] for kind in names[:4]} == dict.fromkeys(names[:4], 2)
    assert system.pid == pid
    if words == ["worker"]:
        assert restarts[("timers",)] == 4
        await system.send([Sent(b"m", event("replace", document={"x": 1}))])
        await system.applied()


@pytest.mark.kafka
async def test_a_consumer_may_be_stopped_in_the_turn_of_its_start(apache_kafka: Broker) -> None:
    """aiokafka's own raises a CancelledError then, which ends whoever awaits it; and its tasks go on."""
    theirs = AIOKafkaConsumer(bootstrap_servers=apache_kafka.bootstrap)
    await theirs.start()
    with pytest.raises(asyncio.CancelledError):
        await theirs.stop()
    await theirs._fetcher.close()
    await theirs._client.close()
    ours = Kafka((apache_kafka.bootstrap,)).consumer()
    await ours.start()
    await ours.stop()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A broker that this test may stop."""
    try:
        with ApacheKafka(tmp_path / "kafka") as broker:
            yield broker
    except KafkaMissing as error:
        missing(str(error))


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.redis_server
async def test_the_probe_outlives_pauses_of_the_broker(
    own_broker: ApacheKafka, redis_server: RedisServer, install: Install
) -> None:
    """A broker that is stopped and goes on, several times, at other moments of the probe's question each: /readyz is
    200 again each time, and no task ended."""
    system = await install(Pair(Broker("apache", own_broker.bootstrap), redis_server), [level()])
    system.set(session_timeout_s=30.0)
    system.start()
    await system.until(lambda: health(system)[0] == 200, "ready")
    assert own_broker.pid is not None
    for more_s in (0.0, 5.2):
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            await system.until(lambda: "kafka" in wrong(system), "Kafka named")
            await asyncio.sleep(PATIENCE_S / 2 + more_s)
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
        await system.until(lambda: health(system)[0] == 200, "ready again")
    assert set(system.metrics("memberstream_task_restarts_total").values()) == {0}
