"""`memberstream lookup` and `explain`: what is known of a member, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from models.explain import Explanation, explain_one
from models.list_version import is_list
from models.member import Member
from models.model import Model
from models.model_file import parse
from models.timestamps import format_ms
from stream.cli.console import CommandError, out, print_json, reports_errors, settings
from stream.keyspace import BEACON_STALE_MS
from stream.lookup import Answer, Lookup, Status

MemberId = Annotated[str, typer.Argument(metavar="MEMBER", help="a member id", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@reports_errors
def lookup(member: MemberId, json: Json = False) -> None:
    """Show a member's clusters as campaign look-ups see them. Exit status 1 for an unknown member."""
    with Lookup(settings().redis_url) as client:
        answer = client.get(member)
    if json:
        print_json(answer.as_dict())
    else:
        _print_answer(answer)
    if answer.status is Status.UNKNOWN:
        raise typer.Exit(1)


def _print_answer(answer: Answer) -> None:
    out.print(f"{answer.member_id}: {answer.status}", markup=False)
    for membership in answer.memberships.values():
        name = f" {membership.name}" if membership.name else ""
        since = format_ms(membership.since_ms)
        out.print(
            f"  {membership.model}@{membership.version}: cluster {membership.cluster}{name}, since {since}",
            markup=False,
        )
    if answer.as_of_ms is not None:
        until = "an event changes it" if answer.valid_until_ms is None else format_ms(answer.valid_until_ms)
        out.print(
            f"  partition {answer.partition} offset {answer.offset}, as of {format_ms(answer.as_of_ms)}, until {until}"
        )
    if answer.status is Status.STALE:
        out.print(
            f"  stale: no worker has written for {BEACON_STALE_MS // 1000} s, or time has moved on since. "
            "Next: check the workers"
        )


@reports_errors
def explain(
    member: MemberId,
    model: Annotated[
        str, typer.Argument(help="a model's name (its live version), or name@version", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Show why a member is in its cluster: predictors, contributions, probability, the next cluster."""
    # aiokafka is slow to import; other commands don't need it
    from stream.publishing import Publishing, find
    from stream.state_reader import read_members

    configuration = settings()

    async def ask() -> tuple[Model, Member | None]:
        registry = await Publishing(configuration, "").registry()
        entry = find(registry, model)
        if is_list(entry.definition):
            raise CommandError(f"{model} is an uploaded list: nothing was computed. Next: memberstream lookup {member}")
        chosen = parse(entry.definition)
        found = await read_members(configuration.kafka_bootstrap, configuration.changelog_topic, [member])
        return chosen, found.get(member)

    chosen, state = asyncio.run(ask())
    if state is None or state.document is None:
        raise CommandError(f"unknown member {member}. Next: check the id; has its first event been applied?")
    explanation = explain_one(chosen, state.document, state.as_of_ms)
    if json:
        print_json({"member_id": member, "as_of_ms": state.as_of_ms, "explanation": explanation})
    else:
        print_explanation(member, state.as_of_ms, explanation)


def print_explanation(member_id: str, at_ms: int, explanation: Explanation) -> None:
    """Print an explanation as a table with its conclusion."""
    cluster, following = explanation.cluster, explanation.next_cluster
    out.print(
        f"[bold]{escape(member_id)}[/] under [bold]{explanation.model}[/], as of {format_ms(at_ms)}: "
        f"cluster [bold]{escape(f'{cluster.id} {cluster.name}')}[/]"
    )
    table = Table("predictor", box=None, pad_edge=False, header_style="dim")
    table.add_column("x", justify="right")
    table.add_column("contribution", justify="right")
    table.add_column("")
    largest = max((abs(c) for c in explanation.contributions.values()), default=0.0) or 1.0
    for name, value in explanation.predictors.items():
        part = explanation.contributions[name]
        bar = "█" * round(12 * abs(part) / largest)
        table.add_row(escape(name), f"{value:.4f}", f"{part:+.4f}", f"[{'green' if part > 0 else 'red'}]{bar}[/]")
    out.print(table)
    if isinstance(explanation.probability, float):
        out.print(f"eta {explanation.eta:+.4f} → probability {explanation.probability:.4f}")
    elif explanation.probability is not None:
        out.print("probabilities " + " ".join(f"{p:.4f}" for p in explanation.probability))
    elif explanation.distances is not None:
        out.print("distances to centroids " + " ".join(f"{d:.4f}" for d in explanation.distances))
    if following is not None:
        unit = "distance" if explanation.distances is not None else "eta"
        out.print(f"{explanation.distance_to_next:.4f} in {unit} from cluster {following.id} {following.name}")
