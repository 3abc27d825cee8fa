"""`memberstream lookup` and `explain`: in which clusters a member is, and why."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated

import typer

from memberstream.models.explain import explain_one
from memberstream.models.member import Member
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.timestamps import format_ms
from memberstream.models.what_if import levers
from memberstream.stream.cli.arguments import Json, a_label
from memberstream.stream.keyspace.formats import KeyspaceError
from memberstream.stream.lookup import Answer, Lookup
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.advice import ADVICE
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings

MemberId = Annotated[str, typer.Argument(metavar="MEMBER", help="a member id", show_default=False)]


@reports_errors
def lookup(member: MemberId, json: Json = False) -> None:
    """Show a member's clusters as campaign look-ups see them. Exit status 1 for an unknown member."""
    with Lookup(settings().redis_url, prefix=settings().redis_prefix) as client:
        answer = client.get_patiently(member)
    if json:
        print_json(answer.as_dict())
    else:
        _print_answer(answer)
    if answer.status == "unknown member":
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
    if answer.status != "current":
        out.print(f"  {answer.status}: {ADVICE[answer.status]}", markup=False)


@reports_errors
def explain(
    member: MemberId,
    model: Annotated[
        str,
        typer.Argument(
            help="a model's name (its live version), or name@version",
            show_default=False,
            callback=a_label,
        ),
    ],
    json: Json = False,
) -> None:
    """Show why a member is in its cluster, and for each predictor the smallest change that moves it to another one."""
    # aiokafka is slow to import; other commands don't need it
    from memberstream.stream.authoring.steps import Steps, find
    from memberstream.stream.terminal.explanation import print_explanation, print_levers

    configuration = settings()

    async def ask() -> tuple[Model, Member | None]:
        registry = await Steps(configuration, "").registry()
        entry = find(registry, model)
        if entry.definition.is_list:
            raise CommandError(f"{model} is an uploaded list: nothing was computed. Next: memberstream lookup {member}")
        chosen = parse(entry.definition.body)
        return chosen, await _state_of(configuration, member)

    chosen, state = asyncio.run(ask())
    if state is None or state.document is None:
        raise CommandError(
            f"unknown member {member}. Next: check the id; has its first event been applied? `memberstream members "
            "misplaced` names those that lie in a wrong partition"
        )
    explanation = explain_one(chosen, state.document, state.as_of_ms)
    found = levers(chosen, state.document, state.as_of_ms)
    if json:
        print_json({"member_id": member, "as_of_ms": state.as_of_ms, "explanation": explanation, "levers": found})
    else:
        print_explanation(member, state.as_of_ms, explanation)
        print_levers(found)


async def _state_of(configuration: Settings, member: str) -> Member | None:
    """Ask the worker of the member's partition; without a secret, or an answer, read the partition's changelog."""
    from memberstream.stream.authoring.state_reader import read_members
    from memberstream.stream.kafka.topics import count_partitions
    from memberstream.stream.projection.calls import RedisFault, RedisUnavailable
    from memberstream.stream.projection.projection import Glance
    from memberstream.stream.queries.asking import NoAnswer, held_of

    kafka = configuration.kafka
    if configuration.query_key is not None:
        n_partitions = await count_partitions(kafka, configuration.topic)
        async with aclosing(Glance(configuration.redis_url, configuration.keys)) as glance:
            try:
                held = await held_of(configuration, glance.partitions, n_partitions, member)
                return None if held is None else held.member
            except (NoAnswer, RedisUnavailable, RedisFault, KeyspaceError) as error:
                err.print(f"{error}. Meanwhile the changelog is read", markup=False)
    return (await read_members(kafka, configuration.changelog_topic, [member], configuration.partitioner)).get(member)
