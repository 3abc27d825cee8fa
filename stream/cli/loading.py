"""`memberstream events load`: whole documents of many members, from files into the topic of change events."""

from __future__ import annotations

import asyncio
import csv
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from memberstream.models.event import FUTURE_TOLERANCE_MS
from memberstream.models.wording import counted
from memberstream.stream.authoring.loading import Loaded, Loading, Rejected
from memberstream.stream.cli.arguments import Json, in_a_folder, moment
from memberstream.stream.files.documents import Columns
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.waiting import Waiting, stoppable

_SHOWN = 20  # bad rows printed one by one; --rejected has all


@reports_errors
def load(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Parquet, or one JSON object a line: a member each", exists=True, dir_okay=False, show_default=False
        ),
    ],
    as_of: Annotated[
        str | None, typer.Option(help="when the files were true; ms of it are the version", show_default=False)
    ] = None,
    version_column: Annotated[
        str | None, typer.Option(help="the column with each row's version, instead", show_default=False)
    ] = None,
    id_column: Annotated[str, typer.Option(help="the column with the member ids")] = "member_id",
    rate: Annotated[
        float | None,
        typer.Option(min=1, help="rows a second at most; default: no limit", show_default=False),
    ] = None,
    rejected: Annotated[
        Path | None,
        typer.Option(help="write all rows that can't be taken to this file", show_default=False, callback=in_a_folder),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="send all rows; don't look through the topic's last 24 h for an earlier run")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check all rows, send none")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="until workers have applied all of it")] = False,
    json: Json = False,
) -> None:
    """Load whole documents of members, a row each. Repeat it after a crash: it goes on where it ended.

    A row changes nothing of a member that has had a newer version. Exit status 1 if a row can't be taken; the others
    are. Synthetic members to try it with: memberstream load.
    """
    if (as_of is None) == (version_column is None):
        raise CommandError("expected --as-of TIME or --version-column NAME. Next: give the time of the snapshot")
    as_of_ms = None if as_of is None else moment("--as-of", as_of)
    if as_of_ms is not None and as_of_ms > time.time_ns() // 1_000_000 + FUTURE_TOLERANCE_MS:
        raise CommandError(f"--as-of {as_of} is in the future. Next: give the time of the snapshot")
    bad: list[Rejected] = []
    with ExitStack() as stack:
        writer = None
        if rejected is not None:
            writer = csv.writer(stack.enter_context(rejected.open("w", newline="", encoding="utf-8")))
            writer.writerow(["file", "row", "reason"])

        def on_rejected(row: Rejected) -> None:
            if len(bad) < _SHOWN:
                bad.append(row)
            if writer is not None:
                writer.writerow(row)

        loading = Loading(settings(), files, Columns(id_column, version_column), as_of_ms, on_rejected)
        with bar("checking" if dry_run else "loading") as meter:

            def looking(done: int, total: int) -> None:
                meter(done, total, "" if anew else "looking for an earlier run")

            with stoppable("not all rows are sent. Next: run it again: it goes on where it ended"):
                asyncio.run(loading.check(meter) if dry_run else loading.load(rate, meter, looking, is_anew=anew))
    if not json:
        _print(loading.outcome, bad, dry_run, json)
    if wait and not dry_run:
        remains = "all rows are sent, and the workers go on. Next: memberstream doctor"
        with stoppable(remains), bar("the workers apply it") as meter:
            asyncio.run(loading.level(meter, Waiting()))
        if not json:
            out.print("the workers have applied all of it")
    if json:  # whoever reads it may rely on what was asked for
        _print(loading.outcome, bad, dry_run, json)
    if loading.outcome.rejected:
        raise typer.Exit(1)


def _print(outcome: Loaded, bad: list[Rejected], dry_run: bool, json: bool) -> None:
    if json:
        print_json(
            {
                "would_send" if dry_run else "sent": outcome.sent,
                "there_before": outcome.there,
                "rejected": outcome.rejected,
                "problems": [{"file": str(row.file), "row": row.row, "reason": row.why} for row in bad],
            }
        )
        return
    for file, number, why in bad:
        err.print(f"{file}, row {number}: {why}", markup=False)
    if (more := outcome.rejected - len(bad)) > 0:
        err.print(f"… and {more:,} more, all of them with --rejected FILE")
    done = "would be sent" if dry_run else "sent"
    out.print(f"{counted(outcome.sent, 'row')} {done} to {settings().topic}")
    if outcome.there:
        out.print(f"  {counted(outcome.there, 'row was', 'rows were')} there already, from an earlier run")
    if outcome.rejected:
        out.print(f"  {counted(outcome.rejected, 'row')} can't be taken")
        err.print("Next: correct these rows and load them as a file of their own, with the same version")
