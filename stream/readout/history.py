"""Cells → what happened in each cluster of each campaign, day by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.counts import EXPOSED, SWITCHED, Cell, Tally, plus
from stream.readout.statistics import Share

#: Not a kind that rates are asked for: it is what exposes.
IMPRESSION = "impression"
RESERVED = (EXPOSED, SWITCHED, IMPRESSION)

#: Campaign and cluster.
Key = tuple[str, int]


class ReadoutError(ValueError):
    """Counts of which no report can be made; the text names the next action."""


@dataclass(frozen=True, slots=True)
class History:
    """A row's counts: until the end of each day, and in all."""

    days: list[int]
    shown: Share
    shown_by_day: tuple[np.ndarray, np.ndarray]  # hits, members
    held_out: Share
    held_out_by_day: tuple[np.ndarray, np.ndarray]
    switched: int
    tally: Tally


def kinds_of(counts: Mapping[Cell, Tally]) -> dict[str, int]:
    kinds: dict[str, int] = defaultdict(int)
    for cell, tally in counts.items():
        if cell.kind not in RESERVED and not cell.is_held_out:
            kinds[cell.kind] += tally.members
    return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def histories(counts: Mapping[Cell, Tally], kind: str) -> dict[Key, History]:
    """One pass over the cells."""
    sums: dict[tuple[Key, bool, str], dict[int, Tally]] = defaultdict(dict)
    for cell, tally in counts.items():
        days = sums[(cell.campaign, cell.cluster), cell.is_held_out, cell.kind]
        days[cell.day] = plus(days.get(cell.day, Tally()), tally)

    def history(key: Key) -> History:
        parts = {(held, name): sums.get((key, held, name), {}) for held in (False, True) for name in (EXPOSED, kind)}
        days = sorted({day for part in parts.values() for day in part})
        shown, held_out = (_by_day(days, parts[held, kind], parts[held, EXPOSED]) for held in (False, True))
        tally, switched = Tally(), Tally()
        for part in parts[False, kind].values():
            tally = plus(tally, part)
        for part in sums.get((key, False, SWITCHED), {}).values():
            switched = plus(switched, part)
        return History(days, _last(key, shown), shown, _last(key, held_out), held_out, switched.members, tally)

    found = {key: history(key) for key in {key for key, _, _ in sums}}
    return defaultdict(lambda: History([], Share(0, 0), _NONE, Share(0, 0), _NONE, 0, Tally()), found)


_NONE = (np.zeros(0, int), np.zeros(0, int))


def _by_day(days: list[int], hits: Mapping[int, Tally], exposed: Mapping[int, Tally]) -> tuple[np.ndarray, np.ndarray]:
    none = Tally()
    n = np.cumsum([exposed.get(day, none).members for day in days], dtype=int)
    return np.cumsum([hits.get(day, none).members for day in days], dtype=int), n


def _last(key: Key, by_day: tuple[np.ndarray, np.ndarray]) -> Share:
    hits, n = (int(counts[-1]) if len(counts) else 0 for counts in by_day)
    if hits > n:
        raise ReadoutError(
            f"{key[0]}, cluster {key[1]}: {hits} members of {n} exposed. Next: counts were lost or mixed; count anew"
        )
    return Share(hits, n)


def strays_of(counts: Mapping[Cell, Tally], inside: Mapping[Cell, Tally]) -> dict[str, int]:
    strays: dict[str, int] = defaultdict(int)
    for cell in counts.keys() - inside.keys():
        if cell.kind == EXPOSED:
            strays[cell.campaign] += counts[cell].members
    return dict(sorted(strays.items()))
