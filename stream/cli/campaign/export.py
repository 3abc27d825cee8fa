"""`memberstream campaign export`: a campaign's members as a file, for a library of one's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from memberstream.models.wording import counted
from memberstream.stream.authoring.exporting import FORMATS, exposed_members, write_rows
from memberstream.stream.cli.arguments import Id, Json, in_a_folder
from memberstream.stream.files.parquet import ParquetError, arrow
from memberstream.stream.readout.before import NEXT_AFTER_UPGRADE, counted_before
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, out, print_json, reports_errors, settings


@reports_errors
def export(
    campaign: Id,
    format_: Annotated[str, typer.Option("--format", help="csv or parquet")] = "csv",
    to: Annotated[
        Path | None,
        typer.Option("--out", help="the file; else ID.csv or ID.parquet", show_default=False, callback=in_a_folder),
    ] = None,
    json: Json = False,
) -> None:
    """Write a row for each member exposed to a campaign: when, where, and what it did since. It holds member ids."""
    if format_ not in FORMATS:
        raise typer.BadParameter(f"{format_}: expected {' or '.join(FORMATS)}", param_hint="--format")
    try:
        if format_ == "parquet":
            arrow()
    except ParquetError as error:
        raise CommandError(str(error)) from None
    path = to or Path(f"{campaign}.{format_}")
    in_a_folder(path)
    with bar("reading what members did") as meter:
        rows = asyncio.run(exposed_members(settings(), campaign, meter))
    if not rows:
        if before := counted_before(settings(), [campaign]):
            raise CommandError(f"{' '.join(before)} Nobody is counted since. {NEXT_AFTER_UPGRADE}")
        raise CommandError(f"{campaign}: nobody was exposed yet. Next: do services send impressions?")
    write_rows(rows, path, format_)
    if json:
        print_json({"campaign": campaign, "members": len(rows), "format": format_, "file": str(path)})
        return
    out.print(f"{path}: {counted(len(rows), 'member')} of {campaign}", markup=False)
