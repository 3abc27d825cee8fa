"""Tables. Laws:

- Nothing is cut: no number, date, id or name ever ends in an ellipsis.
- What isn't a terminal has no width: each row is one line, as wide as it is, for `grep` and `awk`.
- A terminal that is too narrow folds the columns of sentences; if that isn't enough, each row becomes some lines, with
  the head beside each cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from memberstream.stream.terminal.output import out
from memberstream.stream.terminal.safe import SafeConsole, one_line, visible

_GAP = "  "
_FOLDED = 20  # columns: a narrower sentence can't be read


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[int] = (),
    sentences: Iterable[int] = (),
    to: SafeConsole = out,
) -> None:
    """Print rows of cells, which are Rich's markup: texts of others are escaped before.

    Args:
        heads: of the columns, as they are: no markup, and control characters are shown; () prints none.
        right: columns whose cells end at one edge: numbers.
        sentences: columns that may be folded.
    """
    table = [[Text.from_markup(visible(cell)) for cell in row] for row in rows]
    head = [Text(one_line(name), style="dim") for name in heads]
    widths = [max(cell.cell_len for cell in column) for column in zip(*([head] if head else []), *table, strict=True)]
    shrunk = _shrunk(widths, frozenset(sentences), to.width) if to.is_terminal else widths
    if shrunk is None:
        for row in table:
            _print_lines(head, row, to)
        return
    for row in ([head] if head else []) + table:
        _print_row(row, shrunk, frozenset(right), to)


def _shrunk(widths: Sequence[int], sentences: frozenset[int], room: int) -> list[int] | None:
    """Return widths that fit; None if there are none."""
    found = list(widths)
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - room
    for i in sorted(sentences, key=lambda i: -widths[i]):
        less = min(max(over, 0), max(found[i] - _FOLDED, 0))
        found[i] -= less
        over -= less
    return found if over <= 0 else None


def _print_row(row: Sequence[Text], widths: Sequence[int], right: frozenset[int], to: SafeConsole) -> None:
    parts = [_folded(cell, width, to) for cell, width in zip(row, widths, strict=True)]
    for n in range(max(map(len, parts), default=0)):
        line = Text()
        for i, (part, width) in enumerate(zip(parts, widths, strict=True)):
            cell = part[n] if n < len(part) else Text()
            padding = " " * (width - cell.cell_len)
            line.append_text(Text(padding) + cell if i in right else cell + Text(padding))
            line.append(_GAP)
        line.rstrip()
        to.print(line)


def _folded(cell: Text, width: int, to: SafeConsole) -> list[Text]:
    if cell.cell_len <= width:
        return [cell]
    lines = list(cell.wrap(to, width, overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines


def _print_lines(heads: Sequence[Text], row: Sequence[Text], to: SafeConsole) -> None:
    """Print a row as lines: its first cell, then the others, each with its head. Bars, which have no head, are left."""
    if not heads:
        line = Text(_GAP).join(row)
        line.rstrip()
        to.print(line)
        return
    if row[0].plain:
        to.print(row[0])
    for head, cell in zip(heads[1:], row[1:], strict=True):
        if head.plain and cell.plain.strip():
            to.print(Text(_GAP) + head + Text(": ") + cell)
