"""The report's plots as SVG, to stand inside a page: no file, no font, no address of anything outside. Matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from stream.readout.report import Report, Row
from stream.readout.statistics import Interval, rate_interval

#: Okabe & Ito's colours: told apart by who doesn't see red or green, and, in this order, in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
_GREY = "#818b98"
_LONGEST = 32  # characters of a name beside a plot: longer ones would leave it no room
#: Rows drawn over time; more lines than colours can't be told apart.
_LINES = len(COLOURS)
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: selectable, in the page's font
    "svg.hashsalt": "memberstream",  # the same report gives the same bytes
    "text.parse_math": False,  # a cluster may be called $x$
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
}


def rates(report: Report) -> str:
    """Rates per cluster with their intervals; of those held out, too."""

    def draw(axis: Any) -> None:
        for place, row in enumerate(report.rows):
            _whisker(axis, place, row.rate, row.interval, COLOURS[0], "o", "shown" if not place else None)
        label: str | None = "held out"
        for place, row in enumerate(report.rows):
            if row.effect is not None:
                held_out = row.effect.held_out
                interval = rate_interval(held_out)
                _whisker(axis, place + 0.22, held_out.rate, interval, _GREY, "s", label)
                label = None
        _clusters(axis, report.rows)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_xlim(left=0)
        axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    return _svg(draw, 1.1 + 0.62 * len(report.rows))


def effects(report: Report) -> str:
    """Effects per cluster with the interval for one look (thick) and for every look (thin); "" without a holdout."""
    rows = [row for row in report.rows if row.effect is not None]
    if not rows:
        return ""

    def draw(axis: Any) -> None:
        axis.axvline(0, color="black", linewidth=1)
        for place, row in enumerate(rows):
            effect = row.effect
            if effect is not None:
                if effect.always is not None:
                    axis.plot([effect.always.low, effect.always.high], [place] * 2, color=COLOURS[2], linewidth=1.2)
                axis.plot([effect.interval.low, effect.interval.high], [place] * 2, color=COLOURS[2], linewidth=4)
                axis.plot(effect.difference, place, "o", color=COLOURS[2], markersize=9, markeredgecolor="white")
        _clusters(axis, rows)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
        axis.set_xlabel("percentage points, shown − held out")

    return _svg(draw, 1.3 + 0.5 * len(rows))


def over_time(report: Report) -> str:
    """Rates until the end of each day, with the intervals that hold at every look."""

    def draw(axis: Any) -> None:
        for row, colour in zip(report.rows[:_LINES], COLOURS, strict=False):
            days = [date.fromordinal(date(1970, 1, 1).toordinal() + day.day) for day in row.days]
            axis.plot(
                days, [day.rate for day in row.days], color=colour, label=_short(row.name), linewidth=1.8, marker="."
            )
            bands = [(when, day.always) for when, day in zip(days, row.days, strict=True) if day.always is not None]
            axis.fill_between(
                [when for when, _ in bands],
                [band.low for _, band in bands],
                [band.high for _, band in bands],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))  # more dates would touch beside a wide legend
        first, last = report.first_day, report.last_day
        axis.set_xlim(first - 0.5, last + 0.5)  # of a single day Matplotlib would show years
        axis.xaxis.set_major_formatter(lambda x, _: date.fromordinal(int(x) + date(1970, 1, 1).toordinal()).isoformat())
        axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    return _svg(draw, 3.6)


def _whisker(
    axis: Any, place: float, value: float, interval: Interval, colour: str, marker: str, label: str | None
) -> None:
    error = [[value - interval.low], [interval.high - value]]
    axis.errorbar(value, place, xerr=error, fmt=marker, color=colour, capsize=4, elinewidth=2, label=label)


def _clusters(axis: Any, rows: tuple[Row, ...] | list[Row]) -> None:
    axis.set_yticks(range(len(rows)), [_short(row.name) for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _svg(draw: Callable[[Any], None], height: float) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.2, height), layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]  # what stands before names a DTD on another machine
