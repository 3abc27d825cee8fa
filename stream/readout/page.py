"""The report as one HTML page that needs nothing else: to send, to print, to keep.

It says first whether the campaign worked, then how the effect came about, then where; all else is folded.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from memberstream.models.told import Told
from memberstream.stream.readout import plots
from memberstream.stream.readout.effect import Effect
from memberstream.stream.readout.finding import Guard, Status
from memberstream.stream.readout.judging import Part
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.style import SHEET
from memberstream.stream.readout.summary import WARNING, sentences
from memberstream.stream.readout.tables import MARK, OBSERVED, TextTable, tables
from memberstream.stream.readout.wording import count, days_of, joined, on_days, percent, points, pointses
from memberstream.stream.terminal.safe import one_line

_CLASSES = {Status.WORKED: "good", Status.LOWERED: "bad", Status.BROKEN: "bad"}
_LONG = 60  # characters of a cell that is a sentence, and may wrap


def to_html(report: Report, told: Sequence[Told] = ()) -> str:
    """Return the page; `told`: what was told before."""
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{_escape(title(report))}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{SHEET}</style></head><body>",
        body(report, told),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def title(report: Report) -> str:
    """Return how the reported campaigns are called."""
    return ", ".join(report.names[campaign] for campaign in report.campaigns)


def body(report: Report, told: Sequence[Told] = ()) -> str:
    """Return what the page says, as HTML without scripts and styles of its own: it stands in other pages, too."""
    days = on_days(report.first_day, report.last_day)
    shown = tables(report, told, by_day=True)
    parts = [
        f"<h1>{_escape(title(report))}</h1>",
        _note(f"members exposed {days} (UTC), clusters of {', '.join(report.versions)}"),
        *(_verdict(part, with_name=len(report.parts) > 1) for part in report.parts),
        f'<div class="summary">{"".join(_sentence(text) for text in sentences(report, told))}</div>',
        f'<div class="plots">{"".join(_plots(report))}</div>',
        *(_table(table) for table in shown if not table.is_aside),
        *(_folded(table) for table in shown if table.is_aside),
    ]
    return "\n".join(parts)


def _verdict(part: Part, *, with_name: bool) -> str:
    finding = part.finding
    name = f"{part.name}: " if with_name else ""
    facts = []
    if finding.effect is not None and finding.first_day is not None and finding.last_day is not None:
        facts = [
            days_of(finding.first_day, finding.last_day),
            f"{joined([percent(share) for share in finding.holdouts])} held out",
            f"{count(finding.effect.n_held_out)} held out, {count(finding.effect.n_shown)} shown",
        ]
    items = "".join(f"<li>{_escape(fact)}</li>" for fact in facts)
    broken = [
        o.kind for o in part.others if o.guard is Guard.BROKEN and o.effect is not None and not o.effect.is_broken
    ]
    alarm = f'<p class="alarm">But a guardrail is broken: {_escape(joined(broken))}</p>' if broken else ""
    look = "" if broken and finding.status is Status.WORKED else _CLASSES.get(finding.status, "")  # not green
    return (
        f'<div class="verdict {look}"><b>{_escape(name + _capital(finding.status))}</b>{alarm}'
        f'<p class="effect">{_escape(_effect(finding.kind, finding.effect) or _capital(finding.why))}</p>'
        f'<ul class="facts">{items}</ul></div>'
    )


def _effect(kind: str | None, effect: Effect | None) -> str:
    if effect is None or effect.interval is None:
        return ""
    mark = MARK if effect.is_broken else ""
    return f"{kind}: {points(effect.difference)} points ({pointses(effect.interval)} at every look){mark}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plots(report: Report) -> Iterable[str]:
    for part in report.parts:
        name = f"{part.name}: " if len(report.parts) > 1 else ""
        mark = MARK if part.finding.effect is not None and part.finding.effect.is_broken else ""
        for title, note, plot in (
            ("Effect over time", "of all exposed until each day; shaded: at every look", plots.over_time(part)),
            (
                "Effect by cluster",
                "with intervals that hold at every look and all together",
                plots.effects(report, part),
            ),
        ):
            if plot:
                alarm = ' class="alarm"' if mark else ""
                yield f"<section><h2{alarm}>{_escape(name + title + mark)}</h2>{_note(note)}{plot}</section>"
    if plot := plots.rates(report):
        yield f"<section><h2>Rate of {_escape(report.kind)}</h2>{_note(f'of those shown; {OBSERVED}')}{plot}</section>"


def _sentence(text: str) -> str:
    alarm = ' class="alarm"' if text.startswith(WARNING) else ""
    return f"<p{alarm}>{_prose(text)}</p>"


def _note(text: str) -> str:
    return f'<p class="note">{_prose(text)}</p>'


def _table(table: TextTable) -> str:
    alarm = ' class="alarm"' if table.is_alarm else ""
    return f"<h2{alarm}>{_escape(table.title)}</h2>{_note(table.note)}{_cells(table)}"


def _folded(table: TextTable) -> str:
    return f"<details><summary>{_escape(table.title)}</summary>{_note(table.note)}{_cells(table)}</details>"


def _cells(table: TextTable) -> str:
    are_words = [any(row[i][:1].isalpha() for row in table.rows) for i in range(len(table.heads))]
    heads = "".join(
        f'<th class="left">{_escape(head)}</th>' if left else f"<th>{_escape(head)}</th>"
        for head, left in zip(table.heads, are_words, strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row, are_words, table.heads))}</tr>" for row in table.rows)
    return f'<div class="wide"><table class="cards"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(text: str, is_word: bool, head: str) -> str:
    how = ' class="text"' if len(text) > _LONG else ' class="left"' if is_word else ""
    return f'<td{how} data-label="{_escape(head)}">{_escape(text)}</td>'


def _prose(text: str) -> str:
    """Return a text as HTML in which no line ends inside a date."""
    return re.sub(r"\b\d{4}-\d\d-\d\d\b", r'<span class="day">\g<0></span>', _escape(text))


def _escape(text: str) -> str:
    """Return a text of others as one of HTML: no markup, and its control characters are shown."""
    return html.escape(one_line(text))
