"""`memberstream rebuild`: Redis written again from state, on demand."""

from __future__ import annotations

import asyncio
from time import monotonic, time
from typing import Annotated, Any

import typer

from memberstream.models.wording import counted, named
from memberstream.stream.cli.arguments import Json, Yes
from memberstream.stream.keyspace.formats import BEACON_STALE_MS
from memberstream.stream.projection.installation import TakeOver, installation_id, projection_of
from memberstream.stream.projection.partitions import Look
from memberstream.stream.projection.projection import Projection
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.output import CommandError, confirm, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.waiting import stoppable

#: What was done, for people and as JSON.
Done = tuple[str, dict[str, Any]]
_POLL_S = 0.2
_SAY_EVERY_S = 2.0


@reports_errors
def rebuild(
    yes: Yes = False,
    timeout_s: Annotated[float, typer.Option(min=0, help="how long to follow; the workers go on in any case")] = 3600.0,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="the keys are another installation's, which is no more: make them ours")
    ] = False,
    json: Json = False,
) -> None:
    """Have the running workers write every member to Redis again. Readers are told `rebuilding` until all are written.

    This is for a Redis that says that it is whole although members may be wrong or missing: after a fail-over that lost
    the last writes, or after somebody has changed it by hand. A Redis that was emptied is rebuilt without a command.

    With --take-over the keys of an installation that is no more become this one's: of another group, or of a Kafka that
    was set up anew. Then start the workers: they write everything.
    """
    with stoppable("nobody follows any more; a rebuild that has begun goes on. Next: memberstream doctor"):
        said, told = asyncio.run(_take_over(settings(), yes) if take_over else _rebuild(settings(), yes, timeout_s))
    if json:
        print_json(told)
    else:
        out.print(said, markup=False)


async def _take_over(found: Settings, yes: bool) -> Done:
    own = await installation_id(found)
    async with Projection(found.redis_url, found.keys) as projection:
        over = TakeOver(projection.calls)
        owner = await over.owner()
        if owner is None or owner == own:
            raise CommandError(
                f"the keys {found.redis_prefix}:* are {'nobody' if owner is None else own}'s. Next: nothing; start the "
                "workers"
            )
        silent_ms = await over.silent_ms()
        if silent_ms is not None and silent_ms < BEACON_STALE_MS:
            raise CommandError(
                f"a worker of {owner} wrote {max(0, silent_ms) / 1000:.0f} s ago: it lives, and the keys "
                f"{found.redis_prefix}:* are its own. Next: set another MEMBERSTREAM_REDIS_PREFIX here. Or "
                f"stop the workers of {owner}, wait {BEACON_STALE_MS // 1000} s, and run this again"
            )
        confirm(
            f"The keys {found.redis_prefix}:* become those of {own}. {owner} can't write there any more, and readers "
            "see `rebuilding` until the workers have written all members. Go on?",
            is_sure=yes,
        )
        if not await over.take(owner, own):
            raise CommandError("somebody else has taken these keys in this moment. Next: run this again")
    said = f"the keys {found.redis_prefix}:* were those of {owner} and are those of {own}. Next: start the workers"
    return said, {"keys": f"{found.redis_prefix}:*", "owner": own, "owner_before": owner}


async def _rebuild(found: Settings, yes: bool, timeout_s: float) -> Done:
    async with await projection_of(found) as projection:
        partitions = len(_living(await projection.partitions.look()))
        confirm(
            f"All members of {counted(partitions, 'partition')} will be written again; readers see `rebuilding` "
            "meanwhile. Go on?",
            is_sure=yes,
        )
        await projection.build.forget()
        return await _follow(projection, timeout_s)


async def _follow(projection: Projection, timeout_s: float) -> Done:
    started_at = said_at = monotonic()
    while not (look := await projection.partitions.look()).epoch:
        now = monotonic()
        if now - started_at > timeout_s:
            raise CommandError(
                f"not done within {timeout_s:g} s; the workers go on. Next: watch "
                "memberstream_rebuild_remaining_members, or the workers' logs"
            )
        partitions = len(_living(look))
        if now - said_at > _SAY_EVERY_S:
            said_at = now
            err.print(f"{look.done} of {counted(partitions, 'partition')} written")
        await asyncio.sleep(_POLL_S)
    seconds = monotonic() - started_at
    n = len(look.beacons)
    said = f"{counted(n, 'partition')} written again in {seconds:.1f} s; readers are told `current` again"
    return said, {"partitions": n, "seconds": seconds}


def _living(look: Look) -> list[int]:
    """Return the partitions that a living worker owns. Raises CommandError if there are none: nobody would write."""
    limit_ms = time() * 1000 - BEACON_STALE_MS
    living = [partition for partition, beacon in look.beacons.items() if beacon.written_ms > limit_ms]
    if not look.beacons:
        raise CommandError(
            "no worker has written to this Redis. Next: check MEMBERSTREAM_REDIS_URL and start the workers; they write "
            "everything by themselves"
        )
    if dead := sorted(look.beacons.keys() - set(living)):
        raise CommandError(
            f"no worker has told of {named('partition', dead)} for {BEACON_STALE_MS // 1000} s: none is alive, or "
            "it holds them. Next: start the workers, or see why their /readyz is 503; "
            + ("then run this again" if look.epoch else "they go on with the rebuild by themselves")
        )
    return living
