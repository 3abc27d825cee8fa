"""`memberstream campaign split`: a campaign for each cluster of a model, judged together."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from memberstream.models.terms import Terms
from memberstream.models.wording import counted
from memberstream.stream.authoring.campaigning import split_ids
from memberstream.stream.authoring.terms_given import changed
from memberstream.stream.cli.arguments import Id, Json, Why, a_name, refuse_terms, terms_given
from memberstream.stream.cli.campaign.goals import (
    Guardrails,
    Primary,
    Title,
    Windows,
    Winsorise,
    goals_given,
)
from memberstream.stream.cli.campaign.terms import campaigning_by_user
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.waiting import stoppable


@reports_errors
def split(
    campaign: Id,
    model: Annotated[
        str,
        typer.Option(help="the model whose clusters get a campaign each", show_default=False, callback=a_name),
    ],
    from_: Annotated[str | None, typer.Option("--from", help="visible from this time on", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="visible until before this time", show_default=False)] = None,
    holdout: Annotated[
        str | None, typer.Option(help="share of each cluster who don't see it, as 10% or 2.5%", show_default=False)
    ] = None,
    window: Windows = None,
    primary: Primary = None,
    guardrail: Guardrails = None,
    winsorise: Winsorise = None,
    title: Title = None,
    reason: Why = "",
    json: Json = False,
) -> None:
    """Make a campaign for each cluster of a model's live version: ID-low, ID-high … Again: only the missing ones."""
    goals = goals_given(window, primary, guardrail, winsorise, title, settings().interaction_kinds)
    given = changed(terms_given(campaign, model, from_, until, holdout), goals)
    refuse_terms(campaign, changed({}, goals))

    async def run() -> tuple[list[str], int]:
        steps = campaigning_by_user()
        registry = await steps.registry()
        terms = {
            name: Terms(clusters=(cluster,), split=campaign, **given)
            for name, cluster in split_ids(registry, campaign, model).items()
        }
        found = {name: its.terms for name, its in registry.campaigns.items()}
        for name, wanted in terms.items():
            if found.get(name, wanted) not in (wanted, msgspec.structs.replace(wanted, split="")):
                raise CommandError(f"{name} is there with other terms. Next: campaign delete {name}, or another ID")
        # A version before didn't write down whose split they are: such ones are set again.
        missing = [name for name, wanted in terms.items() if found.get(name) != wanted]
        for n, name in enumerate(missing):
            stop.text = (
                f"{n} of {counted(len(missing), 'campaign')} set, {name} maybe. Next: run it again: it sets the rest"
            )
            await steps.set(name, terms[name], reason=reason)
        return list(terms), len(missing)

    with stoppable("nothing was set. Next: run it again") as stop:
        ids, n_made = asyncio.run(run())
    if json:
        print_json({"split": campaign, "campaigns": ids, "set": n_made})
        return
    out.print(f"[green]set[/] {n_made} of {counted(len(ids), 'campaign')}: {', '.join(ids)}")
    err.print(f"Next, once they are shown: memberstream campaign report {' '.join(ids)}", markup=False)
