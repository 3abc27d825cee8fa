"""`memberstream clusters upload`: who is in which cluster, from a file."""

from __future__ import annotations

import asyncio
import csv
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from memberstream.models.registry import Status
from memberstream.models.wording import counted, percent_of
from memberstream.stream.authoring.coverage import goes_on
from memberstream.stream.authoring.publishing import MAX_FLIPS
from memberstream.stream.authoring.steps import this_user
from memberstream.stream.authoring.uploading import Options, Uploaded, Uploading, cluster_names
from memberstream.stream.cli.arguments import Json, Name, Why, a_label, in_a_folder, share
from memberstream.stream.cli.model.versions import Scored, follow, print_sizes
from memberstream.stream.files.lists import Columns, Rejected, read_file
from memberstream.stream.files.pipes import rereadable
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.waiting import stoppable

app = typer.Typer(
    no_args_is_help=True, help="Lists of members with their clusters, for trying a model before it exists."
)


@app.callback()
def _clusters() -> None:
    """Without a callback typer would drop the name `upload`, because it is the only command."""


@app.command()
@reports_errors
def upload(
    name: Name,
    file: Annotated[
        Path, typer.Argument(help="CSV, .csv.gz or .parquet: member id, cluster", exists=True, show_default=False)
    ],
    id_column: Annotated[str | None, typer.Option(help="the ids' column, if the file has others, too")] = None,
    cluster_column: Annotated[
        str | None, typer.Option(help="the clusters' column, if the file has others, too")
    ] = None,
    names: Annotated[str, typer.Option(help="the clusters' names, as 1=low,2=medium,3=high")] = "",
    version: Annotated[int | None, typer.Option(help="default: the next free one", min=1)] = None,
    merge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@VERSION]",
            help="a list whose rows stay for members that the file doesn't name",
            callback=a_label,
        ),
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave rows out that can't be taken")] = False,
    rejected: Annotated[
        Path | None,
        typer.Option(help="write all rows that can't be taken to this file", show_default=False, callback=in_a_folder),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, write nothing")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="until all of it is in Redis")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="wait, then make it live")] = False,
    max_flips: Annotated[
        str, typer.Option(help="with --promote: the share of members that may change their cluster")
    ] = f"{MAX_FLIPS:.0%}",
    description: Annotated[str, typer.Option(help="what the list is")] = "",
    reason: Why = "",
    json: Json = False,
) -> None:
    """Upload a list as a version of a model. It is compared, promoted and rolled back like any other version."""
    options = Options(name, version, description, _names(names), merge, skip_bad, reason)
    flips = share("--max-flips", max_flips)
    columns = Columns(id_column, cluster_column)
    with ExitStack() as stack:
        with stoppable("nothing was published. Next: run it again"):
            source = stack.enter_context(rereadable(file))  # it is read up to three times
        next(read_file(source, columns), None)  # a file that isn't one, or lacks a column, is said at once
        writer = None
        if rejected is not None:
            writer = csv.writer(stack.enter_context(rejected.open("w", newline="", encoding="utf-8")))
            writer.writerow(["line", "reason"])

        def on_rejected(row: Rejected) -> None:
            if writer is not None:
                writer.writerow(row)

        remains = stack.enter_context(stoppable("nothing was published. Next: run it again"))
        with bar(f"checking {file.name}") as meter:
            checking = Uploading(settings(), this_user(), on_rejected, meter)
            rows = read_file(source, columns)
            outcome = asyncio.run(checking.check(rows, options) if dry_run else checking.examine(rows, options))
        if not dry_run:
            if promote:
                asyncio.run(checking.refuse_stranding(outcome, options))
            remains.text = (
                f"the upload of {outcome.label} isn't finished; its version may be used up. "
                f"Next: memberstream model history {name}; if it isn't there, run it again"
            )
            with bar(f"uploading {file.name}") as meter:
                uploading = Uploading(settings(), this_user(), on_progress=meter)
                outcome = asyncio.run(uploading.upload(read_file(source, columns), options))
    told = _as_json(outcome)
    if not json:
        _print(outcome, options, dry_run)
    if dry_run:
        told |= {"status": "would be a candidate", "moved": outcome.moved, "held": outcome.held}
    elif wait or promote:
        with stoppable(goes_on(outcome.label)):
            scored = asyncio.run(_finish(uploading, outcome, options, promote, flips))
        told |= scored.as_json() | {"status": Status.LIVE if promote else Status.CANDIDATE}
        if not json:
            scored.show()
            if promote:
                out.print(f"[green]live[/] {outcome.label}")
    if json:
        print_json(told)
    if dry_run:
        raise typer.Exit(1 if outcome.n_rejected and not skip_bad else 0)
    if not (wait or promote or json):
        out.print(f"Next: memberstream model wait {outcome.label}, then memberstream model promote {outcome.label}")


async def _finish(uploading: Uploading, outcome: Uploaded, options: Options, promote: bool, flips: float) -> Scored:
    publishing = uploading.publishing
    entry = (await publishing.registry()).versions[outcome.label]
    scored = await follow(publishing, entry, outcome.sizes)
    if promote:
        await uploading.promote(entry, reason=options.reason, max_flips=flips)
    return scored


def _as_json(outcome: Uploaded) -> dict[str, Any]:
    model, _, version = outcome.label.partition("@")
    return {
        "model": model,
        "version": int(version),
        "status": Status.CANDIDATE,
        "members": outcome.n_rows,
        "clusters": outcome.sizes,
        "kept": outcome.kept,
        "repeated": outcome.repeated,
        "rejected": outcome.n_rejected,
        "problems": [{"line": line, "reason": why} for line, why in outcome.rejected],
    }


def _print(outcome: Uploaded, options: Options, is_dry: bool) -> None:
    for line, why in outcome.rejected:
        err.print(f"line {line}: {why}", markup=False)
    more = outcome.n_rejected - len(outcome.rejected)
    if more:
        err.print(f"… and {more:,} more, all of them with --rejected FILE")
    if is_dry and outcome.n_rejected and not options.skip_bad:
        out.print(
            f"{counted(outcome.n_rows, 'member')}, nothing would be published: correct the rows, or leave them out "
            "(--skip-bad)"
        )
    else:
        done = "would be published" if is_dry else "published"
        out.print(f"{counted(outcome.n_rows, 'member')}, {done} as the candidate [bold]{outcome.label}[/]")
    if n := outcome.n_rejected:
        out.print(f"  {counted(n, 'row')} can't be taken")
    if n := outcome.repeated:
        out.print(f"  {counted(n, 'row repeats', 'rows repeat')} an earlier one")
    if n := outcome.kept:
        out.print(f"  {counted(n, 'member')} kept from {options.merge}")
    if is_dry:
        if outcome.held:
            moved = (
                f"{outcome.moved:,} of {counted(outcome.held, 'member')} ({percent_of(outcome.moved, outcome.held)})"
            )
            out.print(f"  {moved} would change their cluster or lose it")
        print_sizes(outcome.sizes, options.names)


def _names(text: str) -> dict[int, str]:
    """Return cluster → name of 1=low,2=high. Raises typer.BadParameter."""
    try:
        return cluster_names(text)
    except PublishError as error:
        raise typer.BadParameter(str(error), param_hint="--names") from None
