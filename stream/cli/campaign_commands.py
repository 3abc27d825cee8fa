"""`memberstream campaign`: who is shown what. Set, looked at, paused, and how many members it reaches."""

from __future__ import annotations

import asyncio
import getpass
import re
import socket
import time
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.campaigns import WHOLE, Campaign, Terms
from models.registry import Registry
from models.targeting import clusters_of, misfit
from models.timestamps import format_ms
from stream.campaigning import Campaigning, Reach, cluster_ids
from stream.cli.console import CommandError, err, out, print_json, reports_errors, settings
from stream.cli.model_commands import moment
from stream.lookup import Lookup, Status

app = typer.Typer(no_args_is_help=True, help="Campaigns: which clusters see what, when, and who is held out.")
Id = Annotated[str, typer.Argument(metavar="ID", help="a campaign's id", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Reason = Annotated[str, typer.Option(help="for the history")]
_SHARE = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?%")


def campaigning_by_user() -> Campaigning:
    return Campaigning(settings(), f"{getpass.getuser()}@{socket.gethostname()}")


@app.command("set")
@reports_errors
def set_(
    campaign: Id,
    model: Annotated[str | None, typer.Option(help="the model whose clusters are meant", show_default=False)] = None,
    clusters: Annotated[
        str | None, typer.Option(help="ids or names, joined by commas: 2,3 or medium,high", show_default=False)
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="visible from this time on, ISO 8601; none: always", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="visible until before this time; none: for ever", show_default=False)
    ] = None,
    holdout: Annotated[
        str | None, typer.Option(help="share of the members who don't see it, as 10% or 2.5%", show_default=False)
    ] = None,
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="although nobody may be in these clusters")] = False,
) -> None:
    """Make a campaign, or change it: what isn't given stays as it is."""

    async def run() -> tuple[Registry, Campaign]:
        campaigning = campaigning_by_user()
        registry = await campaigning.registry()
        found = registry.campaigns.get(campaign)
        old = None if found is None else found.terms
        if old is None and (model is None or clusters is None):
            raise CommandError(f"{campaign} is new. Next: say --model and --clusters")
        named = model or (old.model if old else "")
        terms = Terms(
            named,
            cluster_ids(registry, named, clusters.split(",")) if clusters is not None else old.clusters if old else (),
            time_of("--from", from_, old.from_ms if old else None),
            time_of("--until", until, old.until_ms if old else None),
            ten_thousandths(holdout) if holdout is not None else old.holdout if old else 0,
        )
        return registry, await campaigning.set(campaign, terms, reason=reason, force=force)

    registry, made = asyncio.run(run())
    out.print(f"[green]set[/] {escape(_sentence(registry, made))}", highlight=False)


def time_of(option: str, text: str | None, old_ms: int | None) -> int | None:
    if text is None:
        return old_ms
    return None if text == "none" else moment(option, text)


def ten_thousandths(text: str) -> int:
    """Return a share as whole ten-thousandths, read as decimal digits: 2.5% is 250, to the last bit."""
    match = _SHARE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text}: expected a share such as 10% or 2.5%, at most two decimals", param_hint="--holdout"
        )
    whole, decimals = match.groups("")
    return int(whole) * 100 + int(decimals.ljust(2, "0"))


def _percent(ten_thousandths: int) -> str:
    return f"{ten_thousandths / 100:g}%"


@app.command("list")
@reports_errors
def list_(json: Json = False) -> None:
    """List the campaigns: for whom, when, and whether they are shown now."""
    registry = asyncio.run(campaigning_by_user().registry())
    campaigns = sorted(registry.campaigns.values(), key=lambda campaign: campaign.id)
    if json:
        print_json([_as_json(registry, campaign) for campaign in campaigns])
        return
    if not campaigns:
        out.print("none yet. Next: memberstream campaign set ID --model NAME --clusters 2,3")
        return
    table = Table("campaign", "state", "model", "clusters", box=None, pad_edge=False, header_style="dim")
    for column in ("from", "until", "held out"):
        table.add_column(column)
    for campaign in campaigns:
        terms = campaign.terms
        table.add_row(
            campaign.id,
            campaign.state_at(_now_ms()),
            terms.model,
            escape(_clusters(registry, terms)),
            "" if terms.from_ms is None else format_ms(terms.from_ms),
            "" if terms.until_ms is None else format_ms(terms.until_ms),
            _percent(terms.holdout) if terms.holdout else "",
        )
    out.print(table)
    _say_misfits(registry, campaigns)


@app.command()
@reports_errors
def show(campaign: Id, json: Json = False) -> None:
    """Show a campaign, and what was done with it: when, by whom, why."""
    registry = asyncio.run(campaigning_by_user().registry())
    found = registry.campaigns.get(campaign)
    steps = [step for step in registry.campaign_history if step.name == campaign]
    if not steps:
        raise _unknown(campaign)
    history = [
        {
            "at": format_ms(step.at_ms),
            "action": step.action.removeprefix("campaign_"),
            "terms": None if step.terms is None else _terms_as_json(step.terms),
            "actor": step.actor,
            "reason": step.reason,
            "forced": step.forced,
        }
        for step in steps
    ]
    if json:
        print_json({"campaign": None if found is None else _as_json(registry, found), "history": history})
        return
    out.print(f"{campaign} is deleted" if found is None else _sentence(registry, found), markup=False)
    table = Table("when", "what", "terms", "who", "why", box=None, pad_edge=False, header_style="dim")
    for step in steps:
        terms = "" if step.terms is None else _of(registry, step.terms)
        what = step.action.removeprefix("campaign_") + (" (forced)" if step.forced else "")
        table.add_row(format_ms(step.at_ms), what, *map(escape, (terms, step.actor, step.reason)))
    out.print(table)
    _say_misfits(registry, [found] if found is not None else [])


@app.command()
@reports_errors
def pause(campaign: Id, reason: Reason = "") -> None:
    """Hide a campaign from everybody, within a second or two, until it is resumed."""
    asyncio.run(campaigning_by_user().pause(campaign, reason=reason))
    out.print(f"paused {campaign}. Back: memberstream campaign resume {campaign}")


@app.command()
@reports_errors
def resume(campaign: Id, reason: Reason = "") -> None:
    """Show a paused campaign again."""
    asyncio.run(campaigning_by_user().resume(campaign, reason=reason))
    out.print(f"[green]resumed[/] {campaign}")


@app.command()
@reports_errors
def delete(campaign: Id, reason: Reason = "") -> None:
    """Remove a campaign. Its history stays; set again it holds out the same members."""
    asyncio.run(campaigning_by_user().delete(campaign, reason=reason))
    out.print(f"deleted {campaign}")


@app.command()
@reports_errors
def reach(campaign: Id, json: Json = False) -> None:
    """Count the members that a campaign reaches now, by cluster, and those held out."""

    async def run() -> tuple[Registry, Campaign, Reach]:
        campaigning = campaigning_by_user()
        registry = await campaigning.registry()
        found = registry.campaigns.get(campaign)
        if found is None:
            raise _unknown(campaign)
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
            task = progress.add_task("reading the members' states", total=None)
            return (
                registry,
                found,
                await campaigning.reach(
                    registry, found, lambda done, total: progress.update(task, completed=done, total=total)
                ),
            )

    registry, found, reached = asyncio.run(run())
    state = found.state_at(_now_ms())
    if json:
        print_json({
            "campaign": campaign, "state": state, "model": reached.model, "members": reached.members,
            "visible": reached.visible, "held_out": reached.held_out,
            "clusters": {c: {"visible": v, "held_out": h} for c, (v, h) in reached.clusters.items()},
        })  # fmt: skip
        return
    share = reached.visible / reached.members if reached.members else 0.0
    if state == "enabled":
        out.print(f"{campaign}: {reached.visible:,} of {reached.members:,} members see it ({share:.1%})")
    else:
        out.print(f"{campaign} is {state}: nobody sees it now. Else {reached.visible:,} members would ({share:.1%})")
    names = clusters_of(registry, found.terms.model, registry.live.get(found.terms.model))
    table = Table("cluster", box=None, pad_edge=False, header_style="dim")
    for column in ("see it", "held out"):
        table.add_column(column, justify="right")
    for cluster, (visible, held_out) in reached.clusters.items():
        table.add_row(escape(f"{cluster} {names.get(cluster, '')}"), f"{visible:,}", f"{held_out:,}")
    out.print(table)
    _say_misfits(registry, [found])


@app.command()
@reports_errors
def visible(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="a member id", show_default=False)], json: Json = False
) -> None:
    """Show the campaigns that a member sees, as services see it. Exit status 1 for an unknown member."""
    with Lookup(settings().redis_url) as lookup:
        seen = lookup.visible(member)
    if json:
        print_json({"member_id": member, **seen._asdict()})
    else:
        out.print(f"{member}: {seen.status}", markup=False)
        for campaign in seen.campaigns:
            out.print(f"  {campaign}", markup=False)
        for campaign in seen.held_out:
            out.print(f"  held out: {campaign}", markup=False)
    if seen.status is Status.UNKNOWN:
        raise typer.Exit(1)


def _unknown(campaign: str) -> CommandError:
    return CommandError(f"there is no campaign {campaign}. Next: memberstream campaign list")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _sentence(registry: Registry, campaign: Campaign) -> str:
    return f"{campaign.id}: {_of(registry, campaign.terms)}; {campaign.state_at(_now_ms())}"


def _of(registry: Registry, terms: Terms) -> str:
    parts = [f"{terms.model} {_clusters(registry, terms)}"]
    if terms.from_ms is not None:
        parts.append(f"from {format_ms(terms.from_ms)}")
    if terms.until_ms is not None:
        parts.append(f"until {format_ms(terms.until_ms)}")
    if terms.holdout:
        parts.append(f"{_percent(terms.holdout)} held out")
    return ", ".join(parts)


def _clusters(registry: Registry, terms: Terms) -> str:
    names = clusters_of(registry, terms.model, registry.live.get(terms.model))
    return " + ".join(f"{cluster} {names[cluster]}" if cluster in names else str(cluster) for cluster in terms.clusters)


def _terms_as_json(terms: Terms) -> dict[str, Any]:
    return {
        "model": terms.model,
        "clusters": terms.clusters,
        "from": None if terms.from_ms is None else format_ms(terms.from_ms),
        "until": None if terms.until_ms is None else format_ms(terms.until_ms),
        "holdout": terms.holdout / WHOLE,
    }


def _as_json(registry: Registry, campaign: Campaign) -> dict[str, Any]:
    return {
        "id": campaign.id,
        **_terms_as_json(campaign.terms),
        "state": campaign.state_at(_now_ms()),
        "misfit": misfit(registry, campaign.id, campaign.terms) or None,
    }


def _say_misfits(registry: Registry, campaigns: list[Campaign]) -> None:
    for campaign in campaigns:
        why = misfit(registry, campaign.id, campaign.terms)
        if why:
            err.print(f"note: {why}", markup=False)
