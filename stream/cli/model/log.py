"""`memberstream model restart-log` and `complete-log`: the models' log begun anew, after it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer

from memberstream.models.wording import counted
from memberstream.stream.cli.arguments import Json, Yes
from memberstream.stream.registry.renewal import Renewal
from memberstream.stream.terminal.output import confirm, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.waiting import stoppable


@reports_errors
def restart_log(
    known: Annotated[
        int | None, typer.Option(min=0, metavar="STEP", help="the last step that a worker says it knows of")
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Begin the models' log anew, after it was lost. Then publish and promote your models again; then complete-log."""

    async def run() -> None:
        renewal = Renewal(settings())
        ends = await renewal.ends()
        last = max(ends.known, -1 if known is None else known)
        err.print(f"The models' log ends at step {ends.here}; step {last} of an earlier log is known.")
        lost = "Is the earlier log lost for good, and shall this one take its place?"
        confirm(lost, is_sure=yes or ends.here >= last)
        with stoppable("the log is begun anew in part, at most. Next: run it again: it goes on where it ended"):
            n = await renewal.begin(last)
        if json:
            print_json({"empty_records": n, "last_known_step": last})
            return
        out.print(
            f"begun anew, behind {counted(n, 'empty record')}. Next: memberstream model publish FILE --promote --force "
            "for each model, and set the campaigns; then memberstream model complete-log, and upload the lists"
        )

    asyncio.run(run())


@reports_errors
def complete_log(yes: Yes = False, json: Json = False) -> None:
    """Declare a log that was begun anew complete: workers and readers go by it from now on."""

    async def run() -> None:
        renewal = Renewal(settings())
        await renewal.refuse_if_complete()
        if not yes:
            err.print("What isn't published again is gone: memberstream model list, memberstream campaign list.")
        confirm("Is everything published again?", is_sure=yes)
        registry = await renewal.complete()
        if json:
            print_json({"live": registry.live})
            return
        live = ", ".join(f"{name}@{version}" for name, version in sorted(registry.live.items())) or "none"
        out.print(f"complete; live: {live}. Next: memberstream model wait NAME@VERSION, until all members are scored")

    asyncio.run(run())


COMMANDS: dict[str, Callable[..., None]] = {"restart-log": restart_log, "complete-log": complete_log}
