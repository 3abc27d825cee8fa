"""`memberstream campaign`: who is shown what. Set, show, pause campaigns, and count the members that they reach."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import msgspec
import typer

from memberstream.models.campaigns import Campaign
from memberstream.models.registry import Registry
from memberstream.models.targeting import clusters_of, misfit
from memberstream.models.terms import WHOLE, Terms
from memberstream.models.timestamps import format_ms
from memberstream.models.wording import counted, percent_of
from memberstream.stream.authoring.campaigning import Campaigning, Reach, cluster_ids
from memberstream.stream.authoring.history import step_as_json, terms_of
from memberstream.stream.authoring.steps import this_user
from memberstream.stream.authoring.terms_given import changed
from memberstream.stream.authoring.terms_told import as_json, as_text, campaign_as_json, clusters_text, percent
from memberstream.stream.cli.arguments import Id, Json, Why, a_name, refuse_terms, shaped, terms_given
from memberstream.stream.cli.campaign.goals import (
    Guardrails,
    Primary,
    Title,
    Windows,
    Winsorise,
    goals_given,
)
from memberstream.stream.cli.history import print_steps
from memberstream.stream.lookup import Lookup
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.safe import escape
from memberstream.stream.terminal.table import print_table

app = typer.Typer(no_args_is_help=True, help="Campaigns: which clusters see what, when, and who is held out.")


def campaigning_by_user() -> Campaigning:
    return Campaigning(settings(), this_user())


@app.command("set")
@reports_errors
def set_(
    campaign: Id,
    model: Annotated[
        str | None,
        typer.Option(help="the model whose clusters are meant", show_default=False, callback=a_name),
    ] = None,
    clusters: Annotated[
        str | None,
        typer.Option(
            help="ids or names, joined by commas: 2,3 or medium,high",
            show_default=False,
            callback=shaped(lambda text: all(text.split(",")), "list of clusters", "ids or names, joined by commas"),
        ),
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
    window: Windows = None,
    primary: Primary = None,
    guardrail: Guardrails = None,
    winsorise: Winsorise = None,
    title: Title = None,
    reason: Why = "",
    force: Annotated[bool, typer.Option("--force", help="although nobody may be in these clusters")] = False,
    json: Json = False,
) -> None:
    """Make a campaign, or change it: what isn't given stays as it is."""

    given = terms_given(campaign, model, from_, until, holdout)
    goals = goals_given(window, primary, guardrail, winsorise, title, settings().interaction_kinds)
    refuse_terms(campaign, changed({}, goals))

    async def run() -> tuple[Registry, Campaign]:
        campaigning = campaigning_by_user()
        registry = await campaigning.registry()
        found = registry.campaigns.get(campaign)
        if found is None and (model is None or clusters is None):
            raise CommandError(f"{campaign} is new. Next: say --model and --clusters")
        terms = changed(({} if found is None else msgspec.structs.asdict(found.terms)) | given, goals)
        if clusters is not None:
            terms["clusters"] = cluster_ids(registry, terms["model"], clusters.split(","))
        return registry, await campaigning.set(campaign, Terms(**terms), reason=reason, force=force)

    registry, made = asyncio.run(run())
    if json:
        print_json(campaign_as_json(registry, made, _now_ms()))
        return
    out.print(f"[green]set[/] {escape(_sentence(registry, made))}", highlight=False)
    if 0 < made.terms.holdout < WHOLE:
        hint = f"memberstream campaign plan {campaign} --effect 1pt, for how many members and days it takes to see that"
    else:
        hint = "--holdout 10%, if you want to know what it causes: nobody can be compared with those who see it"
    err.print(f"Next: {hint}", markup=False)


@app.command("list")
@reports_errors
def list_(json: Json = False) -> None:
    """List the campaigns: for whom, when, and whether they are shown now."""
    registry = asyncio.run(campaigning_by_user().registry())
    campaigns = sorted(registry.campaigns.values(), key=lambda campaign: campaign.id)
    if json:
        print_json([campaign_as_json(registry, campaign, _now_ms()) for campaign in campaigns])
        return
    if not campaigns:
        out.print("none yet. Next: memberstream campaign set ID --model NAME --clusters 2,3")
        return
    rows = []
    for campaign in campaigns:
        terms = campaign.terms
        rows.append(
            (
                campaign.id,
                campaign.state_at(_now_ms()),
                terms.model,
                escape(clusters_text(registry, terms)),
                "" if terms.from_ms is None else format_ms(terms.from_ms),
                "" if terms.until_ms is None else format_ms(terms.until_ms),
                percent(terms.holdout) if terms.holdout else "",
            )
        )
    print_table(("campaign", "state", "model", "clusters", "from", "until", "held out"), rows, sentences=(3,))
    _say_misfits(registry, campaigns)


@app.command()
@reports_errors
def show(campaign: Id, json: Json = False) -> None:
    """Show a campaign and its history: what was done, when, by whom, why."""
    registry = asyncio.run(campaigning_by_user().registry())
    found = registry.campaigns.get(campaign)
    steps = [step for step in registry.campaign_history if step.campaign == campaign]
    if not steps:
        raise _unknown(campaign)
    history = [
        step_as_json(step, terms=None if (terms := terms_of(step)) is None else as_json(terms)) for step in steps
    ]
    if json:
        standing = None if found is None else campaign_as_json(registry, found, _now_ms())
        print_json({"campaign": standing, "history": history})
        return
    out.print(f"{campaign} is deleted" if found is None else _sentence(registry, found), markup=False)
    told = [(step, "" if (terms := terms_of(step)) is None else as_text(registry, terms)) for step in steps]
    print_steps("terms", told)
    _say_misfits(registry, [found] if found is not None else [])


@app.command()
@reports_errors
def pause(campaign: Id, reason: Why = "", json: Json = False) -> None:
    """Hide a campaign from everybody, within a second or two, until it is resumed."""
    asyncio.run(campaigning_by_user().pause(campaign, reason=reason))
    if json:
        _print_now(campaign)
        return
    out.print(f"paused {campaign}. Back: memberstream campaign resume {campaign}")


@app.command()
@reports_errors
def resume(campaign: Id, reason: Why = "", json: Json = False) -> None:
    """Show a paused campaign again."""
    asyncio.run(campaigning_by_user().resume(campaign, reason=reason))
    if json:
        _print_now(campaign)
        return
    out.print(f"[green]resumed[/] {campaign}")


@app.command()
@reports_errors
def delete(campaign: Id, reason: Why = "", json: Json = False) -> None:
    """Remove a campaign. Its history stays; set again it holds out the same members."""
    asyncio.run(campaigning_by_user().delete(campaign, reason=reason))
    if json:
        print_json({"id": campaign, "state": "deleted"})
        return
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
        with bar("reading the members' states") as meter:
            return registry, found, await campaigning.reach(registry, found, meter)

    registry, found, reached = asyncio.run(run())
    state = found.state_at(_now_ms())
    if json:
        print_json({
            "campaign": campaign, "state": state, "model": reached.model, "members": reached.members,
            "visible": reached.visible, "held_out": reached.held_out,
            "clusters": {c: {"visible": v, "held_out": h} for c, (v, h) in reached.clusters.items()},
        })  # fmt: skip
        return
    share = percent_of(reached.visible, reached.members)
    if state == "enabled":
        see = "sees" if 1 in (reached.visible, reached.members) else "see"
        out.print(f"{campaign}: {reached.visible:,} of {counted(reached.members, 'member')} {see} it ({share})")
    else:
        would = f"{counted(reached.visible, 'member')} would ({share})"
        out.print(f"{campaign} is {state}: nobody sees it now. Otherwise {would}")
    names = clusters_of(registry, found.terms.model, registry.live.get(found.terms.model))
    rows = [
        (escape(f"{cluster} {names.get(cluster, '')}"), f"{visible:,}", f"{held_out:,}")
        for cluster, (visible, held_out) in reached.clusters.items()
    ]
    print_table(("cluster", "see it", "held out"), rows, right=(1, 2))
    _say_misfits(registry, [found])


@app.command()
@reports_errors
def visible(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="a member id", show_default=False)], json: Json = False
) -> None:
    """Show the campaigns that a member sees, as services see it. Exit status 1 for an unknown member."""
    with Lookup(settings().redis_url, prefix=settings().redis_prefix) as lookup:
        seen = lookup.get_patiently(member).visible
    if json:
        print_json({"member_id": member, **seen._asdict()})
    else:
        out.print(f"{member}: {seen.status}", markup=False)
        for campaign in seen.campaigns:
            out.print(f"  {campaign}", markup=False)
        for campaign in seen.held_out:
            out.print(f"  held out: {campaign}", markup=False)
    if seen.status == "unknown member":
        raise typer.Exit(1)


def _print_now(campaign: str) -> None:
    registry = asyncio.run(campaigning_by_user().registry())
    found = registry.campaigns.get(campaign)
    if found is None:
        raise _unknown(campaign)
    print_json(campaign_as_json(registry, found, _now_ms()))


def _unknown(campaign: str) -> CommandError:
    return CommandError(f"there is no campaign {campaign}. Next: memberstream campaign list")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _sentence(registry: Registry, campaign: Campaign) -> str:
    return f"{campaign.id}: {as_text(registry, campaign.terms)}; {campaign.state_at(_now_ms())}"


def _say_misfits(registry: Registry, campaigns: list[Campaign]) -> None:
    for campaign in campaigns:
        why = misfit(registry, campaign.id, campaign.terms)
        if why:
            err.print(f"note: {why}", markup=False)
