"""Redis far away: who runs the worker is told of it, everywhere where one looks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import yaml
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event
from proxy import CountingProxy

ALERTS = Path(__file__).resolve().parents[2] / "deploy/prometheus/alerts.yml"
FAR_S = 0.2


@contextmanager
def proxied(url: str, delay_s: float) -> Iterator[CountingProxy]:
    """A proxy in a thread of its own: the test's event loop is busy, and what it measures is a delay."""
    proxy, loop = CountingProxy(urlsplit(url).port or 0, delay_s), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result()
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.kafka
@pytest.mark.redis_server
async def test_200_ms_to_redis_are_told_of(real_pair: Pair, install: Install) -> None:
    """The worker's log, its metric, by which the alert rings, and the doctor: each says so, and what to do. Brought
    near again, the log and the doctor say that, too. Members are right meanwhile."""
    [alert] = [
        rule
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
        if rule["alert"] == "MemberstreamRedisFar"
    ]
    metric, _, threshold_s = alert["expr"].partition(" > ")
    system = await install(real_pair, [level()])
    with proxied(system.settings.redis_url, FAR_S) as proxy:
        system.set(redis_url=f"{proxy.url}/0")
        system.start()
        await system.send([Sent(b"m%d" % i, event("replace", document={"x": 1})) for i in range(50)])
        await system.applied()
        assert all(system.held(f"m{i}")["level@1"].startswith("2:") for i in range(50))
        said = "ms at best: a worker writes at most"
        await system.until(lambda: said in system.says(), "the log line")
        [line] = [line for line in system.says().splitlines() if said in line]
        assert "Next: run workers in the network of Redis" in line
        assert float(threshold_s) < FAR_S <= system.metrics(metric)[()]

        async def doctor() -> dict[str, str]:
            found = orjson.loads((await memberstream(system, "doctor", "--json"))[1])
            [redis] = [check for check in found["checks"] if check["name"] == "redis"]
            return dict(redis)

        redis = await doctor()
        assert not redis["ok"]
        assert "ms at best" in redis["problem"]
        assert redis["next"].startswith("run workers in the network of Redis")
        proxy.delay_s = 0.0
        await system.until(lambda: "Redis answers within" in system.says(), "the end of it")
        assert system.metrics(metric)[()] < float(threshold_s)
        assert (await doctor())["ok"]
        system.stop()
