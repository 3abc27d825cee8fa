"""Rows of training data a second, from a history of change events.

    python -m bench.training [--rows 1000000] [--processes 2]

Method. The history are CDNOW's 69,659 purchases of 23,570 members, encoded as in the topic and held in memory; the
predictors are the ten of `repeat_buyer` (in eight of them lists are gone through, most with a window or a time). The
rows are a random member at a random millisecond of the 18 months. Timed is `from_history` alone, first in one process,
then shared out by a pool whose start counts; each once, after a tenth of the rows to warm up. Both matrices must have
the same bits. CPU is this process' and its children's.

Caveats. A row costs what its member's lists are long: here three purchases on the average, so a row with hundreds of
elements takes longer. More rows of one member share its decoding: with few rows for many events that is what takes the
time. On a machine that others use, read the CPU column.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import orjson

from bench.results_file import about, machine, table
from fitting.fit_cdnow import REPEAT_BUYER
from memberstream.models.training import Record, TrainingMatrix, from_history
from memberstream.stream.demo import history

FIRST, LAST = history.day_ms("1997-01-01"), history.day_ms("1998-07-01")


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(n_rows: int, make: Callable[[], TrainingMatrix]) -> tuple[TrainingMatrix, list[Any]]:
    """Return the matrix, and rows/s by the clock and by CPU."""
    wall, cpu = time.perf_counter(), cpu_s()
    matrix = make()
    return matrix, [f"{n_rows / (time.perf_counter() - wall):,.0f}", f"{n_rows / (cpu_s() - cpu):,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    print(about({"machine": machine()}))
    events = [Record(c.member_id.encode(), orjson.dumps(c.envelope), c.at_ms) for c in history.changes()]
    member_ids, rng = list(history.histories()), random.Random(0)
    rows = [(rng.choice(member_ids), rng.randrange(FIRST, LAST)) for _ in range(given.rows)]
    from_history(REPEAT_BUYER, events, rows[: given.rows // 10])

    def shared_out() -> TrainingMatrix:
        with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
            return from_history(REPEAT_BUYER, events, rows, map=pool.map)

    alone, figures = timed(given.rows, lambda: from_history(REPEAT_BUYER, events, rows))
    several, more = timed(given.rows, shared_out)
    if alone.x.tobytes() != several.x.tobytes():
        raise SystemExit("the matrices differ")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    head = ["rows × predictors", "processes", "rows/s", "rows/s of CPU"]
    shape = f"{given.rows:,} × {len(REPEAT_BUYER)}"
    print("\n".join(table(head, [[shape, 1, *figures], [shape, given.processes, *more]])))
    print(f"{alone.is_known.mean():.1%} of the rows known; highest memory of this process {peak_mb:,.0f} MB")


if __name__ == "__main__":
    main()
