"""`memberstream state …`: members' states to files, and back onto a broker that has lost them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from memberstream.models.wording import counted
from memberstream.stream.authoring.snapshots import Snapshots
from memberstream.stream.cli.arguments import Json, Yes
from memberstream.stream.files.snapshot import read_manifest
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, confirm, out, print_json, reports_errors, settings
from memberstream.stream.terminal.waiting import stoppable

app = typer.Typer(no_args_is_help=True, help="Snapshots of members' states (docs/disaster.md).")
Directory = Annotated[Path, typer.Argument(help="of the snapshot", show_default=False)]


@app.command()
@reports_errors
def snapshot(directory: Directory, json: Json = False) -> None:
    """Write all members' states to a new directory, while workers run. It holds personal data."""
    unfinished = f"{directory} isn't whole. Next: remove it, and run this again"
    with stoppable(unfinished), bar("reading the changelog") as progress:
        manifest = asyncio.run(Snapshots(settings()).take(directory, progress))
    n_members = sum(part.members for part in manifest.partitions)
    if json:
        parts = [
            {"partition": number, "members": part.members, "next_offset": part.next_offset}
            for number, part in enumerate(manifest.partitions)
        ]
        told = {"directory": str(directory), "taken_at": manifest.taken_at, "members": n_members}
        print_json(told | {"partitions": parts})
        return
    out.print(
        f"{counted(n_members, 'member')} of {counted(len(manifest.partitions), 'partition')} in {directory}, as of "
        f"{manifest.taken_at}",
        markup=False,
    )
    for number, part in enumerate(manifest.partitions):
        out.print(f"partition {number}: {counted(part.members, 'member')}, events applied below {part.next_offset}")


@app.command()
@reports_errors
def restore(
    directory: Directory,
    new_topic: Annotated[
        bool | None,
        typer.Option(
            "--new-topic/--same-topic",
            help="whether the topic of events was created again since the snapshot; needed where topics have no ids",
            show_default=False,
        ),
    ] = None,
    other_group: Annotated[bool, typer.Option("--other-group", help="also a snapshot of another group")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Write a snapshot to the changelog of an installation that has lost its own. A changelog with records is refused.

    No worker may run meanwhile, and their data directories have to be removed before they start.
    """
    manifest, found = read_manifest(directory), settings()
    if manifest.group != found.group and not other_group:
        raise CommandError(
            f"the snapshot is of group {manifest.group}, topic {manifest.topic}; this is group {found.group}. Next: "
            "set MEMBERSTREAM_GROUP, or restore with --other-group"
        )
    confirm(
        f"The states of group {manifest.group}, topic {manifest.topic}, of {manifest.taken_at} become those of group "
        f"{found.group}, topic {found.topic}. No worker runs?",
        is_sure=yes,
    )
    unfinished = f"{found.changelog_topic} isn't whole. Next: delete that topic, and run this again"
    with stoppable(unfinished), bar("writing the changelog") as progress:
        done = asyncio.run(Snapshots(found).restore(directory, progress, new_topic))
    if json:
        told = {"members": done.members, "taken_at": manifest.taken_at}
        print_json(told | {"topic": found.topic, "is_topic_new": done.is_topic_new, "topic_epoch": done.epoch})
        return
    out.print(f"{counted(done.members, 'member')} restored, as of {manifest.taken_at}, and read back")
    out.print(
        f"The topic {found.topic} is {'another one' if done.is_topic_new else 'the same'}. Next: remove the workers' "
        f"data directories, set MEMBERSTREAM_TOPIC_EPOCH={done.epoch} on all workers, and go on in docs/disaster.md",
        markup=False,
    )
