"""What documents hold at the places that a model reads, as a table and in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from memberstream.models.coverage import Coverage, misfits
from memberstream.models.wording import counted
from memberstream.stream.terminal.output import out
from memberstream.stream.terminal.safe import escape
from memberstream.stream.terminal.table import print_table

_MOST_ROWS = 40  # of a table; --json has all


def print_coverage(found: Sequence[Coverage], *, is_refused: bool) -> None:
    """Print a row for each place, those that don't fit first if there are too many; then what to do about these.

    `is_refused`: whether an error is to follow, which names the places where it is often so.
    """
    rows = found if len(found) <= _MOST_ROWS else [*misfits(found), *(one for one in found if not one.n_misfits)]
    heads = "predictor", "place", "usable", "absent", "null", "wrong type", "no time meant"
    table = []
    for one in rows[:_MOST_ROWS]:
        counts = (one.n_usable, one.n_absent, one.n_null)
        bad = (f"[red]{n:,}[/]" if n else "0" for n in (one.n_wrong_type, one.n_implausible))
        table.append([escape(one.predictor), escape(one.place), *(f"{n:,}" for n in counts), *bad])
    print_table(heads, table, right=range(2, len(heads)))
    if len(found) > _MOST_ROWS:
        out.print(f"{counted(len(found) - _MOST_ROWS, 'more place')}, with --json")
    print_misfits(one for one in found if not (is_refused and one.misfits_often))


def print_misfits(found: Iterable[Coverage], of: str = "", console: Console = out) -> None:
    """Print the places at which something doesn't fit, each with what to do. `of`: the version that reads them."""
    for one in misfits(found):
        text = f"{one.predictor}: {one.told}. Next: {one.remedy}"
        console.print(f"[yellow]doesn't fit:[/] {escape(f'{of} {text}'.strip())}")
