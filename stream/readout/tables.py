"""The report as tables of text, for the terminal and the page. What isn't in a finding isn't in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memberstream.models.told import Told
from memberstream.stream.readout.effect import Effect
from memberstream.stream.readout.judging import Part
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.wording import (
    NONE,
    count,
    day_of,
    joined,
    number,
    numbers,
    p_value,
    percent,
    percents,
    points,
    pointses,
)

CAUSAL = "causal: chance alone decided who was held out; intervals hold at every look and for all effects together"
BROKEN = "NOT TO BE BELIEVED: the holdout isn't what was meant; told only because it was asked for"
OBSERVED = "observational: clusters hold different members, so nothing here says what caused it"
VALUE_UNIT = "in the unit of the events' value"
#: Stands in each cell that tells an effect of a broken holdout.
MARK = " (broken)"


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table; the first column is text, all others are numbers. `is_alarm`: there is something wrong in it.
    `is_aside`: for who wants to know more."""

    title: str
    note: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    is_alarm: bool = False
    is_aside: bool = False


def tables(report: Report, told: Sequence[Told] = (), *, by_day: bool = False) -> list[TextTable]:
    """Return the tables that have something to show. `told`: what was told before. `by_day`: also each day."""
    found = [table for part in report.parts for table in _of_part(report, part, told, by_day=by_day)]
    found.insert(1 if found else 0, _rates(report))
    if report.faults:
        found.append(_faults(report))
    if any(row.mean is not None for row in report.rows):
        found.append(_values(report))
    if report.pairs:
        found.append(_pairs(report))
    return found


def _of_part(report: Report, part: Part, told: Sequence[Told], *, by_day: bool) -> list[TextTable]:
    name = f"{part.name}: " if len(report.parts) > 1 else ""
    found = []
    if part.finding.effect is not None:
        found.append(_effects(report, part, name))
    if (others := _others(part, name)).rows:
        found.append(others)
    if part.check is not None:
        found.append(_check(part, name))
    mine = [t for t in told if t.family == part.name]
    if mine:
        found.append(_told(mine, name))
    if by_day and part.looks:
        found.append(_looks(part, name))
    return found


def _rates(report: Report) -> TextTable:
    rows = [
        (
            row.name,
            count(row.shown.n),
            count(row.shown.hits),
            percent(row.rate),
            percents(row.interval),
            count(row.n_held_out),
            count(row.switched),
        )
        for row in report.rows
    ]
    heads = ("cluster", "shown", report.kind, "rate", "95% interval", "held out", "switched")
    return TextTable(f"Rate of {report.kind}", f"of those shown; intervals for one look; {OBSERVED}", heads, rows)


def _effects(report: Report, part: Part, name: str) -> TextTable:
    names = {(row.campaign, row.cluster): row.name for row in report.rows}
    effects = [] if part.finding.effect is None else [("all together", part.finding.effect)]
    if len(part.clusters) > 1:
        effects += [(names[found.campaign, found.cluster], found.effect) for found in part.clusters]
    rows = [
        (
            what,
            *_marked(
                effect,
                points(effect.difference),
                pointses(effect.interval),
                claimed(effect),
                percent(effect.shown),
                percent(effect.held_out),
                percent(effect.relative),
                percents(effect.relative_interval),
                p_value(effect.p),
            ),
            count(effect.n_shown),
            count(effect.n_held_out),
        )
        for what, effect in effects
    ]
    heads = (
        "cluster", "points", "at every look", "", "rate shown", "rate held out", "relative", "at every look", "p",
        "shown", "held out",
    )  # fmt: skip
    is_broken = any(effect.is_broken for _, effect in effects)
    title = f"{name}Effect on {part.finding.kind}: shown against held out"
    note = BROKEN if is_broken else CAUSAL
    if how := weighting(part):
        note += f". Rates of all together are {how}"
    return TextTable(title, note, heads, rows, is_broken)


def weighting(part: Part) -> str:
    """Return how the rates of all together are weighted, "" if there is only one of what they are weighted by.

    They are rates of what is compared, so they differ from the rate of all who were shown it.
    """
    by = ["cluster"] if len(part.clusters) > 1 else []
    by += ["period"] if len(part.finding.holdouts) > 1 else []
    return f"weighted by {joined(by)}" if by else ""


def claimed(effect: Effect) -> str:
    """Return whether an effect is one, in a word."""
    if effect.interval is None:
        return "too early"
    if effect.may_be_repeats:
        return "may be repeats"
    return "effect" if effect.is_claimed else "may be a loss" if effect.may_be_loss else "may be chance"


def _marked(effect: Effect, *texts: str) -> list[str]:
    return [text + MARK if effect.is_broken and text not in ("", NONE) else text for text in texts]


def _others(part: Part, name: str) -> TextTable:
    rows = []
    for other in part.others:
        effect = other.effect
        if effect is None or not (effect.shown or effect.held_out or other.margin is not None):
            continue
        what = f"value of {other.kind} per member" if other.is_value else f"rate of {other.kind}"
        if other.cap is not None:
            what += f" (at most {number(other.cap)})"
        if other.is_value:
            texts = (
                number(effect.shown),
                number(effect.held_out),
                number(effect.difference, sign=True),
                numbers(effect.interval, sign=True),
            )
        else:
            texts = (
                percent(effect.shown),
                percent(effect.held_out),
                points(effect.difference),
                pointses(effect.interval),
            )
        guard = "" if other.guard is None else f"guardrail, {points(other.margin)} allowed: {other.guard}"
        rows.append((what, *_marked(effect, *texts, p_value(effect.p), claimed(effect), guard)))
    heads = ("what", "shown", "held out", "effect", "at every look", "p", "", "")
    is_broken = any(other.effect is not None and other.effect.is_broken for other in part.others)
    note = BROKEN if is_broken else f"{CAUSAL}. Members without any count as 0"
    if any(other.is_value for other in part.others):
        note += f"; values are {VALUE_UNIT}"
    return TextTable(f"{name}Effects on other kinds and on values", note, heads, rows, is_broken)


def _check(part: Part, name: str) -> TextTable:
    check = part.check
    assert check is not None  # noqa: S101  (narrows the type)
    rows = [
        (
            share.name if share.day is None else f"{share.name}, {day_of(share.day)}",
            percent(share.meant),
            percent(share.held_out / share.n) if share.n else NONE,
            count(share.n),
            "BROKEN" if share.is_broken else "",
        )
        for share in check.shares
    ]
    verdict = "BROKEN" if check.is_broken else "fine"
    note = f"{verdict} (p {p_value(check.p)} at every look, all clusters and days together; broken at 0.01)"
    if not check.is_broken:
        note += f". A loss of up to {percent(check.unseen)} in one of the groups wouldn't be seen"
    heads = ("members", "meant to be held out", "found", "exposed", "")
    return TextTable(f"{name}Is the holdout what was meant?", note, heads, rows, check.is_broken)


def _told(told: Sequence[Told], name: str) -> TextTable:
    rows = [
        (
            day_of(t.at_ms // 86_400_000),
            t.kind or NONE,
            t.status,
            points(t.difference),
            NONE if t.low is None or t.high is None else f"{points(t.low)} to {points(t.high)}",
        )
        for t in told
    ]
    heads = ("on", "kind", "told", "points", "at every look")
    note = "each finding that differed from the one before; none is ever removed"
    return TextTable(f"{name}What was told before", note, heads, rows, is_aside=True)


def _looks(part: Part, name: str) -> TextTable:
    overall = part.finding.effect
    assert overall is not None  # noqa: S101  (there are no looks else)
    rows = [
        (
            day_of(look.day),
            *_marked(overall, points(look.difference), pointses(look.interval)),
            count(look.n_shown),
            count(look.n_held_out),
        )
        for look in part.looks
    ]
    heads = ("exposed until", "effect, points", "at every look", "shown", "held out")
    note = f"on {part.finding.kind}, of all members exposed until the end of each day, as it is known now"
    return TextTable(f"{name}Effect over time", note, heads, rows, is_aside=True)


def _faults(report: Report) -> TextTable:
    names = {(row.campaign, row.cluster): row.name for row in report.rows}
    rows = [
        (
            names.get((fault.campaign, fault.cluster or 0), "")
            if fault.cluster is not None
            else f"{fault.campaign}: ?",
            fault.what,
            count(fault.shown),
            count(fault.held_out),
            percent(fault.share),
            fault.so,
        )
        for fault in report.faults
    ]
    heads = ("cluster", "what", "shown", "held out", "of impressions", "what it does to the conclusion")
    return TextTable("Health of the data", "interactions, not members", heads, rows)


def _values(report: Report) -> TextTable:
    rows = [
        (row.name, count(row.shown.n), number(row.mean), numbers(row.mean_interval))
        for row in report.rows
        if row.mean is not None
    ]
    note = f"what the values of a member shown add up to, 0 without any, {VALUE_UNIT}; {OBSERVED}"
    return TextTable(f"Values of {report.kind}", note, ("cluster", "shown", "per member", "at every look"), rows)


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
    note = "; ".join((*tests, OBSERVED))
    return TextTable("Differences between clusters", note, heads, rows, is_aside=True)
