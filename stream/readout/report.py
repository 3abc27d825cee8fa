"""Counts of campaigns → their report: what they caused (judging.py), what was observed, how far it can be relied on.

Laws:
- A row is a cluster of a campaign, as it was at the members' exposure. The rate is of those shown, never of those held
  out. Several campaigns (a split: one for each cluster) are rows of the same table.
- A row is there as soon as anybody was exposed in it, also if all of them were held out.
- A comparison of rows is observational, whatever its p. All pairs are corrected together.
- Campaigns of one split are judged together; others each by itself, whatever they are reported with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from memberstream.models.counts import UNIT, Cell, Tally
from memberstream.models.terms import SHOWN_ONLY, WHOLE
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.readout import statistics
from memberstream.stream.readout.courses import RESERVED, ReadoutError, Table, table
from memberstream.stream.readout.effect import Effect
from memberstream.stream.readout.family import holm
from memberstream.stream.readout.health import Fault, faults
from memberstream.stream.readout.judging import Part, part
from memberstream.stream.readout.sequential import critical, difference_bounds
from memberstream.stream.readout.setup import Setup
from memberstream.stream.readout.statistics import Interval, Share, Test
from memberstream.stream.readout.wording import day_of, joined


@dataclass(frozen=True, slots=True)
class Row:
    """A cluster of a campaign.

    Attributes:
        shown: members with an event of the kind, of those shown. interval: of their rate, for one look; both None if
            nobody was shown it.
        n_held_out: members held out.
        switched: members shown who were later seen in another cluster.
        mean: of what the values of a member shown add up to, 0 without any; None if the kind has no values. Its
            interval holds at every look.
        effect: what showing it caused; None: withheld, or another kind is primary.
    """

    campaign: str
    cluster: int
    name: str
    shown: Share
    rate: float | None
    interval: Interval | None
    n_held_out: int
    switched: int
    events: int
    mean: float | None
    mean_interval: Interval | None
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows by their names: the first minus the second. Observational. `always` holds at every look, and for all
    pairs together; None: too early."""

    a: str
    b: str
    difference: float
    interval: Interval
    always: Interval | None
    test: str
    p: float


@dataclass(frozen=True, slots=True)
class Report:
    """What is known about campaigns by one kind of interaction.

    Attributes:
        names: id → how people call it.
        kind: of the rates. kinds: kind → members shown who had it; without the reserved ones.
        first_day, last_day: of exposure, days since 1970.
        until: the last day that was asked for; None: all.
        parts: what is found, of each family.
        differ, trend: over the rows; None if there is nothing to compare.
        faults: how far the counts can be relied on.
        strays: campaign → members exposed in clusters that it isn't for, or under another model.
    """

    campaigns: tuple[str, ...]
    names: dict[str, str]
    kind: str
    kinds: dict[str, int]
    versions: tuple[str, ...]
    first_day: int
    last_day: int
    until: int | None
    parts: tuple[Part, ...]
    rows: tuple[Row, ...]
    total: Share
    differ: Test | None
    trend: Test | None
    pairs: tuple[Pair, ...]
    faults: tuple[Fault, ...]
    strays: dict[str, int]


def report(
    counts: Mapping[Cell, Tally],
    setups: Sequence[Setup],
    kinds: Sequence[str],
    kind: str | None = None,
    until: int | None = None,
    *,
    although_broken: bool = False,
) -> Report:
    """Make the report.

    Args:
        counts: of these campaigns; others' are left out.
        setups: whole families (setup.py: `family_of`).
        kinds: those that are declared, in their order.
        kind: of interaction, for the rates; None: the primary one.
        until: of members exposed until the end of this day, since 1970.
        although_broken: tell effects of a broken holdout, marked.

    Raises:
        ReadoutError: nothing is counted yet, or there is no such kind.
    """
    found = table(counts, setups, until)
    ids = tuple(setup.id for setup in setups)
    if not sum(n.sum() for n in found.exposed.values()):
        when = "" if until is None else " until that day"
        begins = [f"{s.id} on {day_of(s.terms.from_ms // DAY_MS)}" for s in setups if s.terms.from_ms is not None]
        since = f" (by its terms it begins: {joined(begins)})" if begins else ""
        raise ReadoutError(
            f"{', '.join(ids)}: no impression is counted{when} yet{since}. Next: do services send impressions?"
        )
    seen = _seen(found)
    asked = _asked(setups, kinds, kind, seen)
    families: dict[str, list[Setup]] = {}
    for setup in setups:
        families.setdefault(setup.family, []).append(setup)
    parts = tuple(part(its, found, kinds, although_broken=although_broken) for its in families.values())
    rows = _rows(setups, found, asked, parts)
    shares = [row.shown for row in rows if row.shown.n]
    is_ordered = len(shares) > 2 and len({row.cluster for row in rows}) == len(rows)
    return Report(
        campaigns=ids,
        names={setup.id: setup.name for setup in setups},
        kind=asked,
        kinds=seen,
        versions=found.versions,
        first_day=found.days[0],
        last_day=found.days[-1],
        until=until,
        parts=parts,
        rows=rows,
        total=Share(sum(share.hits for share in shares), sum(share.n for share in shares)),
        differ=statistics.differ(shares) if len(shares) > 1 else None,
        trend=statistics.trend(shares) if is_ordered and len({s.terms.model for s in setups}) == 1 else None,
        pairs=_pairs([row for row in rows if row.shown.n]),
        faults=faults({cell: tally for cell, tally in counts.items() if cell.campaign in ids}, until),
        strays=dict(found.strays),
    )


def _seen(found: Table) -> dict[str, int]:
    hits = {kind: int(found.hits(kind, False).sum()) for kind in found.kinds}
    return dict(sorted(hits.items(), key=lambda item: (-item[1], item[0])))


def _asked(setups: Sequence[Setup], kinds: Sequence[str], kind: str | None, seen: Mapping[str, int]) -> str:
    """Return the kind of the rates. Raises ReadoutError."""
    known = [name for name in dict.fromkeys((*kinds, *seen)) if name not in RESERVED]
    if kind is not None:
        if kind not in known:
            raise ReadoutError(f"{kind} is no kind of which rates are told. Next: one of {', '.join(known)}")
        return kind
    declared = {setup.terms.primary for setup in setups}
    primaries = {setup.primary for setup in setups if setup.primary is not None}
    if not any(declared) and not primaries & set(seen):
        primaries = set(list(seen)[:1]) or primaries
    if len(primaries) > 1:
        raise ReadoutError(
            f"these campaigns are judged by different kinds: {', '.join(sorted(primaries))}. "
            "Next: report each by itself, or say --kind"
        )
    return next(iter([*primaries, *seen, *(name for name in known if name in SHOWN_ONLY)]))


def _rows(setups: Sequence[Setup], found: Table, kind: str, parts: Sequence[Part]) -> tuple[Row, ...]:
    """Return the rows, by cluster if each is there once, else campaign by campaign."""
    many = len(setups) > 1
    effects = {(c.campaign, c.cluster): c.effect for part in parts if part.finding.kind == kind for c in part.clusters}
    rows = []
    for setup in setups:
        for cluster, name in setup.clusters.items():
            which = found.which((s.campaign, s.cluster) == (setup.id, cluster) for s in found.strata)
            n, n_held_out = (int(found.exposed[held][:, which].sum()) for held in (False, True))
            if not n and not n_held_out:
                continue
            share = Share(int(found.hits(kind, False)[:, which].sum()), n)
            counts = found.kinds.get(kind)
            mean, mean_interval = _mean(found, kind, which, setup.terms.winsorise)
            rows.append(
                Row(
                    setup.id,
                    cluster,
                    f"{setup.id}: {cluster} {name}".strip() if many else f"{cluster} {name}".strip(),
                    share,
                    share.rate if n else None,
                    statistics.rate_interval(share) if n else None,
                    n_held_out,
                    int(found.switched[which].sum()),
                    0 if counts is None else int(counts[False].events[:, which].sum()),
                    mean,
                    mean_interval,
                    effects.get((setup.id, cluster)),
                )
            )
    clusters = [row.cluster for row in rows]
    return tuple(sorted(rows, key=lambda row: row.cluster) if len(set(clusters)) == len(clusters) else rows)


def _mean(found: Table, kind: str, which: np.ndarray, winsorise: int) -> tuple[float | None, Interval | None]:
    """Return the mean of what members' values add up to, over the members shown in some strata, and its interval."""
    if not found.has_values(kind):
        return None, None
    everybody = np.ones((len(found.days), len(found.strata)))
    cap = found.cap(kind, winsorise / WHOLE, everybody) if winsorise else None
    n, total, squares = found.value_sums(kind, which, cap)
    if not n:
        return None, None
    mean, spread = total / (n * UNIT), (n * squares - total * total) / (n * UNIT * UNIT)
    half = float(critical(n)) * (spread / max(1, n - 1) / n) ** 0.5
    return mean, Interval(mean - half, mean + half) if n > 1 else None


def _pairs(rows: Sequence[Row]) -> tuple[Pair, ...]:
    pairs = list(combinations(rows, 2))
    tests = [statistics.differ([a.shown, b.shown]) for a, b in pairs]
    corrected = holm([test.p for test in tests])
    found = []
    for (a, b), test, p in zip(pairs, tests, corrected, strict=True):
        low, high = map(float, difference_bounds(a.shown.hits, a.shown.n, b.shown.hits, b.shown.n, together=len(pairs)))
        found.append(
            Pair(
                a.name,
                b.name,
                a.shown.rate - b.shown.rate,
                statistics.difference_interval(a.shown, b.shown),
                None if np.isnan(low) else Interval(low, high),
                test.name,
                p,
            )
        )
    return tuple(found)
