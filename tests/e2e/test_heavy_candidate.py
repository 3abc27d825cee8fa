"""A candidate of 1,500 windowed predictors over lists of 1,500: who publishes it is told what it costs, and workers on
which it is forced go on: events keep their latency, the event loop turns, nobody is taken for stalled."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event

from memberstream.models.model_file import parse
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.authoring.affordable import cost_on
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.registry.refused import PublishError

pytestmark = [pytest.mark.kafka, pytest.mark.redis_server, pytest.mark.long]
WIDTH = 1_500
HEAVY, LIGHT = 12, 40
NOW_MS = 1_767_225_600_000
#: With Python's asyncio in its debug mode: what kept the event loop for more than 0.1 s.
SLOW = re.compile(r"Executing .* took (\d+\.\d+) seconds")


def heavy() -> dict[str, Any]:
    windows = [
        {"name": f"w{i}", "path": "seen", "time": "at", "aggregate": "count", "window_days": i + 1}
        for i in range(WIDTH)
    ]
    model = {"type": "logistic", "coef": [0.001] * WIDTH, "intercept": -1.0, "thresholds": [0.5]}
    return level(name="heavy") | {"predictors": windows, "model": model}


def visits() -> list[dict[str, int]]:
    return [{"at": NOW_MS - i * DAY_MS - 1} for i in range(WIDTH)]


async def patched_in_s(system: System, n: int) -> float:
    """Return how long a light member's event takes until it is in Redis."""
    began = time.monotonic()
    await system.send([Sent(b"light%d" % (n % LIGHT), event("patch", at=NOW_MS, patch={"x": n % 3}))])
    await system.applied()
    return time.monotonic() - began


async def test_a_heavy_candidate_is_refused_and_forced_stops_nobody(
    real_pair: Pair, install: Install, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    system = await install(real_pair, [level()])
    system.set(stall_limit_s=12.0)  # said after 3 s
    system.start()
    seen = visits()
    await system.send([Sent(b"light%d" % i, event("replace", at=NOW_MS, document={"x": i})) for i in range(LIGHT)])
    whole = event("replace", at=NOW_MS, document={"seen": seen})
    await system.send([Sent(b"heavy%d" % i, whole) for i in range(HEAVY)])
    await system.applied()
    publishing, model = Publishing(system.settings, "test"), parse(heavy())
    one_s = cost_on(model, [{"seen": seen}]).member_s
    with pytest.raises(PublishError, match=r"too expensive: scoring one member takes .* expensive: w\d+ .*--force"):
        await publishing.publish(model)
    assert "heavy@1" not in (await publishing.registry()).versions

    said_before = len(system.says())
    await publishing.publish(model, force=True)
    began, entry = time.monotonic(), (await publishing.registry()).versions["heavy@1"]
    latencies_s: list[float] = []

    def is_scored() -> bool:
        return all("heavy@1" in system.held(f"heavy{i}") for i in range(HEAVY))

    while not is_scored():
        latencies_s.append(await patched_in_s(system, len(latencies_s)))
        assert time.monotonic() - began < 240
    async for _ in publishing.wait(entry):
        pass
    # A batch of all of them at once is the same work again, and more than the time after which a stall is said.
    began, patch = time.monotonic(), event("patch", at=NOW_MS, patch={"seen": seen[1:]})
    await system.send([Sent(b"heavy%d" % i, patch) for i in range(HEAVY)])
    await system.applied(120)
    batch_s, said = time.monotonic() - began, system.says()[said_before:]
    silent_s = max(map(float, SLOW.findall(said)), default=0.0)
    figures = (
        f"one member {one_s:.3f} s, the batch {batch_s:.1f} s; {len(latencies_s)} events beside the backfill, "
        f"slowest {max(latencies_s):.2f} s; loop silent for {silent_s:.3f} s at most"
    )
    record_property("figures", figures)
    assert len(latencies_s) > 3
    assert "stalled" not in said
    assert silent_s < max(1.0, batch_s / 5), figures  # it was nearly all of the batch; a busy machine has its share
    assert max(latencies_s) < 30, figures
