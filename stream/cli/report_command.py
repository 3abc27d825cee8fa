"""`memberstream campaign report` and `split`: do clusters differ, and did showing it help."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from models.campaigns import Terms
from models.interaction import is_kind
from stream.campaigning import split_ids
from stream.cli.campaign_commands import Id, Json, Reason, campaigning_by_user, ten_thousandths, time_of
from stream.cli.console import CommandError, err, out, print_json, reports_errors, settings
from stream.counts import read

if TYPE_CHECKING:
    from stream.readout.report import Report

_EXTRA = {"scipy", "statsmodels", "matplotlib", "pandas"}


@reports_errors
def report(
    campaigns: Annotated[
        list[str], typer.Argument(metavar="ID…", help="one campaign, or several side by side", show_default=False)
    ],
    kind: Annotated[
        str | None, typer.Option(help="of interaction; else the most frequent one", show_default=False)
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="day", help="show each day, too", show_default=False)] = None,
    see: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="difference in percentage points for which to tell how many more members are needed; "
            "else a tenth of the rate",
            show_default=False,
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write a page with plots", show_default=False)] = None,
    csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    json: Json = False,
) -> None:
    """Report on campaigns: rates per cluster, what showing them caused, whether clusters differ."""
    if by not in (None, "day"):
        raise typer.BadParameter(f"{by}: expected day", param_hint="--by")
    if see is not None and not 0 < abs(see) < 100:
        raise typer.BadParameter(f"{see:g}: expected percentage points between 0 and 100", param_hint="--see")
    if kind is not None and not is_kind(kind):
        raise typer.BadParameter(f"{kind}: expected a kind of interaction, such as click", param_hint="--kind")
    if csv and json:
        raise typer.BadParameter("either --csv or --json", param_hint="--csv")
    try:
        from stream.readout.history import ReadoutError
        from stream.readout.page import to_html
        from stream.readout.report import report as report_of
        from stream.readout.setup import setup_of
        from stream.readout.tables import to_csv
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise CommandError(f"a report needs {error.name}. Next: pip install 'memberstream[readout]'") from None
    ids = list(dict.fromkeys(campaigns))
    registry = asyncio.run(campaigning_by_user().registry())
    setups = [setup_of(registry, campaign) for campaign in ids]
    for campaign, setup in zip(ids, setups, strict=True):
        if setup is None:
            raise CommandError(f"there is no campaign {campaign}. Next: memberstream campaign list")
    counts = read(settings().redis_url, ids)
    try:
        found = report_of(counts, [s for s in setups if s is not None], kind, None if see is None else see / 100)
    except ReadoutError as error:
        raise CommandError(str(error)) from None
    if html is not None:
        html.write_text(to_html(found), encoding="utf-8")
    if json:
        print_json(found)
    elif csv:
        out.out(to_csv(found, by_day=by is not None), end="", highlight=False)
    else:
        _print(found, by_day=by is not None)
        if html is not None:
            out.print(f"\npage: {html}", markup=False)


def _print(found: Report, *, by_day: bool) -> None:
    from stream.readout.summary import sentences
    from stream.readout.tables import tables

    for sentence in sentences(found):
        out.print(sentence, style="bold red" if sentence.startswith("Warning") else None, markup=False)
    for table in tables(found, by_day=by_day):
        colour = "bold red" if table.is_alarm else "bold"
        out.print(f"\n[{colour}]{escape(table.title)}[/]")
        out.print(table.note, style="dim", markup=False)
        shown = Table(box=None, pad_edge=False, header_style="dim")
        for i, head in enumerate(table.heads):
            shown.add_column(escape(head), justify="right" if i else "left")
        for row in table.rows:
            shown.add_row(*map(escape, row), style="red" if "BROKEN" in row else None)
        out.print(shown)


@reports_errors
def split(
    campaign: Id,
    model: Annotated[str, typer.Option(help="the model whose clusters get a campaign each", show_default=False)],
    from_: Annotated[str | None, typer.Option("--from", help="visible from this time on", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="visible until before this time", show_default=False)] = None,
    holdout: Annotated[
        str | None, typer.Option(help="share of each cluster who don't see it, as 10% or 2.5%", show_default=False)
    ] = None,
    reason: Reason = "",
) -> None:
    """Make a campaign for each cluster of a model's live version: ID-low, ID-high … Again: those that lack."""

    async def run() -> tuple[list[str], int]:
        steps = campaigning_by_user()
        registry = await steps.registry()
        from_ms, until_ms = time_of("--from", from_, None), time_of("--until", until, None)
        share = ten_thousandths(holdout) if holdout is not None else 0
        terms = {
            name: Terms(model, (cluster,), from_ms, until_ms, share)
            for name, cluster in split_ids(registry, campaign, model).items()
        }
        for name, wanted in terms.items():
            found = registry.campaigns.get(name)
            if found is not None and found.terms != wanted:
                raise CommandError(f"{name} is there with other terms. Next: campaign delete {name}, or another ID")
        missing = [name for name in terms if name not in registry.campaigns]
        for name in missing:
            await steps.set(name, terms[name], reason=reason)
        return list(terms), len(missing)

    ids, n_made = asyncio.run(run())
    out.print(f"[green]set[/] {n_made} of {len(ids)} campaigns: {', '.join(ids)}")
    err.print(f"Next, once they are shown: memberstream campaign report {' '.join(ids)}", markup=False)
