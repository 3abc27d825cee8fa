"""`memberstream campaign plan`: how many members and days it takes to see an effect, before the campaign starts."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

import typer

from memberstream.models.campaigns import Campaign
from memberstream.models.interaction import is_kind
from memberstream.models.registry import Registry
from memberstream.models.terms import SHOWN_ONLY, WHOLE, primary_of
from memberstream.models.wording import counted
from memberstream.stream.authoring.campaigning import Reach
from memberstream.stream.cli.arguments import Id, Json
from memberstream.stream.cli.campaign.terms import campaigning_by_user
from memberstream.stream.projection.count_reader import CountsUnavailable, read
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, out, print_json, reports_errors, settings
from memberstream.stream.terminal.table import print_table

if TYPE_CHECKING:
    from memberstream.stream.readout.plan import Seen

_HOLDOUTS = (0.05, 0.1, 0.2, 0.5)
_AMOUNT = re.compile(r"([+-]?\d+(?:\.\d+)?)(pt|%)")


@reports_errors
def plan(
    campaign: Id,
    effect: Annotated[
        str, typer.Option(metavar="1pt", help="to be seen: 0.5pt (points), or 10% (of the rate)", show_default=False)
    ],
    kind: Annotated[str | None, typer.Option(help="of interaction; else the primary one", show_default=False)] = None,
    rate: Annotated[
        str | None,
        typer.Option(metavar="3%", help="of members who aren't shown it; else as counted so far", show_default=False),
    ] = None,
    per_day: Annotated[
        int | None, typer.Option(min=1, help="members exposed in a day; else as counted so far", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Say how many members and days it takes to see an effect, and what could be seen, at several holdouts."""
    match = _AMOUNT.fullmatch(effect)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{effect}: expected 1pt or 10%", param_hint="--effect")
    if kind is not None and not is_kind(kind):
        raise typer.BadParameter(f"{kind}: expected a kind of interaction, such as purchase", param_hint="--kind")
    given = None if rate is None else _share(rate)
    try:
        from memberstream.stream.readout import plan as plans
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "scipy":
            raise
        raise CommandError(f"a plan needs {error.name}. Next: pip install 'memberstream[readout]'") from None

    async def run() -> tuple[Registry, Campaign, Reach]:
        campaigning = campaigning_by_user()
        registry = await campaigning.registry()
        found = registry.campaigns.get(campaign)
        if found is None:
            raise CommandError(f"there is no campaign {campaign}. Next: memberstream campaign list")
        with bar("reading the members' states") as meter:
            return registry, found, await campaigning.reach(registry, found, meter)

    registry, found, reached = asyncio.run(run())
    options, terms = settings(), found.terms
    wanted = kind or primary_of(terms, options.interaction_kinds)
    if wanted is None or wanted in SHOWN_ONLY or wanted not in options.interaction_kinds:
        able = ", ".join(name for name in options.interaction_kinds if name not in SHOWN_ONLY) or "none is declared"
        raise CommandError(f"a plan needs a kind that members held out can have, too. Next: --kind, one of {able}")
    seen = None if given is not None and per_day is not None else _seen(registry, found, wanted)
    base = given if given is not None else None if seen is None else seen.rate
    if base is None or not 0 < base < 1:
        raise CommandError(f"how often members have {wanted} isn't known yet. Next: say --rate, as 3%")
    pace = per_day if per_day is not None else None if seen is None else seen.per_day
    size = float(match[1]) / 100 * (base if match[2] == "%" else 1)
    reach = reached.visible + reached.held_out
    shares = sorted({*_HOLDOUTS, *([terms.holdout / WHOLE] if 0 < terms.holdout < WHOLE else [])})
    found_plans = [plans.plan(base, size, share, reach, pace) for share in shares]
    if json:
        said = {"campaign": campaign, "kind": wanted, "rate": base, "effect": size, "reach": reach, "per_day": pace}
        print_json(said | {"plans": found_plans})
        return
    source = "as said" if seen is None or given is not None else _source(seen)
    out.print(
        f"{campaign} reaches {counted(reach, 'member')}. Rate of {wanted} without it: {base:.2%} ({source}). "
        f"To be seen, four times in five, by a report that may be looked at daily: {100 * size:+.2f} points.",
        markup=False,
    )
    rows = []
    for one in found_plans:
        few = " (too few)" if one.members is not None and one.members > reach else ""
        rows.append(
            (
                f"{100 * one.holdout:g}%",
                "–" if one.members is None else f"{one.members:,}{few}",
                "–" if one.days is None else f"{one.days:,}",
                "–" if one.detectable is None else f"{100 * one.detectable:+.2f} points",
            )
        )
    print_table(("held out", "members needed", "days", "seen of all who are reached"), rows, right=(1, 2, 3))


def _seen(registry: Registry, campaign: Campaign, kind: str) -> Seen | None:
    """Return what is counted of the campaign, else of all of its model in these clusters; None if nothing is."""
    from memberstream.stream.readout import plan as plans

    alike = [other.id for other in registry.campaigns.values() if other.terms.model == campaign.terms.model]
    try:
        counts = read(settings().redis_url, settings().keys, alike)
    except CountsUnavailable:  # nothing was ever counted, or not now: then it has to be said
        return None
    mine = {cell: tally for cell, tally in counts.items() if cell.campaign == campaign.id}
    clusters = campaign.terms.clusters
    return plans.seen(mine, clusters, kind) or plans.seen(counts, clusters, kind)


def _source(seen: Seen) -> str:
    return f"{counted(seen.of, 'member')} {'held out' if seen.are_held_out else 'shown'} so far"


def _share(text: str) -> float:
    match = _AMOUNT.fullmatch(text)
    share = float(match[1]) / 100 if match is not None and match[2] == "%" else 0.0
    if not 0 < share < 1:
        raise typer.BadParameter(f"{text}: expected a rate such as 3%", param_hint="--rate")
    return share
