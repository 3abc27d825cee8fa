"""`memberstream campaign split`: a campaign for each cluster of a model, judged together."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from memberstream.models.wording import counted
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
from memberstream.stream.terminal.output import err, out, print_json, reports_errors, settings
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

    def next_is(n: int, total: int, name: str) -> None:
        stop.text = f"{n} of {counted(total, 'campaign')} set, {name} maybe. Next: run it again: it sets the rest"

    with stoppable("nothing was set. Next: run it again") as stop:
        steps = campaigning_by_user()
        ids, n_made = asyncio.run(steps.split(campaign, model, given, reason=reason, next_is=next_is))
    if json:
        print_json({"split": campaign, "campaigns": ids, "set": n_made})
        return
    out.print(f"[green]set[/] {n_made} of {counted(len(ids), 'campaign')}: {', '.join(ids)}")
    err.print(f"Next, once they are shown: memberstream campaign report {' '.join(ids)}", markup=False)
