"""A bar on the terminal that shows how far something is; where standard error isn't a terminal, nothing.

What only wants colours (FORCE_COLOR, as a notebook's kernel sets it) is no terminal: a bar would be printed again and
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from memberstream.stream.terminal.output import err


class Bar:
    """A bar; also a `Meter`."""

    def __init__(self, bars: Progress, what: str) -> None:
        self._bars = bars
        self._task = bars.add_task(what, total=None, note="")

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is. `note`: what else there is to say; a total of 0 isn't known."""
        self._bars.update(self._task, completed=done, total=total or None, note=note)


@contextmanager
def bar(what: str) -> Iterator[Bar]:
    """Show a bar for as long as `what` takes."""
    says, notes = (
        TextColumn(text, markup=False, table_column=Column(overflow="fold"))  # a narrow terminal cuts nothing
        for text in ("{task.description}", "{task.fields[note]}")
    )
    columns = says, BarColumn(), TaskProgressColumn(), notes
    with Progress(*columns, TimeElapsedColumn(), console=err, disable=not err.file.isatty()) as bars:
        yield Bar(bars, what)
