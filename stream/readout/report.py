"""Counts of campaigns → their report: rates, differences, effects, checks.

Laws:
- A row is a cluster of a campaign, as it was at the members' exposure. The rate is of those shown, never of those held
  out. Several campaigns (a split: one for each cluster) are rows of the same table.
- Only shown against held out inside a row says what the campaign caused: chance alone put members there. Whatever
  compares rows is observational, whatever its p.
- All that is tested together is corrected together (Holm; Bonferroni for intervals that hold at every look): pairs of
  rows; effects of rows.
- Where the holdout was changed after somebody had met the campaign, no effect is told: early members would weigh more
  among those shown than among those held out, and times differ.
- Whoever was exposed in a cluster that the campaign isn't for, or under another model, is in no row, but is told of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from models.counts import EXPOSED, Cell, Tally
from stream.readout import statistics
from stream.readout.history import RESERVED, History, Key, ReadoutError, histories, kinds_of, strays_of
from stream.readout.sequential import Bounds, difference_bounds, rate_bounds
from stream.readout.setup import Setup
from stream.readout.statistics import Interval, Share, Test, Values

#: A ratio check below it is a broken experiment, not chance: the customary bound, one false alarm in a thousand looks.
BROKEN = 0.001
_PEOPLE = 10**10  # more members are never needed, they can't be had


@dataclass(frozen=True, slots=True)
class Effect:
    """Shown against held out in one row: what the campaign caused.

    Attributes:
        difference: of the rates, with `interval` for one look and `always` for every look and all rows together (None:
            too early).
        relative: the rate of those shown over that of those held out, minus 1; None where one of them is 0.
        p: corrected for the number of rows.
        more: how many more members, shown and held out together, it takes to see the stated difference.
    """

    held_out: Share
    difference: float
    interval: Interval
    always: Interval | None
    relative: float | None
    relative_interval: Interval | None
    test: str
    p: float
    more: int | None


@dataclass(frozen=True, slots=True)
class Day:
    """A row until the end of a day."""

    day: int
    shown: Share
    rate: float
    always: Interval | None
    held_out: Share | None
    difference: float | None
    difference_always: Interval | None


@dataclass(frozen=True, slots=True)
class Row:
    """A cluster of a campaign.

    Attributes:
        switched: members shown who were later seen in another cluster.
        more: how many more members are to be shown it to see the stated difference to a row as large.
    """

    campaign: str
    cluster: int
    name: str
    shown: Share
    rate: float
    interval: Interval
    always: Interval | None
    switched: int
    events: int
    values: Values
    mean: float | None
    mean_interval: Interval | None
    more: int | None
    effect: Effect | None
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows by their names: the first minus the second. Observational. `always`: for all pairs together."""

    a: str
    b: str
    difference: float
    interval: Interval
    always: Interval | None
    test: str
    p: float
    mean_difference: float | None
    mean_interval: Interval | None


@dataclass(frozen=True, slots=True)
class RatioCheck:
    """Was the share held out that was meant? `since`: counted from this day on, None: from the beginning."""

    campaign: str
    held_out: int
    n: int
    meant: float
    since: int | None
    p: float

    @property
    def is_broken(self) -> bool:
        return self.p < BROKEN


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of campaigns by one kind of interaction.

    Attributes:
        kinds: kind → members shown who had it; without the reserved ones.
        first_day, last_day: of all that is counted, days since 1970.
        differ, trend: over the rows; None where there is nothing to compare.
        see: the difference of rates that `more` speaks of.
        strays: campaign → members exposed in clusters that it isn't for, or under another model.
        changed: campaign → day from which on its holdout is what it is, of those whom members had met before.
    """

    campaigns: tuple[str, ...]
    kind: str
    kinds: dict[str, int]
    versions: tuple[str, ...]
    first_day: int
    last_day: int
    rows: tuple[Row, ...]
    total: Share
    differ: Test | None
    trend: Test | None
    pairs: tuple[Pair, ...]
    checks: tuple[RatioCheck, ...]
    see: float
    strays: dict[str, int]
    changed: dict[str, int]


def report(
    counts: Mapping[Cell, Tally], setups: Sequence[Setup], kind: str | None = None, see: float | None = None
) -> Report:
    """Make the report.

    Args:
        counts: of these campaigns; others' are left out.
        kind: of interaction; None: the most frequent one besides impressions.
        see: the difference of rates that should be seen; None: a tenth of the rate.

    Raises:
        ReadoutError: nothing is counted yet, or not of this kind.
    """
    ids = tuple(setup.id for setup in setups)
    mine = {cell: counts[cell] for cell in sorted(counts) if cell.campaign in ids}  # sums don't depend on the order
    keys = _keys(setups)
    targeted = {(setup.id, cluster, setup.model) for setup in setups for cluster in setup.clusters}
    inside = {cell: mine[cell] for cell in mine if (cell.campaign, cell.cluster, _model_of(cell)) in targeted}
    if not any(cell.kind == EXPOSED and not cell.is_held_out and tally.members for cell, tally in inside.items()):
        raise ReadoutError(f"{', '.join(ids)}: no impression is counted yet. Next: do services send impressions?")
    kinds = kinds_of(inside)
    if kind is None and not kinds:
        raise ReadoutError(f"{', '.join(ids)}: only impressions are counted yet. Next: wait for clicks, or say --kind")
    if kind in RESERVED:
        raise ReadoutError(f"{kind} is what rates are of. Next: one of {', '.join(kinds) or 'the kinds to come'}")
    asked = kind or max(kinds, key=lambda name: kinds[name])
    history = histories(inside, asked)
    present = [(key, name) for key, name in keys if history[key].shown.n]
    total = _sum(history[key].shown for key, _ in present)
    see = see if see is not None else total.rate / 10
    changed = _changed(setups, inside)
    n_effects = sum(len(setup.clusters) for setup in setups if setup.holdout)
    rows = _rows([(key, name, history[key]) for key, name in present], total, see, changed, max(1, n_effects))
    shares = [row.shown for row in rows]
    is_ordered = len(rows) > 2 and len({row.cluster for row in rows}) == len(rows)
    days = [cell.day for cell in mine]
    return Report(
        campaigns=ids,
        kind=asked,
        kinds=kinds,
        versions=tuple(sorted({cell.version for cell in inside})),
        first_day=min(days),
        last_day=max(days),
        rows=rows,
        total=total,
        differ=statistics.differ(shares) if len(rows) > 1 else None,
        trend=statistics.trend(shares) if is_ordered and len({setup.model for setup in setups}) == 1 else None,
        pairs=_pairs(rows),
        checks=tuple(check for setup in setups if (check := _check(setup, inside)) is not None),
        see=see,
        strays=strays_of(mine, inside),
        changed=changed,
    )


def _model_of(cell: Cell) -> str:
    return cell.version.rpartition("@")[0]


def _changed(setups: Sequence[Setup], counts: Mapping[Cell, Tally]) -> dict[str, int]:
    return {
        setup.id: day
        for setup in setups
        if (day := setup.holdout_day) is not None
        and any(cell.campaign == setup.id and cell.kind == EXPOSED and cell.day < day for cell in counts)
    }


def _keys(setups: Sequence[Setup]) -> list[tuple[Key, str]]:
    """Campaign and cluster with the row's name; by cluster where each is there once, else campaign by campaign."""
    many = len(setups) > 1
    keys = [
        ((setup.id, cluster), f"{setup.id}: {cluster} {name}".strip() if many else f"{cluster} {name}".strip())
        for setup in setups
        for cluster, name in setup.clusters.items()
    ]
    clusters = [cluster for (_, cluster), _ in keys]
    return sorted(keys, key=lambda key: key[0][1]) if len(set(clusters)) == len(clusters) else keys


def _rows(
    found: Sequence[tuple[Key, str, History]], total: Share, see: float, changed: Mapping[str, int], n_effects: int
) -> tuple[Row, ...]:
    """`n_effects`: how many there can be, known before anybody is counted."""
    tests = [
        statistics.differ([h.shown, h.held_out]) if h.held_out.n and key[0] not in changed else None
        for key, _, h in found
    ]
    corrected = iter(statistics.holm([test.p for test in tests if test is not None]))
    rows = []
    for ((campaign, cluster), name, history), test in zip(found, tests, strict=True):
        shown = history.shown
        values = Values(history.tally.values, history.tally.value_sum, history.tally.value_sum_sq)
        rows.append(
            Row(
                campaign,
                cluster,
                name,
                shown,
                shown.rate,
                statistics.rate_interval(shown),
                _one(rate_bounds(shown.hits, shown.n)),
                history.switched,
                history.tally.events,
                values,
                values.mean if values.n else None,
                statistics.mean_interval(values),
                _more(statistics.members_needed(total.rate, see), shown.n),
                None if test is None else _effect(shown, history.held_out, test, next(corrected), see, n_effects),
                _days(history, n_effects, has_effect=test is not None),
            )
        )
    return tuple(rows)


def _effect(shown: Share, held_out: Share, test: Test, p: float, see: float, n_effects: int) -> Effect:
    ratio = held_out.n / shown.n
    needed = statistics.members_needed(held_out.rate, see, ratio)
    relative = statistics.ratio_interval(shown, held_out)
    return Effect(
        held_out,
        shown.rate - held_out.rate,
        statistics.difference_interval(shown, held_out),
        _one(difference_bounds(shown.hits, shown.n, held_out.hits, held_out.n, together=n_effects)),
        None if relative is None else shown.rate / held_out.rate - 1,
        None if relative is None else Interval(relative.low - 1, relative.high - 1),
        test.name,
        p,
        _more(None if needed is None else round(needed * (1 + ratio)), shown.n + held_out.n),
    )


def _more(needed: int | None, found: int) -> int | None:
    return None if needed is None or needed > _PEOPLE else max(0, needed - found)


def _days(history: History, n_effects: int, *, has_effect: bool) -> tuple[Day, ...]:
    """Each day with somebody exposed by then. An event dated before its exposure may be ahead of it for a day."""
    (hits, n), (held_hits, held_n) = history.shown_by_day, history.held_out_by_day
    hits, held_hits = np.minimum(hits, n), np.minimum(held_hits, held_n)
    rates, differences = rate_bounds(hits, n), difference_bounds(hits, n, held_hits, held_n, together=n_effects)
    days = []
    for i, day in enumerate(history.days):
        if n[i]:
            shown, held_out = Share(int(hits[i]), int(n[i])), Share(int(held_hits[i]), int(held_n[i]))
            days.append(
                Day(
                    day,
                    shown,
                    shown.rate,
                    _one(rates, i),
                    held_out if held_out.n else None,
                    shown.rate - held_out.rate if held_out.n and has_effect else None,
                    _one(differences, i) if has_effect else None,
                )
            )
    return tuple(days)


def _one(bounds: Bounds, place: int | tuple[()] = ()) -> Interval | None:
    low, high = float(bounds[0][place]), float(bounds[1][place])
    return None if np.isnan(low) else Interval(low, high)


def _pairs(rows: Sequence[Row]) -> tuple[Pair, ...]:
    pairs = list(combinations(rows, 2))
    tests = [statistics.differ([a.shown, b.shown]) for a, b in pairs]
    corrected = statistics.holm([test.p for test in tests])
    return tuple(
        Pair(
            a.name,
            b.name,
            a.rate - b.rate,
            statistics.difference_interval(a.shown, b.shown),
            _one(difference_bounds(a.shown.hits, a.shown.n, b.shown.hits, b.shown.n, together=len(pairs))),
            test.name,
            p,
            None if a.mean is None or b.mean is None else a.mean - b.mean,
            statistics.mean_difference_interval(a.values, b.values),
        )
        for (a, b), test, p in zip(pairs, tests, corrected, strict=True)
    )


def _check(setup: Setup, counts: Mapping[Cell, Tally]) -> RatioCheck | None:
    """None without a holdout, or with nobody exposed since it was last changed."""
    groups = {False: 0, True: 0}
    for cell, tally in counts.items():
        is_new = setup.holdout_day is None or cell.day >= setup.holdout_day
        if cell.campaign == setup.id and cell.kind == EXPOSED and is_new:
            groups[cell.is_held_out] += tally.members
    n = sum(groups.values())
    if not n or (not setup.holdout and not groups[True]):
        return None
    p = statistics.ratio_p(groups[True], n, setup.holdout)
    return RatioCheck(setup.id, groups[True], n, setup.holdout, setup.holdout_day, p)


def _sum(shares: Iterable[Share]) -> Share:
    found = list(shares)
    return Share(sum(share.hits for share in found), sum(share.n for share in found))
