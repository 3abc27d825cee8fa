"""The report in a few sentences, for people who read nothing else. tests/readout reads the numbers back out of them.

Laws:
- The headline of each family comes first, as its finding has it. Nothing here judges anything.
- Only the comparison of shown with held out is called a cause; the rest is called observed.
- What the numbers can't tell, and what was told before and isn't any more, the sentences say.
"""

from __future__ import annotations

from collections.abc import Sequence

from memberstream.models.timestamps import DAY_MS
from memberstream.models.told import Told
from memberstream.models.wording import counted
from memberstream.stream.readout.finding import Guard, Other, Status
from memberstream.stream.readout.judging import Part
from memberstream.stream.readout.report import Report, Row
from memberstream.stream.readout.statistics import ALPHA
from memberstream.stream.readout.tables import VALUE_UNIT, weighting
from memberstream.stream.readout.wording import (
    day_of,
    joined,
    number,
    numbers,
    on_days,
    p_value,
    percent,
    percents,
    points,
    pointses,
)

WARNING = "Warning"
_PER_MEMBER = f" per member, {VALUE_UNIT}"
_NAMED = 3  # clusters in a sentence; the others are in the table


def sentences(report: Report, told: Sequence[Told] = ()) -> list[str]:
    """Return the sentences; `told`: what was told before, in its order."""
    found = [sentence for part in report.parts for sentence in _of_part(report, part, told)]
    total = report.total
    plain = ", unweighted" if any(weighting(part) and part.finding.effect is not None for part in report.parts) else ""
    if total.n:
        found.append(
            f"{counted(total.n, 'member was', 'members were')} shown {_names(report, report.campaigns)} until "
            f"{day_of(report.last_day)}; {total.hits:,} of them ({percent(total.rate)}{plain}) had at least one "
            f"{report.kind}."
        )
        if not total.hits:
            others = ", ".join(kind for kind in report.kinds if kind != report.kind)
            found.append(f"No {report.kind} of theirs is counted yet; what is: {others or 'impressions only'}.")
    else:
        found.append(f"Nobody was shown {_names(report, report.campaigns)} yet; all who are counted were held out.")
    if len(report.campaigns) > 1:
        found.append("Who was shown several of these campaigns counts in each.")
    if len(report.versions) > 1:
        found.append(
            f"Clusters of {', '.join(report.versions)} are added up by their ids: do they mean the same in all of them?"
        )
    if report.differ is not None:
        found.append(_differences(report))
    switched = sum(row.switched for row in report.rows)
    if switched:
        found.append(
            f"{switched:,} of those shown ({percent(switched / total.n)}) changed cluster afterwards; "
            "they count where they were."
        )
    for campaign, n in report.strays.items():
        found.append(
            f"{counted(n, 'member was', 'members were')} exposed to {campaign} in clusters or under a model that it "
            "isn't for; not counted here."
        )
    return found


def headline(report: Report, part: Part) -> str:
    """Return the finding of a family in one sentence."""
    finding = part.finding
    name = part.name if len(part.campaigns) > 1 else report.names[part.campaigns[0]]
    effect = finding.effect
    if effect is not None and finding.status.is_effect:
        did, by = ("raised", effect.difference) if effect.difference > 0 else ("lowered", -effect.difference)
        return (
            f"{name} {finding.status}: showing it {did} the rate of {finding.kind} by {_unsigned(points(by))} points "
            f"({pointses(effect.interval)}), from {percent(effect.held_out)} to {percent(effect.shown)}"
            f"{f', {weighting(part)}' if weighting(part) else ''}."
        )
    if finding.status is Status.UNTOLD:
        return f"What {name} caused {finding.status}: {finding.why}."
    if finding.status is Status.BROKEN:
        tail = (
            ""
            if effect is None
            else f" Asked for all the same: {points(effect.difference)} points, not to be believed."
        )
        return f"{WARNING}: {name} {finding.status}: {finding.why}.{tail}"
    of = "" if effect is None or effect.interval is None else f" ({pointses(effect.interval)} points)"
    return f"{name}: {finding.status} on {finding.kind}{of}; {finding.why}."


def _of_part(report: Report, part: Part, told: Sequence[Told]) -> list[str]:
    found = [headline(report, part)]
    finding, check = part.finding, part.check
    if check is not None and check.is_broken:
        wrong = [share for share in check.shares if share.is_broken] or list(check.shares[:1])
        places = [
            f"{share.name}{'' if share.day is None else f' on {day_of(share.day)}'}: "
            f"{percent(share.held_out / share.n)} of {share.n:,}, meant were {percent(share.meant)}"
            for share in wrong[:3]
        ]
        more = f"; and {len(wrong) - 3} more below" if len(wrong) > 3 else ""
        found.append(
            f"Held out were in {'; '.join(places)}{more}. Next: see whether services send impressions of those held "
            "out, too, and at the same moment; then begin a campaign with a new id."
        )
    if finding.effect is not None and finding.first_day is not None and finding.last_day is not None:
        found.append(
            f"That compares {counted(finding.effect.n_shown, 'member')} shown with {finding.effect.n_held_out:,} held "
            f"out ({joined([percent(share) for share in finding.holdouts])}), exposed "
            f"{on_days(finding.first_day, finding.last_day)} under unchanged terms."
        )
    if finding.status is Status.NONE_YET and finding.detectable is not None:
        found.append(
            f"An effect of {_unsigned(points(finding.detectable))} points would be claimed by now four times in five, "
            "if there were one."
        )
    found += [
        f"{cut.campaign}: since {day_of(cut.last_day)} {percent(cut.holdout)} are held out. Members exposed from "
        f"{day_of(cut.first_day)} until then aren't compared: their windows weren't over."
        for cut in part.cuts
    ]
    found += _clusters(report, part)
    found += [sentence for other in part.others for sentence in _other(other)]
    return found + _history(part, told)


def _clusters(report: Report, part: Part) -> list[str]:
    if len(part.clusters) < 2:
        return []
    names = {(row.campaign, row.cluster): row.name for row in report.rows}
    claimed = [found for found in part.clusters if found.effect.is_claimed and not found.effect.is_broken]
    if not claimed:
        return ["By cluster, no effect is shown yet."] if part.finding.status.is_effect else []
    largest = sorted(claimed, key=lambda found: -abs(found.effect.difference))[:_NAMED]
    each = [
        f"{points(found.effect.difference)} points in {names[found.campaign, found.cluster]} "
        f"({pointses(found.effect.interval)})"
        for found in largest
    ]
    more = f", and in {counted(len(claimed) - len(largest), 'more', 'more')}" if len(claimed) > len(largest) else ""
    rest = len(part.clusters) - len(claimed)
    others = f"; in {counted(rest, 'other', 'others')} none is shown yet" if rest else ""
    return [f"By cluster: {joined(each)}{more}{others}."]


def _other(other: Other) -> list[str]:
    effect = other.effect
    if effect is None or effect.is_broken:
        return []
    write, writes, unit = (
        (lambda x: number(x, sign=True), lambda x: numbers(x, sign=True), _PER_MEMBER)
        if other.is_value
        else (points, pointses, " points")
    )
    what = f"the value of {other.kind}" if other.is_value else f"the rate of {other.kind}"
    found = []
    if effect.is_claimed:
        did, by = ("raised", effect.difference) if effect.difference > 0 else ("lowered", -effect.difference)
        found.append(f"It also {did} {what} by {_unsigned(write(by))}{unit} ({writes(effect.interval)}).")
    if effect.may_be_repeats and other.times is not None:
        shown, held_out = (f"{times:.3g}" for times in other.times)
        did = "higher" if effect.difference > 0 else "lower"
        found.append(
            f"{what.capitalize()} is {did} by {_unsigned(write(abs(effect.difference)))}{unit} "
            f"({writes(effect.interval)}), but who had any had {shown} where it was shown and {held_out} where it was "
            "held out. Events that one group sends twice with new ids look the same, so no effect is claimed."
        )
    if other.guard is Guard.HELD and other.margin is not None and effect.interval is not None:
        found.append(
            f"Guardrail {other.kind} is held: it rose by {points(effect.interval.high)} points at most, where "
            f"{points(other.margin)} are allowed."
        )
    elif other.guard is Guard.BROKEN:
        found.append(
            f"{WARNING}: guardrail {other.kind} is broken: it rose by {points(effect.difference)} points "
            f"({pointses(effect.interval)}), where {points(other.margin)} are allowed."
        )
    elif other.guard is Guard.OPEN:
        so_far = "it is too early" if effect.interval is None else f"{pointses(effect.interval)} points"
        found.append(f"Whether guardrail {other.kind} holds isn't known yet ({so_far}).")
    return found


def _history(part: Part, told: Sequence[Told]) -> list[str]:
    """Return what was claimed before and isn't any more."""
    finding = part.finding
    claims = [t for t in told if t.family == part.name and t.status in (Status.WORKED, Status.LOWERED)]
    if not claims or (claims[-1].kind, claims[-1].status) == (finding.kind, finding.status):
        return []
    last = claims[-1]
    on = "" if last.kind == finding.kind else f" on {last.kind}"
    now = "" if not on or finding.kind is None else f" on {finding.kind}, by which it is judged now"
    of = "" if last.difference is None else f" ({points(last.difference)} points)"
    return [
        f"On {day_of(last.at_ms // DAY_MS)} it was told that it {last.status}{on}{of}. That is taken back: "
        f"{finding.status}{now}."
    ]


def _differences(report: Report) -> str:
    assert report.differ is not None  # noqa: S101  (narrows the type)
    rows = [row for row in report.rows if row.shown.n]
    are_clusters = len({row.cluster for row in rows}) == len(rows)  # else campaigns for the same ones
    what, p = "clusters" if are_clusters else "campaigns and clusters", _p(report.differ.p)
    if report.differ.p >= ALPHA:
        return f"Whether {what} differ can't be told (p {p})."
    if not any(pair.always is not None and pair.always.excludes_zero() for pair in report.pairs):
        return f"Whether {what} differ can't be told yet: p {p} would do if nobody looked before or after."
    most, least = (pick(rows, key=lambda row: row.rate or 0.0) for pick in (max, min))
    return (
        f"{what.capitalize()} differ (p {p}): most in {_rate(most)}, least in {_rate(least)}. "
        f"That is observed, not caused: they {'' if are_clusters else 'may '}hold different members."
    )


def _rate(row: Row) -> str:
    return f"{row.name} with {percent(row.rate)} ({percents(row.interval)})"


def _unsigned(text: str) -> str:
    return text.lstrip("+")


def _names(report: Report, campaigns: Sequence[str]) -> str:
    return " or ".join(report.names[campaign] for campaign in campaigns)


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
