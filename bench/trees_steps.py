"""What a hundred trees cost a worker's own steps, and what skipping them saves; part of bench/trees_worker.py.

Method. All of it happens in this process, by its processor time, the best of three turns in which everybody has one.
- Steps: events of the job, decoded, applied, scored and encoded in batches of a fixed number of records. How many
  records a worker finds waiting hangs on how busy the machine is, and with it what an event costs. So these figures can
  be compared where those of whole workers can't.
- Skipping: members are rescored in batches as a worker does, after a patch of the job, after a purchase of the demo's
  customers, after a day without one. Then the same, but rows never count as alike, so that the trees are asked about
  each.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import orjson
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it has no types

from bench import job
from bench.rig import Event
from bench.scaling import pool
from memberstream.models.apply import apply_one
from memberstream.models.event import decode
from memberstream.models.export import from_estimator
from memberstream.models.forest import Floats, Forest
from memberstream.models.member import Member
from memberstream.models.model_file import parse
from memberstream.models.placement import Placement
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.models.steps import finish
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.demo import history
from memberstream.stream.members.applying import applying, scoring
from memberstream.stream.members.batch import begin
from memberstream.stream.members.decoding import decoding
from memberstream.stream.members.encoding import encoding, to_items
from memberstream.stream.members.recent import Recent
from memberstream.stream.partition.bookkeeping import Progress
from memberstream.stream.registry.publication import compile_models

N_TREES, N_FITTED, N_PROVEN = 100, 4_000, 300
BATCH = 100  # members rescored together: what a worker has at some thousand live events a second
SIZES = (20, 1_000)  # records in a batch: of a live stream, and of a backlog
AT_MS = 1_800_000_000_000
ESTIMATORS: dict[str, Any] = {
    "GradientBoosting": GradientBoostingClassifier(n_estimators=N_TREES, random_state=0),
    "HistGradientBoosting": HistGradientBoostingClassifier(max_iter=N_TREES, random_state=0),
}
DAY = "1998-03-01"
NOW_MS = history.day_ms(DAY)
Models = dict[str, dict[str, Any]]
Members = Callable[[int], list[Member]]
Happens = Callable[[list[Member]], None]


def documents(n: int, seed: int) -> list[dict[str, Any]]:
    """Documents of the job, with each member's first patch."""
    found: dict[bytes, dict[str, Any]] = {}
    for key, value in job.events(n, n, seed):
        found[key] = job.change(found.get(key), orjson.loads(value))
    return list(found.values())


def trees(name: str) -> dict[str, Any]:
    """A model file of trees over all columns of the job, with the thresholds of its `activity`."""
    known = documents(N_FITTED, 2)
    x = np.array([job.predictors(document) for document in known])
    eta = x @ np.array(job.COEF) + job.INTERCEPT
    y = (np.random.default_rng(0).random(len(x)) < 1 / (1 + np.exp(-eta))).astype(int)
    with threadpool_limits(1):  # threads that wait for one another on busy cores take minutes
        fitted = ESTIMATORS[name].fit(x, y)
    return from_estimator(
        fitted,
        name="trees",
        version=1,
        predictors=job.model_files()[job.ACTIVITY]["predictors"],
        inputs=job.COLUMNS,
        documents=known[:N_PROVEN],
        x=x[:N_PROVEN],
        thresholds=list(job.THRESHOLDS),
        clusters=["low", "medium", "high"],
    ).definition


@dataclass(frozen=True, slots=True)
class Consumed:
    """A record as a worker gets it."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes]] = ()


def steps_us(models: Models, events: Sequence[Event], sizes: Sequence[int], n_untimed: int) -> dict[int, float]:
    """Processor µs that a worker's own steps take for an event behind the first `n_untimed`, by the size of batches."""
    publication = compile_models([parse(model) for model in models.values()])
    took: dict[int, float] = {}
    for size in sizes:
        states: dict[bytes, bytes | None] = {}
        progress, recent, seconds = Progress(), Recent(), 0.0
        for start in range(0, len(events), size):
            records = [
                Consumed(start + i, key, value, AT_MS) for i, (key, value) in enumerate(events[start : start + size])
            ]
            began = time.process_time()
            batch = begin(0, progress, records, -1, None, publication, {}, Placement("murmur2", 1), 8 << 20)
            read = finish(decoding(batch, list(batch.records), AT_MS))
            members = finish(applying(batch, read, [states.get(key) for key in read], recent))
            finish(scoring([(batch, members)], publication, AT_MS))
            finish(encoding(batch, members, publication, recent))
            states.update(to_items(batch))
            progress = batch.progress
            seconds += time.process_time() - began if start >= n_untimed else 0.0
        took[size] = 1e6 * seconds / (len(events) - n_untimed)
    return took


def all_steps(contenders: dict[str, Models], n: int) -> dict[str, dict[int, float]]:
    """The best of three turns, in which everybody has one."""
    events = list(job.events(n, 3 * n))
    gc.set_threshold(2_000_000, 20, 1000)  # as a worker: what is here to stay isn't looked through again and again
    gc.freeze()
    turns = [{name: steps_us(models, events, SIZES, n) for name, models in contenders.items()} for _ in range(3)]
    return {name: {size: min(turn[name][size] for turn in turns) for size in SIZES} for name in contenders}


def patched(n: int) -> list[Member]:
    """Members of the job, and a patch for each, not yet rescored."""
    return [Member(document=document) for document in documents(n, 3)]


def patch(members: list[Member]) -> None:
    """Apply a patch of the job to each."""
    bodies = pool("patch")
    for i, member in enumerate(members):
        change(member, i, bodies[i % len(bodies)])


def change(member: Member, i: int, body: bytes) -> None:
    apply_one(member, i + 1, decode(job.member_id(i), body, NOW_MS, NOW_MS), len(body))


def customers(n: int) -> list[Member]:
    """Customers of the demo as of a day."""
    return [Member(document=document) for document in list(history.documents(NOW_MS).values())[-n:]]


def buy(members: list[Member]) -> None:
    """Let each buy something that day."""
    element = {"at": DAY, "units": 2, "amount": 25.5}
    body = orjson.dumps({"op": "append", "path": "purchases", "value": element})
    for i, member in enumerate(members):
        change(member, i, body)


def wait(members: list[Member]) -> None:
    """Nothing happens; only time passes."""


def skipped(model: dict[str, Any], make: Members, happens: Happens, n: int) -> dict[str, float]:
    """Processor µs a member, rescored a day later after something happened, with and without skipping; and the share
    that is skipped."""
    plan, alike = Plan([parse(model)]), Forest.are_alike
    n_asked = 0

    def counting(self: Forest, before: Floats, after: Floats) -> Any:
        nonlocal n_asked
        found = alike(self, before, after)
        n_asked += int((~found).sum())
        return found

    def always(self: Forest, before: Floats, after: Floats) -> Any:
        return np.zeros(len(before), dtype=bool)

    took: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(6):
        members = make(n)
        rescore_many(plan, members, [NOW_MS] * n)
        happens(members)
        Forest.are_alike = always if turn % 2 else counting  # type: ignore[method-assign]
        try:
            began = time.process_time()
            for start in range(0, n, BATCH):
                part = members[start : start + BATCH]
                rescore_many(plan, part, [NOW_MS + DAY_MS] * len(part))
            took["asked" if turn % 2 else "skipping"].append(1e6 * (time.process_time() - began) / n)
        finally:
            Forest.are_alike = alike  # type: ignore[method-assign]
    return {name: min(us) for name, us in took.items()} | {"share": 1 - n_asked / (3 * n)}


def skippings(grown: Models, n: int) -> dict[str, dict[str, float]]:
    """What skipping saves on the job, and on the demo's customers."""
    boosted = orjson.loads((files("memberstream.stream.demo") / "models" / "repeat_boosted.json").read_bytes())
    return {
        **{f"a patch of the job, {name}": skipped(model, patched, patch, n) for name, model in grown.items()},
        "a purchase, the demo's repeat_boosted": skipped(boosted, customers, buy, n),
        "a day without one, the same": skipped(boosted, customers, wait, n),
    }
