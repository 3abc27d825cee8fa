"""`memberstream campaign report`: did showing it help, in which clusters, and can that be relied on."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from memberstream.models.interaction import is_kind
from memberstream.models.told import Told
from memberstream.stream.authoring.steps import this_user
from memberstream.stream.authoring.telling import Findings, FindingsError
from memberstream.stream.cli.arguments import Json, an_id, in_a_folder
from memberstream.stream.cli.campaign.terms import campaigning_by_user
from memberstream.stream.readout.before import lacks
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.safe import escape
from memberstream.stream.terminal.table import print_table

if TYPE_CHECKING:
    from memberstream.stream.readout.report import Report
    from memberstream.stream.readout.tables import TextTable

_SENTENCE = 60  # characters of a cell that is a sentence, and wraps


@reports_errors
def report(
    campaigns: Annotated[
        list[str],
        typer.Argument(
            metavar="ID…",
            help="one campaign, or several side by side; those of a split come together",
            show_default=False,
            callback=an_id,
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="of interaction, for the rates; else the primary one", show_default=False)
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="day", help="show the effect day by day, too", show_default=False)
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="of members exposed until the end of this day, UTC", show_default=False),
    ] = None,
    although_broken: Annotated[
        bool, typer.Option("--although-broken", help="tell the effects of a broken holdout, marked in each place")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="write a page with plots", show_default=False, callback=in_a_folder)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    json: Json = False,
) -> None:
    """Report on campaigns: what showing them caused, rates per cluster, how far the numbers can be relied on."""
    if by not in (None, "day"):
        raise typer.BadParameter(f"{by}: expected day", param_hint="--by")
    if kind is not None and not is_kind(kind):
        raise typer.BadParameter(f"{kind}: expected a kind of interaction, such as click", param_hint="--kind")
    if csv and json:
        raise typer.BadParameter("either --csv or --json", param_hint="--csv")
    last_day = None if until is None else _day(until)
    try:
        from memberstream.stream.readout.asked import ask
        from memberstream.stream.readout.courses import ReadoutError
        from memberstream.stream.readout.csv_rows import to_csv
        from memberstream.stream.readout.page import to_html
        from memberstream.stream.readout.summary import sentences
    except ImportError as error:
        if not (what_is_wrong := lacks(error)):
            raise
        raise CommandError(what_is_wrong) from None
    options = settings()
    registry = asyncio.run(campaigning_by_user().registry())
    try:
        found, before = ask(options, registry, campaigns, kind, last_day, although_broken=although_broken)
    except ReadoutError as error:
        raise CommandError(str(error)) from None
    for sentence in before:
        err.print(f"note: {sentence}", markup=False)
    told = _remembered(found, is_whole=until is None and not although_broken)
    if html is not None:
        html.write_text(to_html(found, told), encoding="utf-8")
    if json:
        said = {"sentences": sentences(found, told), "told": [msgspec.structs.asdict(finding) for finding in told]}
        print_json({field.name: getattr(found, field.name) for field in dataclasses.fields(found)} | said)
    elif csv:
        out.out(to_csv(found, by_day=by is not None), end="", highlight=False)
    else:
        _print(found, told, by_day=by is not None)
        if html is not None:
            out.print(f"\npage: {html}", markup=False)


def _day(text: str) -> int:
    try:
        return date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        raise typer.BadParameter(f"{text}: expected a day such as 2026-03-31", param_hint="--until") from None


def _remembered(found: Report, *, is_whole: bool) -> list[Told]:
    """Return what was told before of these families, and write down what is told now, unless it is a part only."""
    from memberstream.stream.readout.finding import told_of

    findings = findings_log()
    now = [told_of(part.name, part.finding, time.time_ns() // 1_000_000, this_user()) for part in found.parts]

    async def run() -> list[Told]:
        before = await findings.read()
        if is_whole:
            await findings.tell(now, before)
        return [finding for finding in before if finding.family in {part.name for part in found.parts}]

    try:
        return asyncio.run(run())
    except FindingsError as error:
        err.print(f"note: what was told before isn't known, and this isn't written down: {error}", markup=False)
        return []


def findings_log() -> Findings:
    return Findings(settings())


def _print(found: Report, told: list[Told], *, by_day: bool) -> None:
    from memberstream.stream.readout.summary import WARNING, sentences
    from memberstream.stream.readout.tables import tables

    for sentence in sentences(found, told):
        out.print(sentence, style="bold red" if sentence.startswith(WARNING) else None, markup=False)
    for table in tables(found, told, by_day=by_day):
        colour = "bold red" if table.is_alarm else "bold"
        out.print(f"\n[{colour}]{escape(table.title)}[/]")
        out.print(table.note, style="dim", markup=False)
        _print_table(table)


def _print_table(table: TextTable) -> None:
    """Print a table whole, or as many of its columns as the terminal is wide; what goes to a file is whole."""
    widths = [min(_SENTENCE, max(map(len, column))) for column in zip(table.heads, *table.rows, strict=True)]
    n = len(widths)
    if out.is_terminal:
        n = max((n for n in range(1, n + 1) if sum(widths[:n]) + 2 * (n - 1) <= out.width), default=1)
    rows = [[f"[red]{escape(cell)}[/]" if "BROKEN" in row else escape(cell) for cell in row[:n]] for row in table.rows]
    print_table(table.heads[:n], rows, right=range(1, n), sentences=range(n))
    if left := [head for head in table.heads[n:] if head]:
        out.print(f"no room here for: {', '.join(left)}", style="dim", markup=False)
