"""What would move this member: for each origin of a model's predictors, the smallest change that changes the cluster.

Laws:
- One origin changes, as a raw value. Everything else stays as it is: other raw values, and the time.
- A change that is told has been scored by the plan and the scorer that the workers run, and gives the cluster told.
  One step back (the number before, of all numbers that a computer knows) still gives the member's own cluster.
- Between the member's value and that step nothing was skipped. An interval is left out only if bounds prove that the
  cluster holds all over it (models/enclosure.py), but for rounding: where two clusters differ by less than the last
  digits of their scores, either may come out, and that is no change. If `is_smallest` is false the search gave up: it
  found a change, and there may be a smaller one.
- Values stay possible (possible.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from memberstream.models.model import Model
from memberstream.models.nearest import Change, Engine, Search, Work
from memberstream.models.origins import Origin, Raw, origins
from memberstream.models.possible import categories, has_numbers, line_of, may_be_missing
from memberstream.models.raw_words import rounded, words

__all__ = ["Change", "Lever", "levers"]


@dataclass(frozen=True, slots=True)
class Lever:
    """What an origin can do alone.

    Attributes:
        predictors: names of those that read it.
        value: the member's raw value; None: missing. words: as people say it.
        changes: the smallest first: one upwards, one downwards; of categories each. Last: that it is missing.
        is_settled: if there are no changes, whether it is proven that there is none.
    """

    predictors: tuple[str, ...]
    value: Raw
    words: str
    changes: tuple[Change, ...]
    is_settled: bool = True


def levers(model: Model, document: dict[str, Any], now_ms: int) -> tuple[Lever, ...]:
    """Return what each origin can do for a document at `now_ms`, in the order of the file."""
    engine, all_of_them = Engine(model, document, now_ms), origins(model.predictors)
    work = Work(model.scorer, 2 * len(all_of_them))
    return tuple([_lever(engine, origin, document, now_ms, work) for origin in all_of_them])


def _lever(engine: Engine, origin: Origin, document: Any, now_ms: int, work: Work) -> Lever:
    raw = origin.read(document, now_ms)
    found = engine.scored(origin, [*categories(origin, raw), *([not raw] if isinstance(raw, bool) else [])])
    is_settled = True
    if not isinstance(raw, bool) and has_numbers(origin):
        line = line_of(origin, raw, now_ms)
        for direction in (1, -1):
            change, is_proven = Search(engine, origin, line, direction, work).first()
            found += [change] if change else []
            is_settled &= is_proven
        found.sort(key=lambda change: abs(line.start - change.value) if isinstance(change.value, float) else math.inf)
    if raw is not None and may_be_missing(origin.source):
        found += engine.scored(origin, [None])
    names = tuple(predictor.name for predictor in origin.readers)
    there = "" if raw is not None else origin.unread(document)
    numbers = [change.shown for change in found if isinstance(change.shown, float)]
    is_far = isinstance(raw, float) and rounded(raw) not in map(rounded, numbers)  # rounding hides no change
    return Lever(names, raw, words(origin, raw, there, rounds=is_far), tuple(found), is_settled)
