"""What events cost that arrive live: one alone, and thousands a second, beside a plain loop without the guarantees.

    python -m bench.live [--rounds 3] [--rate 5000] [--against TREE] [--small]

Method. bench/job.py's members and models on Apache Kafka and Valkey, 4 partitions. Contenders take turns, each a fresh
process whose members are loaded first: one worker; the confluent-kafka loop of the throughput bench (documents in a
dict, nothing durable), which waits LOOP_WAIT_S for more records; and, if asked for, the worker of another TREE of this
repository. Each round begins with another one. CPU is what the kernel booked on the process.
- Idle: nothing arrives.
- Alone: LONE_RATE events/s. An event's CPU is what remains when that of the idle process is taken off.
- Live: `--rate` events/s by bench/steady.py, producers lingering 5 ms, in the seconds that count. An event's CPU is
  all. On a machine that others use a contender falls behind, and its batches grow: look at the records in a batch.
Freshness is the worker's own metric over the same seconds. The plain loop has none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any, Protocol

from bench import job
from bench.contenders import CONTENDERS, ROOT, python_of
from bench.latency import histogram_quantile, producer
from bench.results_file import about, machine, save, table
from bench.rig import Rig, Servers, Worker, cpu_s, servers
from bench.scaling import READY, documents, pool
from bench.steady import PROBES, probe_id
from memberstream.stream.local.server_process import ServerProcess

MEMBERS, RATE, LONE_RATE = 20_000, 5_000, 20
WARM_UP_S, LIVE_S, ALONE_S, IDLE_S = 6.0, 12.0, 15.0, 8.0
LOOP_WAIT_S = 0.005  # as the producers' linger: with the 0.1 s of the throughput bench it would be late by that much
_HISTOGRAMS = ("freshness_seconds_bucket", "batch_records_sum", "batch_records_count")


class Contender(Protocol):
    """A process under measurement."""

    def cpu_s(self) -> float: ...
    def metrics(self, name: str) -> dict[tuple[str, ...], float]: ...


class Loop:
    """The plain loop, as the contract of bench/peers/README.md has it."""

    def __init__(self, on: Servers, rig: Rig) -> None:
        self._log = rig.directory / "loop.log"
        self._process = ServerProcess("the loop", self._log)
        rig.directory.mkdir(parents=True, exist_ok=True)
        settings = {"BOOTSTRAP": on.kafka.bootstrap, "TOPIC": rig.settings.topic, "GROUP": "loop"}
        env = os.environ | settings | {"REDIS_URL": on.valkey.url, "CONSUME_S": str(LOOP_WAIT_S)}
        python = python_of(CONTENDERS["confluent-loop"])
        self._process.spawn([python, "-m", "bench.peers.confluent_loop"], cwd=ROOT, env=env)

    def cpu_s(self) -> float:
        """CPU seconds, user and system, since its start; ends the bench when the loop has ended."""
        if self._process.pid is None:
            raise SystemExit(f"the loop has ended:\n{self._log.read_text(errors='replace')[-2000:]}")
        return cpu_s(self._process.pid)

    def metrics(self, name: str) -> dict[tuple[str, ...], float]:
        """It has none."""
        return {}

    def stop(self) -> None:
        """End it."""
        self._process.kill()


async def figures(on: Servers, rig: Rig, contender: Contender, live_rate: int, scale: float) -> dict[str, float]:
    """Return one turn's figures of a contender that has all members."""

    async def send(rate: int, seconds: float) -> None:
        command = producer(on, rig, MEMBERS, rate, seconds)
        await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

    async def during(rate: int, warm_up_s: float, seconds: float) -> float:
        sending = asyncio.create_task(send(rate, warm_up_s + seconds + 1.0))
        await asyncio.sleep(warm_up_s + 2.0)  # the producer's own start takes a second
        before = contender.cpu_s()
        await asyncio.sleep(seconds - 1.0)
        took = (contender.cpu_s() - before) / (seconds - 1.0)
        await sending
        return took

    await send(LONE_RATE, 3.0)  # what is made once is made
    await asyncio.sleep(2.0)
    before = contender.cpu_s()
    await asyncio.sleep(IDLE_S * scale)
    idle = (contender.cpu_s() - before) / (IDLE_S * scale)
    alone = await during(LONE_RATE, 0.0, ALONE_S * scale)
    before_it = {name: contender.metrics(f"memberstream_{name}") for name in _HISTOGRAMS}
    live = await during(live_rate, WARM_UP_S * scale, LIVE_S * scale)
    after = {name: contender.metrics(f"memberstream_{name}") for name in _HISTOGRAMS}
    found = {
        "idle": idle,
        "alone_ms": 1e3 * (alone - idle) / LONE_RATE,
        "live_us": 1e6 * live / live_rate,
        "cores": live,
    }
    if before_it[_HISTOGRAMS[0]]:
        seen, n = before_it[_HISTOGRAMS[0]], _HISTOGRAMS[1:]
        found["p50_ms"] = 1e3 * histogram_quantile(seen, after[_HISTOGRAMS[0]], 0.5)
        found["p99_ms"] = 1e3 * histogram_quantile(seen, after[_HISTOGRAMS[0]], 0.99)
        records, batches = (after[name][()] - before_it[name][()] for name in n)
        found["batch"] = records / batches
    return found


async def turn(on: Servers, tree: Path | None, is_loop: bool, live_rate: int, scale: float) -> dict[str, float]:
    """Return what one turn of a contender gives. `tree`: where a worker's code lies, if not here."""
    async with on.rig(job.model_files().values(), job.PARTITIONS) as rig:
        replaces = pool("replace")
        members = [*documents(MEMBERS, replaces), *[(probe_id(i), replaces[i]) for i in range(PROBES)]]
        if is_loop:
            await rig.send(members)
            loop = Loop(on, rig)
            try:
                await rig.until(lambda: loop.cpu_s() >= 0.0 and rig.redis.dbsize() > MEMBERS)
                return await figures(on, rig, loop, live_rate, scale)
            finally:
                loop.stop()
        worker: Worker = rig.worker().start(tree=tree)
        await rig.until(lambda: READY in worker.says())
        await rig.send(members)
        await rig.applied()
        return await figures(on, rig, worker, live_rate, scale)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=RATE, help="live events/s")
    parser.add_argument("--against", type=Path, metavar="TREE", help="another tree: nothing is written")
    parser.add_argument("--only", default="", help="some contenders, joined by commas: nothing is written")
    parser.add_argument("--small", action="store_true", help="a third of the seconds, to try it: nothing is written")
    asked = parser.parse_args()
    contenders: dict[str, tuple[Path | None, bool]] = {"worker": (None, False), "loop": (None, True)}
    if asked.against is not None:
        contenders["before"] = (asked.against.resolve(), False)
    only = asked.only.split(",") if asked.only else list(contenders)
    names, about_it = [name for name in contenders if name in only], machine()
    found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    with servers() as on:
        for number in range(asked.rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                run = asyncio.run(turn(on, *contenders[name], asked.rate, 0.34 if asked.small else 1.0))
                found[name].append(run)
                print(name, {figure: round(value, 3) for figure, value in run.items()}, flush=True)
    results = {"machine": about_it, "rate": asked.rate, "rounds": found}
    if asked.small or asked.only or asked.against is not None:
        print("\n".join(_text(results)))
    else:
        save("live", results, _text(results))


def _text(results: dict[str, Any]) -> list[str]:
    rounds: dict[str, list[dict[str, float]]] = results["rounds"]
    titles = {"worker": "memberstream", "before": "the other tree", "loop": "plain confluent-kafka loop"}

    def cell(runs: list[dict[str, float]], figure: str, digits: int) -> str:
        values = [run[figure] for run in runs if figure in run]
        if not values:
            return ""
        return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"

    shown = (("idle", 4), ("alone_ms", 2), ("live_us", 0), ("cores", 2), ("batch", 1), ("p50_ms", 1), ("p99_ms", 1))
    return [
        "## Live events: one alone, and thousands a second",
        "",
        "`python -m bench.live` (its head says the method).",
        about(results),
        f"{len(next(iter(rounds.values())))} round(s): medians, lowest and highest in brackets.",
        "",
        *table(
            (
                *(
                    "",
                    "idle, share of a core",
                    "an event alone, ms of CPU",
                    f"at {results['rate']:,}/s, µs of CPU an event",
                ),
                *("cores", "records in a batch", "freshness p50, ms", "p99, ms"),
            ),
            [(titles[name], *[cell(runs, *one) for one in shown]) for name, runs in rounds.items()],
        ),
    ]


if __name__ == "__main__":
    main()
