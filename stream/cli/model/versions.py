"""`memberstream model publish`, `promote` and whatever else is done with published versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from memberstream.models.coverage import Coverage as Reading
from memberstream.models.coverage import misfits
from memberstream.models.model import Model
from memberstream.models.registry import Registry, Status, Version
from memberstream.models.timestamps import format_ms
from memberstream.models.wording import counted, percent_of
from memberstream.stream.authoring.coverage import Coverage, awaited, goes_on, held_advice, waiting_text
from memberstream.stream.authoring.history import step_as_json
from memberstream.stream.authoring.publishing import MAX_FLIPS, Publishing
from memberstream.stream.authoring.steps import find, this_user
from memberstream.stream.cli.arguments import Json, Label, Name, Why, moment, share
from memberstream.stream.cli.history import print_steps
from memberstream.stream.cli.model.files import File, read
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.coverage import print_misfits
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.safe import escape
from memberstream.stream.terminal.table import print_table
from memberstream.stream.terminal.waiting import Remains, Waiting, stoppable

Force = Annotated[bool, typer.Option("--force", help="although a check objects")]


def publisher() -> Publishing:
    """Return the `Publishing` of this process: its user, its settings."""
    return Publishing(settings(), this_user())


@reports_errors
def publish(
    file: File,
    wait: Annotated[
        bool, typer.Option("--wait", help="until all members are scored; ends with the clusters' sizes")
    ] = False,
    promote: Annotated[bool, typer.Option("--promote", help="wait (unless forced), then make it live")] = False,
    reason: Why = "",
    force: Force = False,
    json: Json = False,
) -> None:
    """Check a model file and publish it: running workers load it and score it beside the live version."""
    model = read(file)
    with stoppable(f"{model.label} wasn't published. Next: publish it again") as stop:
        asyncio.run(_publish(model, stop, wait=wait, promote=promote, reason=reason, force=force, json=json))


async def _publish(
    model: Model, stop: Remains, *, wait: bool, promote: bool, reason: str, force: bool, json: bool
) -> None:
    publishing = publisher()
    if promote and not force:
        await publishing.refuse_stranding(model.name, [cluster.id for cluster in model.clusters])
    published = await publishing.publish(model, reason=reason, force=force)
    stop.text = goes_on(model.label)
    told = version_as_json(published.version) | {"is_new": published.is_new, "cost": published.cost or None}
    if not json and published.is_new:
        out.print(f"[green]published[/] {model.label} as a candidate")
        if published.cost:
            out.print(f"cost: {published.cost}", markup=False)
    elif not json:
        out.print(f"{model.label} is published already, with the same content")
    try:
        if wait or (promote and not force):
            scored = await follow(publishing, published.version)
            told |= scored.as_json()
            if not json:
                scored.show()
        if promote:
            await publishing.promote(model.name, model.version, reason=reason, force=force)
            told["status"] = Status.LIVE
            if not json:
                out.print(f"[green]live[/] {model.label}")
    except PublishError as error:
        raise PublishError(f"{model.label} is published ({published.version.status}), but: {error}") from None
    if not wait and not promote and not json:
        out.print(f"Next: memberstream model wait {model.label}, then memberstream model promote {model.label}")
    if json:
        print_json(told)


@reports_errors
def wait(label: Label, json: Json = False) -> None:
    """Follow the scoring of all members with a version; ends with the clusters' sizes."""

    async def run() -> Scored:
        publishing = publisher()
        return await follow(publishing, find(await publishing.registry(), label))

    with stoppable(f"the workers go on. Next: memberstream model wait {label}"):
        scored = asyncio.run(run())
    if json:
        print_json(version_as_json(scored.version) | scored.as_json())
    else:
        scored.show()


def version_as_json(version: Version) -> dict[str, Any]:
    """Return which version it is, and what: candidate, live or retired."""
    return {"model": version.name, "version": version.version, "status": version.status}


@dataclass(frozen=True, slots=True)
class Scored:
    """A version by which all members are scored: the clusters' sizes, and what of the documents didn't fit."""

    version: Version
    coverage: Coverage
    sizes: Mapping[int, int]
    misfits: Sequence[Reading]

    def as_json(self) -> dict[str, Any]:
        return {
            "members": sum(self.sizes.values()),
            "clusters": self.sizes,
            "events_waiting": self.coverage.events,
            "partitions_untold": self.coverage.untold,
            "misfits": misfits(self.misfits),
        }

    def show(self) -> None:
        members = counted(sum(self.sizes.values()), "member")
        is_list = self.version.definition.is_list
        out.print(f"{members} {'on' if is_list else 'scored with'} {self.version.label}")
        print_waiting(self.coverage)
        print_sizes(self.sizes, self.version.definition.clusters)
        print_misfits(self.misfits)


async def follow(publishing: Publishing, entry: Version, sizes: Mapping[int, int] | None = None) -> Scored:
    """Show how far a version is until all members are scored. Its clusters' sizes are counted, unless known."""
    name = entry.label
    what = f"writing {name} to Redis" if entry.definition.is_list else f"scoring all members with {name}"
    waiting = Waiting()
    with bar(what) as shown:
        most, is_said = 0, False
        async for coverage in publishing.wait(entry):
            most = max(most, coverage.remaining)
            if coverage.held and not is_said:
                is_said = True
                err.print(f"waiting, but {held_advice(coverage)}")
            if not coverage.held:
                waiting(awaited(coverage))
            done = coverage.n_partitions - len(coverage.waiting)
            note = f"{done} of {counted(coverage.n_partitions, 'partition')}"
            note += f", about {counted(coverage.remaining, 'member')} left" if coverage.remaining else ""
            note += f", {counted(coverage.unscored, 'member')} to be found" if coverage.unscored else ""
            note += ", members are being counted" if coverage.uncounted else ""
            note += f", {counted(coverage.events, 'event waits', 'events wait')}" if coverage.events else ""
            shown(most - coverage.remaining, most, note)
    if sizes is None:
        sizes = await publishing.sizes(entry)
    return Scored(entry, coverage, sizes, await publishing.coverage(entry))


def print_waiting(coverage: Coverage) -> None:
    """Print how many events wait, if any do or if that isn't known."""
    if text := waiting_text(coverage):
        out.print(text)


def print_sizes(sizes: Mapping[int, int], names: Mapping[int, str]) -> None:
    """Print how many members each cluster has."""
    total = sum(sizes.values())
    rows = []
    for cluster, n in sorted(sizes.items()):
        bar = "█" * round(30 * n / total) if total else ""
        name = names.get(cluster, "")
        rows.append((escape(f"{cluster} {name}"), f"{n:,}", percent_of(n, total), f"[cyan]{bar}[/]"))
    print_table((), rows)


@reports_errors
def promote(
    label: Label,
    reason: Why = "",
    max_flips: Annotated[
        str, typer.Option(help="the share of members that may change their cluster, as 20% or 0.2")
    ] = f"{MAX_FLIPS:.0%}",
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a version the one that readers use: one write switches all of them."""
    flips = share("--max-flips", max_flips)

    async def run() -> None:
        publishing = publisher()
        registry = await publishing.registry()
        entry = find(registry, label)
        coverage = await publishing.promote(entry.name, entry.version, reason=reason, max_flips=flips, force=force)
        before = registry.live.get(entry.name)
        if json:
            print_json(version_as_json(entry) | {"status": Status.LIVE, "before": before})
            return
        back = f". Back: memberstream model rollback {entry.name}" if before is not None else ""
        out.print(f"[green]live[/] {entry.label}{back}")
        if coverage is not None:
            print_waiting(coverage)

    asyncio.run(run())


@reports_errors
def rollback(name: Name, reason: Why = "", json: Json = False) -> None:
    """Make the version live again that was so before."""
    version = asyncio.run(publisher().rollback(name, reason=reason))
    if json:
        print_json({"model": name, "version": version, "status": Status.LIVE})
        return
    out.print(f"[green]live[/] {name}@{version}")


@reports_errors
def retire(label: Label, reason: Why = "", json: Json = False) -> None:
    """End the scoring of a version. Its memberships are removed from Redis in the background. It can't be undone."""

    async def run() -> None:
        publishing = publisher()
        entry = find(await publishing.registry(), label)
        await publishing.retire(entry.name, entry.version, reason=reason)
        if json:
            print_json(version_as_json(entry) | {"status": Status.RETIRED})
        else:
            out.print(f"retired {entry.label}")

    asyncio.run(run())


@reports_errors
def list_(json: Json = False) -> None:
    """List the published versions and what each is: candidate, live or retired."""
    registry = asyncio.run(publisher().registry())
    entries = sorted(registry.versions.values(), key=lambda entry: (entry.name, entry.version))
    _say_set_aside(registry)
    if json:
        print_json([version_as_json(entry) for entry in entries])
        return
    if not entries:
        out.print("none yet. Next: memberstream model publish FILE")
        return
    rows = [(entry.label, entry.status, escape(entry.definition.description)) for entry in entries]
    print_table(("model", "status", "description"), rows, sentences=(2,))


def _say_set_aside(registry: Registry) -> None:
    """Tell, beside the results, which records of the log aren't steps, and whether it isn't complete."""
    if not registry.is_complete:
        err.print("[yellow]the models' log was begun anew and isn't complete.[/] Next: memberstream model complete-log")
    if not registry.n_set_aside:
        return
    err.print(
        f"[yellow]the models' log: {counted(registry.n_set_aside, 'record is', 'records are')} set aside:[/] no steps. "
        'Next: find who writes there (docs/operations.md, "Models")'
    )
    for one in list(registry.set_aside)[-10:]:
        err.print(f"  offset {one.offset}: {escape(one.why)}")


@reports_errors
def history(name: Name, json: Json = False) -> None:
    """Show what was done with a model's versions: when, by whom, why."""
    registry = asyncio.run(publisher().registry())
    steps = [step for step in registry.history if step.name == name]
    if json:
        print_json([step_as_json(step, version=step.version) for step in steps])
        return
    if not steps:
        raise CommandError(f"nothing was ever done with {name}. Next: memberstream model list")
    print_steps("version", [(step, str(step.version)) for step in steps])


@reports_errors
def live_at(
    name: Name,
    at: Annotated[str, typer.Argument(metavar="TIME", help="ISO 8601", show_default=False)],
    json: Json = False,
) -> None:
    """Print the version of a model that was live at a time. Exit status 1 if none was."""
    at_ms = moment("TIME", at)
    version = asyncio.run(publisher().registry()).live_at(name, at_ms)
    if json:
        print_json({"model": name, "version": version, "at": format_ms(at_ms)})
    else:
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
