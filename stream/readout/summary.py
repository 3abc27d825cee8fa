"""The report in a few sentences, for who reads nothing else. tests/readout reads the numbers back out of them.

Laws:
- A broken ratio comes first: nothing after it can be believed.
- What is caused is said of shown against held out only, and by the interval that holds at every look: a report is
  looked at again and again.
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
        found.append(f"{n:,} members were exposed to {campaign} in clusters that it isn't for; they are left out.")
    return found


def _differences(report: Report) -> str:
    assert report.differ is not None  # noqa: S101  (narrows the type)
    if report.differ.p >= ALPHA:
        return f"Whether clusters differ can't be told (p {_p(report.differ.p)})."
    most, least = (pick(report.rows, key=lambda row: row.rate) for pick in (max, min))
    return (
        f"Clusters differ (p {_p(report.differ.p)}): most in {_rate(most)}, least in {_rate(least)}. "
        "That is observed, not caused: they hold different members."
    )


def _rate(row: Row) -> str:
    return f"{row.name} with {percent(row.rate)} ({percents(row.interval)})"


def _effects(report: Report) -> list[str]:
    rows = [(row, row.effect) for row in report.rows if row.effect is not None]
    if not rows:
        return ["Nobody was held out, so what the campaign caused can't be told."]
    parts = []
    for row, effect in rows:
        if effect.always is None:
            parts.append(f"in {row.name} it is too early to say")
        elif effect.always.excludes_zero():
            parts.append(f"in {row.name} {points(effect.difference)} points ({pointses(effect.always)})")
        else:
            parts.append(f"in {row.name} none to be told from chance ({pointses(effect.always)} points)")
    return [f"What showing it caused, against those held out: {'; '.join(parts)}."]


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
