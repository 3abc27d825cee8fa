"""The report in a few sentences, for who reads nothing else. tests/readout reads the numbers back out of them.

Laws:
- A broken ratio comes first, and of such a campaign no effect is told.
- What is caused is said of shown against held out only. Effects and differences are claimed by the interval that holds
  at every look, and for all of them together: a report is looked at again and again.
- What the numbers can't tell is said, not left out.
"""

from __future__ import annotations

from stream.readout.report import Report, Row
from stream.readout.statistics import ALPHA
from stream.readout.wording import day_of, p_value, percent, percents, points, pointses


def sentences(report: Report) -> list[str]:
    """Return the sentences."""
    found = [
        f"Warning: of {check.campaign} {percent(check.held_out / check.n)} were held out where {percent(check.meant)} "
        f"were meant (p {_p(check.p)}): don't believe its effect before the reason is found."
        for check in report.checks
        if check.is_broken
    ]
    total = report.total
    found.append(
        f"Until {day_of(report.last_day)} {total.n:,} members were shown {' or '.join(report.campaigns)}, "
        f"and {total.hits:,} of them ({percent(total.rate)}) had at least one {report.kind}."
    )
    if not total.hits:
        others = ", ".join(kind for kind in report.kinds if kind != report.kind)
        found.append(f"No {report.kind} of theirs is counted yet; what is: {others or 'impressions only'}.")
    if len(report.campaigns) > 1:
        found.append("Who was shown several of these campaigns counts in each.")
    if len(report.versions) > 1:
        found.append(
            f"Clusters of {', '.join(report.versions)} are added up by their ids: do they mean the same in all of them?"
        )
    if report.differ is not None:
        found.append(_differences(report))
    found += _effects(report)
    switched = sum(row.switched for row in report.rows)
    if switched:
        found.append(
            f"{switched:,} of those shown ({percent(switched / total.n)}) changed cluster afterwards; "
            "they count where they were."
        )
    for campaign, n in report.strays.items():
        found.append(
            f"{n:,} members were exposed to {campaign} in clusters or under a model that it isn't for; "
            "they are left out."
        )
    return found


def _differences(report: Report) -> str:
    assert report.differ is not None  # noqa: S101  (narrows the type)
    are_clusters = len({row.cluster for row in report.rows}) == len(report.rows)  # else campaigns to the same ones
    what, p = "clusters" if are_clusters else "campaigns and clusters", _p(report.differ.p)
    if report.differ.p >= ALPHA:
        return f"Whether {what} differ can't be told (p {p})."
    if not any(pair.always is not None and pair.always.excludes_zero() for pair in report.pairs):
        return f"Whether {what} differ can't be told yet: p {p} would do if nobody looked before or after."
    most, least = (pick(report.rows, key=lambda row: row.rate) for pick in (max, min))
    return (
        f"{what.capitalize()} differ (p {p}): most in {_rate(most)}, least in {_rate(least)}. "
        f"That is observed, not caused: they {'' if are_clusters else 'may '}hold different members."
    )


def _rate(row: Row) -> str:
    return f"{row.name} with {percent(row.rate)} ({percents(row.interval)})"


def _effects(report: Report) -> list[str]:
    found = [
        f"The holdout of {campaign} was changed after members had met it (as it is now, it is since {day_of(day)}), "
        "so what it caused can't be told. A campaign with a new id can tell."
        for campaign, day in report.changed.items()
    ]
    broken = {check.campaign for check in report.checks if check.is_broken}
    rows = [row for row in report.rows if row.campaign not in broken and row.campaign not in report.changed]
    if rows and all(row.effect is None for row in rows):
        which = "" if len(rows) == len(report.rows) else f" of {', '.join(dict.fromkeys(r.campaign for r in rows))}"
        return [*found, f"Nobody was held out{which}, so what the campaign caused can't be told."]
    parts = []
    for row in rows:
        effect = row.effect
        if effect is None:
            continue
        if effect.always is None:
            parts.append(f"in {row.name} it is too early to say")
        elif effect.always.excludes_zero():
            parts.append(f"in {row.name} {points(effect.difference)} points ({pointses(effect.always)})")
        else:
            parts.append(f"in {row.name} none to be told from chance ({pointses(effect.always)} points)")
    unknown = [row.name for row in rows if row.effect is None]
    if unknown:
        parts.append(f"in {' and '.join(unknown)} it can't be told, nobody was held out")
    return [*found, f"What showing it caused, against those held out: {'; '.join(parts)}."] if parts else found


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
