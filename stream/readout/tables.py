"""The report as tables of text, for the terminal and the page alike; and as CSV, with all digits."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from stream.readout.report import Day, Report, Row
from stream.readout.statistics import Interval
from stream.readout.wording import (
    count,
    day_of,
    number,
    numbers,
    p_value,
    percent,
    percents,
    points,
    pointses,
)

CAUSAL = "causal: chance alone decided who was held out"
BELIEVED_NOT = "not to be believed: the holdout isn't what was meant, see below"
OBSERVED = "observational: clusters hold different members, so nothing here says what caused it"


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table; the first column is text, all others are numbers. `is_alarm`: there is something wrong in it."""

    title: str
    note: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    is_alarm: bool = False


def tables(report: Report, *, by_day: bool = False) -> list[TextTable]:
    """Return what there is to show."""
    found = [_rates(report)]
    if any(row.effect is not None for row in report.rows):
        found.append(_effects(report))
    if report.checks:
        found.append(_checks(report))
    if report.pairs:
        found.append(_pairs(report))
    if any(row.values.n for row in report.rows):
        found.append(_values(report))
    if by_day:
        found += [_days(row, report) for row in report.rows]
    return found


def _rates(report: Report) -> TextTable:
    rows = [
        (
            row.name,
            count(row.shown.n),
            count(row.shown.hits),
            percent(row.rate),
            percents(row.interval),
            percents(row.always),
            count(row.switched),
            count(row.more),
        )
        for row in report.rows
    ]
    heads = ("cluster", "shown", report.kind, "rate", "95% interval", "at every look", "switched", "more needed")
    return TextTable(f"Rate of {report.kind}", f"more needed: {_needed(report)}", heads, rows)


def _needed(report: Report) -> str:
    return f"members to see a difference of {points(report.see)} points, if it is there, four times in five"


def _effects(report: Report) -> TextTable:
    rows = [
        (
            row.name,
            percent(effect.held_out.rate),
            count(effect.held_out.n),
            points(effect.difference),
            pointses(effect.interval),
            pointses(effect.always),
            percent(effect.relative),
            percents(effect.relative_interval),
            p_value(effect.p),
            count(effect.more),
        )
        for row in report.rows
        if (effect := row.effect) is not None
    ]
    heads = (
        "cluster", "rate held out", "members", "effect, points", "95% interval", "at every look",
        "relative", "95% interval", "p (Holm)", "more needed",
    )  # fmt: skip
    return TextTable(
        "Effect: shown against held out", f"{causal(report)}; every look: of all clusters together", heads, rows
    )


def causal(report: Report) -> str:
    """Return what an effect says: what was caused, unless the holdout is broken."""
    return BELIEVED_NOT if any(check.is_broken for check in report.checks) else CAUSAL


def _checks(report: Report) -> TextTable:
    rows = [
        (
            check.campaign,
            percent(check.meant),
            percent(check.held_out / check.n),
            count(check.n),
            "the beginning" if check.since is None else day_of(check.since),
            p_value(check.p),
            "BROKEN" if check.is_broken else "fine",
        )
        for check in report.checks
    ]
    is_broken = any(check.is_broken for check in report.checks)
    heads = ("campaign", "meant to be held out", "found", "members", "since", "p", "")
    note = "broken below p = 0.001: then some members are lost or counted wrongly, and no effect above holds"
    return TextTable("Is the holdout what was meant?", note, heads, rows, is_broken)


def _pairs(report: Report) -> TextTable:
    rows = [
        (
            f"{pair.a} − {pair.b}",
            points(pair.difference),
            pointses(pair.interval),
            pointses(pair.always),
            p_value(pair.p),
            pair.test,
        )
        for pair in report.pairs
    ]
    heads = ("clusters", "points", "95% interval", "at every look", "p (Holm)", "test")
    tests = [f"all alike: p {p_value(report.differ.p)} ({report.differ.name})"] if report.differ is not None else []
    if report.trend is not None:
        tests.append(f"trend in their order: p {p_value(report.trend.p)} ({report.trend.name})")
    return TextTable("Differences between clusters", "; ".join((*tests, OBSERVED)), heads, rows)


def _values(report: Report) -> TextTable:
    rows = [
        (row.name, count(row.values.n), number(row.values.sum), number(row.mean), numbers(row.mean_interval))
        for row in report.rows
    ]
    rows += [
        (f"{pair.a} − {pair.b}", "", "", number(pair.mean_difference), numbers(pair.mean_interval))
        for pair in report.pairs
        if pair.mean_interval is not None
    ]
    note = f"the mean is of {report.kind} events that carry a value; {OBSERVED}"
    return TextTable(f"Values of {report.kind}", note, ("cluster", "values", "sum", "mean", "95% interval"), rows)


def _days(row: Row, report: Report) -> TextTable:
    rows = [
        (
            day_of(day.day),
            count(day.shown.n),
            count(day.shown.hits),
            percent(day.rate),
            percents(day.always),
            points(day.difference),
            pointses(day.difference_always),
        )
        for day in row.days
    ]
    heads = ("until", "shown", report.kind, "rate", "at every look", "effect, points", "at every look")
    return TextTable(row.name, "all until the end of each day", heads, rows)


_HEADS = (
    "campaign", "cluster", "name", "kind", "until", "shown", "hits", "rate", "low", "high", "always_low", "always_high",
    "held_out", "held_out_hits", "effect", "effect_low", "effect_high", "effect_always_low", "effect_always_high",
    "effect_p", "switched", "events", "values", "value_sum", "value_mean", "value_mean_low", "value_mean_high",
)  # fmt: skip


def to_csv(report: Report, *, by_day: bool = False) -> str:
    """Return one line for each row, or for each of its days; what isn't known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _HEADS, lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        head = {"campaign": row.campaign, "cluster": row.cluster, "name": row.name, "kind": report.kind}
        if by_day:
            writer.writerows(head | _day_fields(day) for day in row.days)
        else:
            writer.writerow(head | {"until": day_of(report.last_day)} | _row_fields(row))
    return text.getvalue()


def _day_fields(day: Day) -> dict[str, object]:
    return {
        "until": day_of(day.day),
        "shown": day.shown.n,
        "hits": day.shown.hits,
        "rate": day.rate,
        **_bounds("always", day.always),
        **({} if day.held_out is None else {"held_out": day.held_out.n, "held_out_hits": day.held_out.hits}),
        "effect": day.difference,
        **_bounds("effect_always", day.difference_always),
    }


def _row_fields(row: Row) -> dict[str, object]:
    fields: dict[str, object] = {
        "shown": row.shown.n,
        "hits": row.shown.hits,
        "rate": row.rate,
        "low": row.interval.low,
        "high": row.interval.high,
        **_bounds("always", row.always),
        "switched": row.switched,
        "events": row.events,
        "values": row.values.n,
        "value_sum": row.values.sum,
        "value_mean": row.mean,
        **_bounds("value_mean", row.mean_interval),
    }
    if row.effect is not None:
        effect = row.effect
        fields |= {
            "held_out": effect.held_out.n,
            "held_out_hits": effect.held_out.hits,
            "effect": effect.difference,
            **_bounds("effect", effect.interval),
            **_bounds("effect_always", effect.always),
            "effect_p": effect.p,
        }
    return fields


def _bounds(name: str, interval: Interval | None) -> dict[str, object]:
    return {} if interval is None else {f"{name}_low": interval.low, f"{name}_high": interval.high}
