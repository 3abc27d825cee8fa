"""The report's plots as SVG, to stand inside a page: no file, no font, no address of anything outside. Matplotlib.

Laws:
- What isn't in a finding isn't drawn: a broken holdout leaves no effect, and no rate of those held out.
- Ink and grid have the page's own colours, so a plot can be read in the dark, too.
- A plot is as narrow as a phone; on a wide screen two stand side by side.
- It has no styles of its own, only attributes: a page that forbids inline styles shows it as it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from memberstream.stream.readout.effect import Effect
from memberstream.stream.readout.judging import Part
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.statistics import Interval
from memberstream.stream.terminal.safe import one_line

#: Of Okabe & Ito: people who don't see red or green can tell them apart.
_OPEN, _EFFECT, _ALARM = "#E69F00", "#009E73", "#D55E00"
#: Stand for the page's colours, which a style sheet decides.
_INK, _GRID, _RATE = "#010203", "#040506", "#070809"
_PAGE = {_INK: "currentColor", _GRID: "var(--line)", _RATE: "var(--rate)"}
_LONGEST = 22  # characters of a name beside a plot: a longer one would leave the plot no room
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: selectable, in the page's font
    "svg.hashsalt": "memberstream",  # the same report gives the same bytes
    "text.parse_math": False,  # a cluster may be called $x$
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}
_EPOCH = date(1970, 1, 1).toordinal()


def rates(report: Report) -> str:
    """Rates of those shown with their intervals."""
    rows = [row for row in report.rows if row.rate is not None]
    if not rows:
        return ""

    def draw(axis: Any) -> None:
        for place, row in enumerate(rows):
            if row.rate is not None and row.interval is not None:
                _whisker(axis, place, row.rate, row.interval, _RATE)
        _names(axis, [row.name for row in rows])
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_xlim(left=0)

    return _svg(draw, 0.9 + 0.42 * len(rows))


def effects(report: Report, part: Part) -> str:
    """The overall effect and that of each cluster, with the intervals that hold at every look; "" if none is told."""
    overall = part.finding.effect
    if overall is None:
        return ""
    names = {(row.campaign, row.cluster): row.name for row in report.rows}
    found = [("all together", overall)]
    if len(part.clusters) > 1:
        found += [(names[its.campaign, its.cluster], its.effect) for its in part.clusters]

    def draw(axis: Any) -> None:
        axis.axvline(0, color=_INK, linewidth=1)
        for place, (_, effect) in enumerate(found):
            colour = _colour(effect)
            if effect.interval is not None:
                width = 5 if place == 0 else 3
                axis.plot([effect.interval.low, effect.interval.high], [place] * 2, color=colour, linewidth=width)
                axis.plot(effect.difference, place, "o", color=colour, markersize=8, markeredgecolor=_INK)
            else:
                axis.text(0, place - 0.12, "  too early", va="bottom")
        _names(axis, [name for name, _ in found])
        _points(axis.xaxis)
        axis.set_xlabel("percentage points, shown − held out")

    return _svg(draw, 1.1 + 0.42 * len(found))


def over_time(part: Part) -> str:
    """The overall effect of all members exposed until each day; "" if none is told, or not of two days."""
    looks, overall = part.looks, part.finding.effect
    if overall is None or len(looks) < 2:
        return ""

    def draw(axis: Any) -> None:
        days = [look.day for look in looks]
        colour = _colour(overall)
        axis.axhline(0, color=_INK, linewidth=1)
        told = [(look.day, look.difference, look.interval) for look in looks if look.interval is not None]
        if told:
            axis.fill_between(
                [day for day, _, _ in told],
                [interval.low for _, _, interval in told],
                [interval.high for _, _, interval in told],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
            axis.plot([day for day, _, _ in told], [difference for _, difference, _ in told], color=colour, marker=".")
        axis.set_xlim(days[0] - 0.5, days[-1] + 0.5)
        axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axis.xaxis.set_major_formatter(lambda x, _: date.fromordinal(int(x) + _EPOCH).isoformat())
        _points(axis.yaxis)
        axis.set_ylabel("percentage points")

    return _svg(draw, 2.6)


def _colour(effect: Effect) -> str:
    if effect.is_broken or (effect.is_claimed and effect.difference < 0):
        return _ALARM
    return _EFFECT if effect.is_claimed else _OPEN


def _points(axis: Any) -> None:
    axis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    axis.set_major_locator(MaxNLocator(5))


def _whisker(axis: Any, place: float, value: float, interval: Interval, colour: str) -> None:
    error = [[value - interval.low], [interval.high - value]]
    axis.errorbar(value, place, xerr=error, fmt="o", color=colour, capsize=4, elinewidth=2)


def _names(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [_short(one_line(name)) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")


def _short(name: str) -> str:
    """Leave out the middle of a long name: names of one campaign's clusters begin alike."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _svg(draw: Callable[[Any], None], height: float) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.8, height), layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]  # the text before it names a DTD on another machine
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # of lines' ends and joins, which are inherited
    svg = svg.replace("<svg ", '<svg stroke-linejoin="round" stroke-linecap="butt" ', 1)
    return re.sub(r"<[^<>]*>", _of_the_page, svg)


def _of_the_page(tag: re.Match[str]) -> str:
    """Return a tag with the page's colours and without a style. What stands between tags are names: they stay."""
    text = tag[0]
    for stand_in, colour in _PAGE.items():
        text = text.replace(stand_in, colour)
    return re.sub(r' style="([^"]*)"', _attributes, text)


def _attributes(style: re.Match[str]) -> str:
    """Return a style's declarations as attributes; the font is the page's."""
    pairs = [one.split(":", 1) for one in style[1].split(";")]
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs if name.strip() != "font-family")
