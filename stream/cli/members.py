"""`memberstream members …`: find members that lie in a wrong partition, and drop what a partition holds of one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer

from memberstream.models.event import BadEvent, decode_key
from memberstream.models.wording import counted
from memberstream.stream.cli.arguments import Json, Yes
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import (
    CommandError,
    confirm,
    err,
    out,
    print_json,
    reason_option,
    reports_errors,
    settings,
)
from memberstream.stream.terminal.waiting import Waiting, stoppable

app = typer.Typer(no_args_is_help=True, help="Repair what a partition holds of a member (docs/operations.md).")


@app.command()
@reports_errors
def misplaced(json: Json = False) -> None:
    """Name the members that lie in another partition than their own. Exit status 1 if there are any."""
    found = asyncio.run(_misplaced())
    if json:
        print_json({"misplaced": [{"member_id": m, "partition": p, "own": own} for m, p, own in found]})
    else:
        for member_id, partition, own in found:
            out.print(f"{member_id}: in partition {partition}, belongs in {own}", markup=False)
        out.print(f"{counted(len(found), 'member lies', 'members lie')} in a wrong partition")
        if found:
            err.print("Next: memberstream members forget MEMBER --partition P, or --misplaced for all of them")
    if found:
        raise typer.Exit(1)


@app.command()
@reports_errors
def forget(
    member: Annotated[str | None, typer.Argument(help="a member id", show_default=False)] = None,
    partition: Annotated[
        int | None, typer.Option(help="the partition that is to drop it", show_default=False, min=0)
    ] = None,
    all_misplaced: Annotated[
        bool, typer.Option("--misplaced", help="all members that lie in a wrong partition, each in that partition")
    ] = False,
    why: Annotated[str, reason_option("the reason, kept in the topic's record")] = "",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Have one partition drop what it holds of a member: from its state and changelog, and its row in Redis.

    The member's own partition then writes what it holds. For members that came into a partition that isn't theirs;
    to delete a member, send a delete event.
    """
    from memberstream.stream.authoring.repairing import Repairing  # aiokafka is slow to import
    from memberstream.stream.authoring.steps import this_user

    if all_misplaced == (member is not None) or (member is None) != (partition is None):
        raise CommandError("expected MEMBER and --partition P, or --misplaced. Next: memberstream members misplaced")
    if member is not None and partition is not None:
        try:
            decode_key(member.encode())
        except BadEvent as error:
            raise CommandError(f"{error.detail}. Next: check the id") from None
        copies = [(member, partition)]
    else:
        copies = [(found, where) for found, where, _ in asyncio.run(_misplaced())]
    if not copies:
        if json:
            print_json({"dropped": []})
        else:
            out.print("no member lies in a wrong partition: nothing to do")
        return
    repairing = Repairing(settings(), this_user())
    parts = Counter(where for _, where in copies)
    listed = ", ".join(f"{n} of partition {where}" for where, n in sorted(parts.items()))
    is_held = all_misplaced or asyncio.run(repairing.holds(copies[0]))
    if not is_held:
        err.print(f"partition {partition} holds nothing of {member}; nothing will be dropped", markup=False)
    confirm(f"What is held of these members there will be dropped: {listed}. Go on?", is_sure=yes)
    err.print("waiting for the partitions' workers")
    with stoppable("the workers do what they were told. Next: run it again: what is done stays done"):
        asyncio.run(repairing.forget(copies, why, Waiting()))
    if json:
        print_json({"dropped": [{"member_id": m, "partition": p} for m, p in (copies if is_held else [])]})
        return
    out.print(f"dropped: {listed if is_held else 'nothing'}; their own partitions have written what they hold")


async def _misplaced() -> list[tuple[str, int, int]]:
    from memberstream.stream.authoring.repairing import Repairing

    with bar("reading the changelog") as meter:
        return await Repairing(settings(), "").misplaced(meter)
