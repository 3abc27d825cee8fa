"""One worker at half of its saturation for ten minutes: its memory is flat, look-ups don't slow down, nobody is wrong.

SOAK_MINUTES (10) says for how long. Members, events and models are those of bench/job.py, whose plain NumPy is the
oracle; there is a fixed number of members, so what grows is a leak.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest
from chaos.check import last_values, read_whole
from chaos.conftest import CrewOn
from chaos.soak_parts import WINDOW_S, bodies, sent
from chaos.vitals import metric, rss_mb
from chaos.workers import Crew, Worker
from e2e.system import Pair, Sent
from servers import COMPACTED, ApacheKafka, Broker, RedisServer, create_topic

from bench import job
from models.member import decode as decode_state
from stream.keyspace import member_key, parse_membership
from stream.server_process import ServerProcess

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_MEMBERS, N_PARTITIONS = 20_000, 4
BACKLOG = 120_000
# Six million records shall not fill the disk; the broker's own defaults keep a week in files of 1 GB.
SMALL_FILES = {"segment.bytes": str(64 << 20)}
# Write buffers, caches and the collector's generations fill in the first minute.
WARM_UP_S = 60.0
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


async def saturation(crew: Crew, worker: Worker, backlog: list[Sent]) -> float:
    """Return the events/s at which a worker catches up a backlog, the ends left out."""
    worker.stop()
    await crew.system.send(backlog)
    worker.start()
    seen: list[tuple[float, float]] = []

    def is_done() -> bool:
        seen.append((time.monotonic(), metric(worker, "memberstream_events_total")["applied"]))
        return seen[-1][1] >= len(backlog)

    await crew.until(is_done, "the backlog")
    middle = [(at, n) for at, n in seen if 0.1 * len(backlog) <= n <= 0.95 * len(backlog)]
    (start_s, first), (end_s, last) = middle[0], middle[-1]
    return (last - first) / (end_s - start_s)


async def test_memory_and_look_ups_stay_as_they_are(
    own_kafka: ApacheKafka, redis_server: RedisServer, crew_on: CrewOn, tmp_path: Path
) -> None:
    """From the end of the warm-up on, the worker's memory stays within 5%, and the p99 of look-ups in the last third is
    at most half above that of the first (medians over windows of 10 s, for other processes run beside it); in the end
    every member's document and clusters are right, in the changelog and in Redis."""
    duration_s = 60 * float(os.environ.get("SOAK_MINUTES", "10"))
    pair = Pair(Broker("apache", own_kafka.bootstrap), redis_server)
    crew = await crew_on(pair, job.model_files().values(), n_partitions=N_PARTITIONS)
    system, settings = crew.system, crew.system.settings
    await create_topic(
        own_kafka.bootstrap, settings.changelog_topic, partitions=N_PARTITIONS, config=COMPACTED | SMALL_FILES
    )
    system.set(session_timeout_s=10.0)
    documents, patches = bodies(N_MEMBERS)
    worker = crew.hire()
    worker.start()
    await system.send([Sent(job.member_id(i), orjson.dumps(body)) for i, body in enumerate(documents)])
    await crew.applied()
    backlog = list(islice(sent(N_MEMBERS), BACKLOG))
    raw = [orjson.dumps(body) for body in patches]
    per_s = await saturation(crew, worker, [Sent(job.member_id(member), raw[patch]) for member, patch in backlog])
    pid = worker.pid

    sender, looker = Part("sender", tmp_path), Part("looker", tmp_path)
    memory: list[float] = []
    try:
        sender.start("send", own_kafka.bootstrap, settings.topic, N_PARTITIONS, N_MEMBERS, int(per_s / 2), duration_s)
        looker.start("look", settings.redis_url, N_MEMBERS)
        started = time.monotonic()
        while sender.process.pid is not None:
            assert time.monotonic() < started + duration_s + 60, "the sender doesn't end"
            assert worker.pid == pid
            memory.append(rss_mb(worker))
            await asyncio.sleep(1)
    finally:
        sender.process.kill()
        looker.process.kill()
    [said] = sender.lines()
    n_applied = BACKLOG + said["sent"]  # since the worker's start
    await crew.until(lambda: metric(worker, "memberstream_events_total")["applied"] >= n_applied, "all applied")
    warm = memory[int(WARM_UP_S) :]
    p99 = [line["p99"] for line in looker.lines()]
    print(
        f"saturation {per_s:.0f} events/s, sent {said['sent'] / said['seconds']:.0f}/s, {n_applied} events; memory "
        f"{thirds(warm)} MB; look-ups' p99 {thirds(p99)} ms in windows of {WINDOW_S:g} s"
    )
    (tmp_path / "memory.txt").write_text("\n".join(f"{mb:.1f}" for mb in memory))
    patched = [*backlog, *islice(sent(N_MEMBERS), said["sent"])]
    everyone = [body["document"] for body in documents]
    for member, patch in patched:
        job.merge(everyone[member], patches[patch]["patch"])
    await right(crew, everyone)
    assert worker.pid == pid
    assert crew.restarts == []
    memory_first, _, memory_last = thirds(warm)
    assert memory_last <= 1.05 * memory_first
    p99_first, _, p99_last = thirds(p99)
    assert p99_last <= 1.5 * p99_first


def thirds(values: Sequence[float]) -> list[float]:
    """Return the medians of the first, the second and the last third."""
    size = len(values) // 3
    return [round(median(part), 3) for part in (values[:size], values[size : 2 * size], values[-size:])]


async def right(crew: Crew, documents: list[dict[str, Any]]) -> None:
    """Compare every member with its document: the document in the changelog, both clusters there and in Redis."""
    activity, style = job.score_many(documents)
    changelog = {
        key: decode_state(value)
        for (_, key), value in last_values(await read_whole(crew.system, crew.system.settings.changelog_topic)).items()
        if not key.startswith(b"\0")
    }
    pipeline = crew.system.redis.pipeline(transaction=False)
    for i in range(len(documents)):
        pipeline.hmget(member_key(job.member_id(i)), f"{job.ACTIVITY}@1", f"{job.STYLE}@1")
    held = pipeline.execute()
    wrong = []
    for i, document in enumerate(documents):
        state, clusters = changelog[job.member_id(i)], [activity[i], style[i]]
        is_right = [parse_membership(value).cluster for value in held[i]] == clusters
        if not (
            is_right
            and state.document == document
            and sorted(c for c, _ in state.memberships.values()) == sorted(clusters)
        ):
            wrong.append(i)
    assert wrong == [], f"{len(wrong)} of {len(documents)} members are wrong, such as {wrong[:5]}"
    assert len(changelog) == len(documents)
