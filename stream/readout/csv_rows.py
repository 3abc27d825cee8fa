"""The report as CSV, with all digits: what programs and spreadsheets read."""

from __future__ import annotations

import csv
import io

from memberstream.stream.readout.effect import Effect
from memberstream.stream.readout.judging import Part
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.statistics import Interval
from memberstream.stream.readout.wording import day_of

_HEADS = (
    "family", "campaign", "cluster", "name", "kind", "what", "until", "shown", "hits", "rate", "low", "high",
    "held_out", "switched", "events", "value_mean", "value_mean_low", "value_mean_high",
    "status", "is_claimed", "may_be_loss", "may_be_repeats", "is_broken", "compared_shown", "compared_held_out",
    "effect_shown", "effect_held_out", "effect", "effect_low", "effect_high",
    "relative", "relative_low", "relative_high", "p",
)  # fmt: skip


def to_csv(report: Report, *, by_day: bool = False) -> str:
    """Return a line for each family as a whole, each cluster, and each other effect; or for each day of the effect.

    What isn't known, or withheld, is empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _HEADS, lineterminator="\n")
    writer.writeheader()
    for part in report.parts:
        writer.writerows(_days(part) if by_day else _lines(report, part))
    return text.getvalue()


def _lines(report: Report, part: Part) -> list[dict[str, object]]:
    finding, until = part.finding, day_of(report.last_day)
    head = {"family": part.name, "until": until, "status": finding.status}
    lines: list[dict[str, object]] = [head | {"what": "overall", "kind": finding.kind} | _effect(finding.effect)]
    lines += [
        head
        | {"campaign": row.campaign, "cluster": row.cluster, "name": row.name, "kind": report.kind, "what": "cluster"}
        | {"shown": row.shown.n, "hits": row.shown.hits, "rate": row.rate, **_bounds("", row.interval)}
        | {"held_out": row.n_held_out, "switched": row.switched, "events": row.events}
        | {"value_mean": row.mean, **_bounds("value_mean_", row.mean_interval)}
        | _effect(row.effect)
        for row in report.rows
        if row.campaign in part.campaigns
    ]
    lines += [
        head | {"what": "value" if other.is_value else "rate", "kind": other.kind} | _effect(other.effect)
        for other in part.others
    ]
    return lines


def _days(part: Part) -> list[dict[str, object]]:
    is_broken = part.finding.effect is not None and part.finding.effect.is_broken
    return [
        {
            "family": part.name,
            "what": "overall",
            "kind": part.finding.kind,
            "until": day_of(look.day),
            "is_broken": is_broken,
            "compared_shown": look.n_shown,
            "compared_held_out": look.n_held_out,
            "effect": look.difference,
            **_bounds("effect_", look.interval),
        }
        for look in part.looks
    ]


def _effect(effect: Effect | None) -> dict[str, object]:
    if effect is None:
        return {}
    return {
        "is_claimed": effect.is_claimed,
        "may_be_loss": effect.may_be_loss,
        "may_be_repeats": effect.may_be_repeats,
        "is_broken": effect.is_broken,
        "compared_shown": effect.n_shown,
        "compared_held_out": effect.n_held_out,
        "effect_shown": effect.shown,
        "effect_held_out": effect.held_out,
        "effect": effect.difference,
        **_bounds("effect_", effect.interval),
        "relative": effect.relative,
        **_bounds("relative_", effect.relative_interval),
        "p": effect.p,
    }


def _bounds(name: str, interval: Interval | None) -> dict[str, object]:
    return {} if interval is None else {f"{name}low": interval.low, f"{name}high": interval.high}
