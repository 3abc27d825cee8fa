"""Tables as HTML, for notebooks: what `_repr_html_` of results returns.

Law: every text is escaped, and nothing is fetched, styled by a sheet or run. So a result shows the same in every
notebook, light or dark, and a member's or cluster's name can't be more than a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_CELL = "text-align:{align};padding:0.1em 0.8em"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is text, aligned to the left, the others are numbers, aligned to the right."""
    head = "".join(_cell("th", i, text) for i, text in enumerate(heads))
    body = "".join(f"<tr>{''.join(_cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, i: int, text: str) -> str:
    return f'<{tag} style="{_CELL.format(align="right" if i else "left")}">{escape(text)}</{tag}>'


def title(strong: str, rest: str = "") -> str:
    """Return a line whose beginning stands out."""
    return f"<p><b>{escape(strong)}</b>{escape(rest)}</p>"


def notes(texts: Iterable[str]) -> str:
    """Return each text as a line."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def progress(what: str, done: int, total: int, note: str = "") -> str:
    """Return a bar of `done` of `total`; a total of 0 isn't known."""
    at = f' value="{done}" max="{total}"' if total else ""
    share = f" {done / total:.0%}" if total else f" {done:,}"
    return f"<p>{escape(what)} <progress{at}></progress>{share} {escape(note)}</p>"
