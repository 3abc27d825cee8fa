"""The report as one HTML page that needs nothing else: to send, to print, to keep."""

from __future__ import annotations

from html import escape

from stream.readout import plots
from stream.readout.report import Report
from stream.readout.summary import sentences
from stream.readout.tables import TextTable, causal, tables
from stream.readout.wording import day_of

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2328; max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem }
.note { color: #59636e; margin: .2rem 0 .6rem; font-size: .9rem }
.summary { background: #f6f8fa; border-left: 4px solid #0072B2; padding: .6rem 1rem }
h1, .summary { overflow-wrap: anywhere }
.summary p { margin: .4rem 0 }
.alarm { color: #b00020; font-weight: 600 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums }
th { text-align: right; font-weight: 600; border-bottom: 1px solid #818b98; vertical-align: bottom }
td { text-align: right; border-bottom: 1px solid #e6e8eb; white-space: nowrap }
th, td { padding: .3rem .7rem } th:first-child, td:first-child { text-align: left; padding-left: 0 }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; max-width: 24rem }
svg { max-width: 100%; height: auto }
details { margin-top: 1rem } summary { cursor: pointer }
"""


def to_html(report: Report) -> str:
    """Return the page."""
    name = ", ".join(report.campaigns)
    days = f"{day_of(report.first_day)} to {day_of(report.last_day)}"
    shown = tables(report)
    by_day = tables(report, by_day=True)[len(shown) :]
    effects = plots.effects(report)
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(name)}</h1>",
        f'<p class="note">{escape(report.kind)}, {days} (UTC), clusters of {escape(", ".join(report.versions))}</p>',
        f'<div class="summary">{"".join(_sentence(text) for text in sentences(report))}</div>',
        f"<h2>Rates</h2>{_note('shown and held out, with 95% intervals')}{plots.rates(report)}",
    ]
    if effects:
        note = f"{causal(report)}. Thick: 95% interval for one look; thin: for every look, all clusters together"
        parts.append(f"<h2>Effects</h2>{_note(note)}{effects}")
    parts += [
        f"<h2>Over time</h2>{_note('all until the end of each day; shaded: the interval that holds at every look')}",
        plots.over_time(report),
        *map(_table, shown),
        f"<details><summary>Day by day</summary>{''.join(map(_table, by_day))}</details>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _sentence(text: str) -> str:
    alarm = ' class="alarm"' if text.startswith("Warning") else ""
    return f"<p{alarm}>{escape(text)}</p>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _table(table: TextTable) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in table.heads)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in table.rows)
    alarm = ' class="alarm"' if table.is_alarm else ""
    return (
        f"<h2{alarm}>{escape(table.title)}</h2>{_note(table.note)}"
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
