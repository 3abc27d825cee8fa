"""`memberstream model publish`, `promote` and what else is done with published versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.list_version import is_list
from models.model import Model
from models.model import label as label_of
from models.registry import Version
from models.timestamps import format_ms
from stream.cli.console import CommandError, err, out, print_json, reports_errors, settings
from stream.cli.model_commands import File, moment, read
from stream.publishing import MAX_FLIPS, Publishing, find, this_user

Label = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="a published version", show_default=False)]
Name = Annotated[str, typer.Argument(help="a model's name", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Reason = Annotated[str, typer.Option(help="for the history")]
Force = Annotated[bool, typer.Option("--force", help="although a check objects")]


def publisher() -> Publishing:
    """Return what publishes for this process' user, by its settings."""
    return Publishing(settings(), this_user())


@reports_errors
def publish(
    file: File,
    wait: Annotated[
        bool, typer.Option("--wait", help="until all members are scored; ends with the clusters' sizes")
    ] = False,
    promote: Annotated[bool, typer.Option("--promote", help="wait (unless forced), then make it live")] = False,
    reason: Reason = "",
    force: Force = False,
) -> None:
    """Check a model file and publish it: running workers load it and score it beside the live version."""
    asyncio.run(_publish(read(file), wait, promote, reason, force))


async def _publish(model: Model, wait: bool, promote: bool, reason: str, force: bool) -> None:
    publishing = publisher()
    if await publishing.publish(model, reason=reason, force=force):
        out.print(f"[green]published[/] {model.label} as a candidate")
    else:
        out.print(f"{model.label} is published already, with the same content")
    if wait or (promote and not force):
        await follow(publishing, (await publishing.registry()).versions[model.label])
    if promote:
        await publishing.promote(model.name, model.version, reason=reason, force=force)
        out.print(f"[green]live[/] {model.label}")
    elif not wait:
        out.print(f"Next: memberstream model wait {model.label}, then memberstream model promote {model.label}")


@reports_errors
def wait(label: Label) -> None:
    """Follow the scoring of all members with a version; ends with the clusters' sizes."""

    async def run() -> None:
        publishing = publisher()
        entry = find(await publishing.registry(), label)
        await follow(publishing, entry)

    asyncio.run(run())


async def follow(publishing: Publishing, entry: Version, sizes: Mapping[int, int] | None = None) -> None:
    """Show how far all members are with a version until they are; then the clusters' sizes, counted unless known."""
    name = label_of(entry.name, entry.version)
    what = f"writing {name} to Redis" if is_list(entry.definition) else f"scoring all members with {name}"
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None, note="")
        most = 0
        async for coverage in publishing.wait(entry):
            most = max(most, coverage.remaining)
            done = coverage.n_partitions - len(coverage.waiting)
            note = f"{done} of {coverage.n_partitions} partitions"
            note += f", about {coverage.remaining:,} members left" if coverage.remaining else ""
            progress.update(task, total=most or None, completed=most - coverage.remaining, note=note)
    if sizes is None:
        sizes = await publishing.sizes(entry)
    out.print(f"{sum(sizes.values()):,} members {'on' if is_list(entry.definition) else 'scored with'} {name}")
    print_sizes(sizes, {cluster["id"]: cluster["name"] for cluster in entry.definition["clusters"]})


def print_sizes(sizes: Mapping[int, int], names: Mapping[int, str]) -> None:
    """Print how many members each cluster has."""
    total = sum(sizes.values())
    table = Table(box=None, pad_edge=False, show_header=False)
    for cluster, n in sorted(sizes.items()):
        share = n / total if total else 0.0
        name = names.get(cluster, "")
        table.add_row(escape(f"{cluster} {name}"), f"{n:,}", f"{share:.1%}", f"[cyan]{'█' * round(30 * share)}[/]")
    out.print(table)


@reports_errors
def promote(
    label: Label,
    reason: Reason = "",
    max_flips: Annotated[
        str, typer.Option(help="the share of members that may change their cluster, as 20% or 0.2")
    ] = f"{MAX_FLIPS:.0%}",
    force: Force = False,
) -> None:
    """Make a version the one that readers use: one write switches all of them."""

    async def run() -> None:
        publishing = publisher()
        entry = find(await publishing.registry(), label)
        await publishing.promote(
            entry.name, entry.version, reason=reason, max_flips=share("--max-flips", max_flips), force=force
        )
        out.print(f"[green]live[/] {entry.name}@{entry.version}. Back: memberstream model rollback {entry.name}")

    asyncio.run(run())


def share(option: str, text: str) -> float:
    """Return a share between 0 and 1, written as 20% or 0.2. Raises typer.BadParameter."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text}: expected a share such as 20% or 0.2", param_hint=option)
    return value


@reports_errors
def rollback(name: Name, reason: Reason = "") -> None:
    """Make the version live again that was so before."""
    version = asyncio.run(publisher().rollback(name, reason=reason))
    out.print(f"[green]live[/] {name}@{version}")


@reports_errors
def retire(label: Label, reason: Reason = "") -> None:
    """End the scoring of a version; its memberships go from Redis in the background. It can't be undone."""

    async def run() -> None:
        publishing = publisher()
        entry = find(await publishing.registry(), label)
        await publishing.retire(entry.name, entry.version, reason=reason)
        out.print(f"retired {entry.name}@{entry.version}")

    asyncio.run(run())


@reports_errors
def list_(json: Json = False) -> None:
    """List the published versions and what each is: candidate, live or retired."""
    registry = asyncio.run(publisher().registry())
    entries = sorted(registry.versions.values(), key=lambda entry: (entry.name, entry.version))
    if json:
        print_json([{"model": e.name, "version": e.version, "status": e.status} for e in entries])
        return
    if not entries:
        out.print("none yet. Next: memberstream model publish FILE")
        return
    table = Table("model", "status", "", box=None, pad_edge=False, header_style="dim")
    for entry in entries:
        table.add_row(
            f"{entry.name}@{entry.version}", entry.status, escape(str(entry.definition.get("description", "")))
        )
    out.print(table)


@reports_errors
def history(name: Name, json: Json = False) -> None:
    """Show what was done with a model's versions: when, by whom, why."""
    registry = asyncio.run(publisher().registry())
    steps = [step for step in registry.history if step.name == name]
    if json:
        print_json(
            [
                {
                    "at": format_ms(step.at_ms),
                    "action": step.action,
                    "version": step.version,
                    "actor": step.actor,
                    "reason": step.reason,
                    "forced": step.forced,
                }
                for step in steps
            ]
        )
        return
    if not steps:
        raise CommandError(f"nothing was ever done with {name}. Next: memberstream model list")
    table = Table("when", "what", "version", "who", "why", box=None, pad_edge=False, header_style="dim")
    for step in steps:
        forced = " (forced)" if step.forced else ""
        who, why = escape(step.actor), escape(step.reason)
        table.add_row(format_ms(step.at_ms), f"{step.action}{forced}", str(step.version), who, why)
    out.print(table)


@reports_errors
def live_at(
    name: Name, at: Annotated[str, typer.Argument(metavar="TIME", help="ISO 8601", show_default=False)]
) -> None:
    """Print the version of a model that was live at a time. Exit status 1 if none was."""
    version = asyncio.run(publisher().registry()).live_at(name, moment("TIME", at))
    out.print("none" if version is None else f"{name}@{version}")
    if version is None:
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "publish": publish,
    "wait": wait,
    "promote": promote,
    "rollback": rollback,
    "retire": retire,
    "list": list_,
    "history": history,
    "live-at": live_at,
}
