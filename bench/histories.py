"""What an append costs as a member's list grows: processor time and changelog bytes of a worker.

    python -m bench.histories [--small]

Method. Apache Kafka and Valkey, one worker process, one partition. MEMBERS members have a list of n elements of 50
bytes, two years of purchases. One model reads it by 12 predictors: counts, sums, a mean, a maximum, the last, days
since, distinct ones; of all time, and of windows of 30 to 365 days. Appends come at a steady rate, so that most are
alone in their batch; where they meet, a member costs once. For each n, in turns of ROUNDS rounds:
- Processor time: what the kernel booked on the worker, from the first append sent until Redis shows the last, less what
  it takes in the same time with nothing to do; over the appends. The first appends of a member aren't counted: from the
  second look on its list stays packed (stream/members/recent.py).
- Changelog: bytes of the topic's segments, over the appends.
Without servers, the core alone, in one process: an append to a member that was kept, to one that wasn't, and to one
whose list is read as a whole, as all were before lists stayed packed. Medians, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from bench.results_file import about, machine, save, table
from bench.rig import Rig, Servers, Worker, servers
from memberstream.models.apply import apply_one
from memberstream.models.event import decode_value
from memberstream.models.member import Member, decode, encode
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.models.timestamps import DAY_MS, format_ms
from memberstream.stream.members.recent import Recent

SIZES = (50, 1_000, 5_000, 15_000)
MEMBERS, PER_S = 8, 25
ROUNDS, APPENDS, WARM_UP = 3, 240, 4  # of all members; of each
_MEMBER = b"m%02d"
_SOME = [f"s{i}" for i in range(0, 50, 2)]


def model_file() -> dict[str, Any]:
    """12 predictors over one list."""
    timed = {"time": "at"}
    kinds: list[dict[str, Any]] = [
        {"aggregate": "count"},
        {"aggregate": "count", "window_days": 30, **timed},
        {"aggregate": "count", "window_days": 90, **timed},
        {"aggregate": "sum", "value": "eur"},
        {"aggregate": "sum", "value": "eur", "window_days": 30, **timed},
        {"aggregate": "sum", "value": "eur", "window_days": 365, **timed},
        {"aggregate": "mean", "value": "eur", "window_days": 180, "missing": 0, **timed},
        {"aggregate": "max", "value": "eur", "missing": 0},
        {"aggregate": "last", "value": "eur", "missing": 0, **timed},
        {"aggregate": "days_since", "missing": 0, **timed},
        {"aggregate": "distinct", "value": "k"},
        {"aggregate": "distinct", "value": "k", "window_days": 90, "where": {"k": {"in": _SOME}}, **timed},
    ]
    return {
        "format": 1,
        "name": "histories",
        "version": 1,
        "predictors": [{"name": f"p{i}", "path": "purchases", **kind} for i, kind in enumerate(kinds)],
        "model": {"type": "logistic", "coef": [0.001] * len(kinds), "intercept": 0.1, "thresholds": [0.3, 0.6]},
        "clusters": [{"id": i, "name": f"c{i}"} for i in (1, 2, 3)],
    }


def element(i: int, at_ms: int) -> dict[str, Any]:
    """A purchase."""
    return {"at": format_ms(at_ms // 1_000 * 1_000), "eur": i * 37 % 9_999 / 100, "k": f"s{i % 50}"}


def history(n: int, now_ms: int) -> list[dict[str, Any]]:
    """Two years of purchases, evenly."""
    return [element(i, now_ms - (n - i) * 730 * DAY_MS // n) for i in range(n)]


def append(i: int, at_ms: int) -> bytes:
    return orjson.dumps({"op": "append", "at": at_ms, "path": "purchases", "value": element(i, at_ms)})


# -- the core alone


def alone_ms(n: int, how: str, plan: Plan, n_appends: int) -> float:
    """Return the median processor time of an append, ms. `how`: "kept", "packed anew" or "read"."""
    now_ms, key, recent = time.time_ns() // 1_000_000, b"m", Recent()
    member = Member(document={"purchases": history(n, now_ms)})
    rescore_many(plan, [member], [now_ms])
    state, took = encode(member, 0), []
    for i in range(n_appends + 3):
        value, at_ms = append(n + i, now_ms + i), now_ms + i
        began = time.process_time()
        member = recent.decode(key, state) if how == "kept" else decode(state, is_packed=how == "packed anew")
        apply_one(member, i, decode_value("m", value, at_ms, at_ms), len(value))
        rescore_many(plan, [member], [at_ms])
        state = encode(member, i)
        recent.keep(key, state, member)
        took.append(time.process_time() - began)
    return 1e3 * statistics.median(took[3:])


def core(n_appends: int) -> dict[str, dict[str, float]]:
    """Return how → n → ms."""
    plan, ways = Plan([parse(model_file())]), ("kept", "packed anew", "read")
    rounds = [{how: {str(n): alone_ms(n, how, plan, n_appends) for n in SIZES} for how in ways} for _ in range(3)]
    return {how: {str(n): statistics.median(one[how][str(n)] for one in rounds) for n in SIZES} for how in ways}


# -- a worker


def changelog_bytes(directory: Path, topic: str) -> int:
    """Bytes of the changelog's segments, on the broker's disk."""
    return sum(file.stat().st_size for file in directory.rglob("*.log") if file.parent.name.startswith(f"{topic}-"))


async def paced(rig: Rig, n: int, n_appends: int) -> None:
    """Send appends to the members in turn, at the rate."""
    began = time.perf_counter()
    for i in range(n_appends):
        await rig.send([(_MEMBER % (i % MEMBERS), append(n + i, time.time_ns() // 1_000_000))])
        await asyncio.sleep(max(0.0, began + (i + 1) / PER_S - time.perf_counter()))
    await rig.applied()


async def idle_s(worker: Worker, seconds: float) -> float:
    """Return the processor time of a worker with nothing to do."""
    before = worker.cpu_s()
    await asyncio.sleep(seconds)
    return worker.cpu_s() - before


async def one_size(on: Servers, n: int, n_appends: int) -> dict[str, float]:
    """Return processor time, ms, and changelog bytes of an append to lists of n elements."""
    async with on.rig([model_file()], partitions=1) as rig:
        worker = rig.worker().start()
        purchases = history(n, time.time_ns() // 1_000_000)
        document = orjson.dumps({"op": "replace", "document": {"purchases": purchases}})
        for i in range(MEMBERS):
            await rig.send([(_MEMBER % i, document)])
        await rig.applied()
        await paced(rig, n, WARM_UP * MEMBERS)
        await asyncio.sleep(2.0)
        size: Callable[[], int] = lambda: changelog_bytes(on.directory, worker.settings.changelog_topic)  # noqa: E731
        idle = await idle_s(worker, n_appends / PER_S)
        cpu_s, n_bytes = worker.cpu_s(), size()
        await paced(rig, n, n_appends)
        return {
            "cpu_ms": 1e3 * (worker.cpu_s() - cpu_s - idle) / n_appends,
            "changelog_bytes": (size() - n_bytes) / n_appends,
            "rss_mb": worker.memory_mb()["VmRSS"],
        }


async def whole(rounds: int, n_appends: int) -> dict[str, dict[str, float]]:
    """Return n → medians of the rounds."""
    found: dict[str, list[dict[str, float]]] = {str(n): [] for n in SIZES}
    with servers() as on:
        for number in range(rounds):
            for n in SIZES[number % len(SIZES) :] + SIZES[: number % len(SIZES)]:
                found[str(n)].append(await one_size(on, n, n_appends))
                print(n, found[str(n)][-1], flush=True)
    return {n: {name: statistics.median(one[name] for one in some) for name in some[0]} for n, some in found.items()}


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a fifth of the work, to try it; nothing is written")
    small = parser.parse_args().small
    results: dict[str, Any] = {"machine": machine(), "core_ms": core(5 if small else 30)}
    print(results["core_ms"], flush=True)
    results["worker"] = asyncio.run(whole(1 if small else ROUNDS, APPENDS // 5 if small else APPENDS))
    if not small:
        save("histories", results, _text(results))


def _text(results: dict[str, Any]) -> list[str]:
    core_ms, worker = results["core_ms"], results["worker"]
    first = str(SIZES[0])
    rows = [
        [f"{n:,}"]
        + [f"{core_ms[how][str(n)]:.2f} ({core_ms[how][str(n)] / core_ms[how][first]:.1f} ×)" for how in core_ms]
        + [f"{worker[str(n)]['cpu_ms']:.2f} ({worker[str(n)]['cpu_ms'] / worker[first]['cpu_ms']:.1f} ×)"]
        + [f"{worker[str(n)]['changelog_bytes'] / 1e3:,.1f}"]
        for n in SIZES
    ]
    head = ["elements", *[f"core: {how}, ms" for how in core_ms], "worker, ms", "changelog, KB"]
    return [
        "## Appends to long lists",
        "",
        "`python -m bench.histories` (its head says the method): an append, 12 predictors over the list.",
        about(results),
        "In brackets against the first row.",
        "",
        *table(head, rows),
    ]


if __name__ == "__main__":
    main()
