"""`memberstream plan`, `load`: how large an installation has to be, and synthetic events to try it with."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import typer

from memberstream.models.plan import Plan as Predictors
from memberstream.models.wording import counted
from memberstream.stream.cli.arguments import Json, Yes
from memberstream.stream.cli.arguments import share as read_share
from memberstream.stream.cli.model.files import read
from memberstream.stream.kafka.producer import Producer
from memberstream.stream.sizing.load import KEPT, Achieved, send
from memberstream.stream.sizing.plan import Job, coefficients
from memberstream.stream.sizing.plan import plan as plan_of
from memberstream.stream.sizing.shape import Event, Shape, ShapeError, deletes, firsts, steady
from memberstream.stream.sizing.yardstick import yardstick_us
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, confirm, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.table import print_table
from memberstream.stream.terminal.waiting import stoppable


@reports_errors
def a_number(value: float) -> float:
    """Refuse what is no number but is read as one: it is neither below nor above any bound."""
    if math.isnan(value):
        raise CommandError("nan is no number. Next: write one")
    return value


_LAST_S = 1.0  # for Kafka's answer to the last event, which isn't part of the rate
Members = Annotated[int, typer.Option(min=1, max=1_000_000_000, help="how many there are", show_default=False)]
DocumentBytes = Annotated[int, typer.Option(min=2, max=8_000_000, help="of a member's document as JSON, on average")]
Patches = Annotated[
    str, typer.Option(metavar="SHARE", help="of the events that are patches; the others are whole documents")
]


@reports_errors
def plan(
    members: Members,
    events_per_s: Annotated[
        float,
        typer.Option(min=0, max=1e9, help="change events in a second, at peak", show_default=False, callback=a_number),
    ],
    document_bytes: DocumentBytes = 1_000,
    patches: Patches = "100%",
    models: Annotated[int, typer.Option(min=1, max=1_000, help="versions that are scored side by side")] = 1,
    predictors: Annotated[
        int,
        typer.Option(min=1, max=100_000, help="columns of all models together: a one-hot has several", metavar="N"),
    ] = 12,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="a model file, may be repeated: counts models and predictors", show_default=False),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="processor time of this machine, by a yardstick of a few seconds")
    ] = False,
    json: Json = False,
) -> None:
    """Say how many workers and partitions, how much memory, disk and Redis a job takes, by what was measured."""
    patch_share = read_share("--patches", patches)
    if model:
        models, predictors = len(model), Predictors([read(path) for path in model]).empty(1)[0].shape[1]
    by = coefficients()
    job = Job(members, document_bytes, events_per_s, models, predictors, patch_share)
    found = plan_of(job, by, speed_here(by.yardstick_us) if here else 1.0)
    if json:
        print_json(dataclasses.asdict(job) | dataclasses.asdict(found))
        return
    rows = (
        (
            "workers",
            f"{found.workers:,}, each a process and a core; a backlog takes {found.cores:.2g} cores",
        ),
        ("partitions", f"{found.partitions:,}"),
        ("memory", f"{found.memory_mb_per_worker:,.0f} MB for each worker, at its highest"),
        (
            "disk",
            f"{_size(found.disk_mb_per_worker)} for each worker, and {_size(found.uncompacted_mb)} at most beside",
        ),
        ("Redis", f"{_size(found.redis_mb)} of memory for members' rows"),
        ("changelog", f"{_size(found.changelog_mb)} once compacted, for each replica"),
        ("", f"{found.changelog_mb_per_s:,.2f} MB/s written at most, for each replica"),
    )
    whose = "this machine" if here else by.machine
    print_table(("what", "how much"), rows, sentences=(1,))
    out.print(f"{found.cpu_us:,.0f} µs of processor time for an event of a backlog, on {whose}")
    err.print("Next: try it with memberstream load. docs/sizing.md says where these figures come from")


def speed_here(measured_us: float) -> float:
    """Return how fast this machine's processor is, in those of the coefficients' machine."""
    return measured_us / min(yardstick_us(0.1) for _ in range(20))


def _size(mb: float) -> str:
    return f"{mb / 1000:,.1f} GB" if mb >= 1000 else f"{mb:,.0f} MB"


@reports_errors
def load(
    members: Members,
    rate: Annotated[
        float, typer.Option(min=0.1, max=1_000_000, help="events in a second", show_default=False, callback=a_number)
    ],
    seconds: Annotated[
        float, typer.Option(min=0, max=1e7, help="how long, after each member's document", callback=a_number)
    ] = 60,
    document_bytes: DocumentBytes = 1_000,
    list_length: Annotated[int, typer.Option(min=0, max=100_000, help="elements of the document's list")] = 10,
    patches: Patches = "100%",
    seed: Annotated[int, typer.Option(help="another one sends other events")] = 1,
    documents: Annotated[
        bool, typer.Option("--documents/--no-documents", help="send each member's whole document first")
    ] = True,
    delete: Annotated[bool, typer.Option("--delete", help="send a delete of each member instead")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Send synthetic change events to the topic at a steady rate, and say what was achieved. Ids begin with load-.

    Documents of real members, from files: memberstream events load.
    """
    shape = Shape(members, document_bytes, list_length, read_share("--patches", patches))
    n_steady = 0 if delete else round(rate * seconds)
    total = n_steady + (members if delete or documents else 0)

    def events() -> Iterator[Event]:
        if delete:
            return deletes(shape)
        return chain(firsts(shape, seed) if documents else (), islice(steady(shape, seed), n_steady))

    sending = events()
    try:
        first = list(islice(sending, 1))  # so that a wrong shape is said before anybody is asked
    except ShapeError as error:
        raise CommandError(str(error)) from None
    topic = settings().topic
    question = f"Send {counted(total, 'synthetic event')} to {topic} on {settings().kafka}, where workers apply them?"
    confirm(question, is_sure=yes)
    removal = f"memberstream load --members {members} --rate {rate:.15g} --delete"
    with stoppable(f"some of the events are sent. Next: remove the members by {removal}"):
        achieved: Achieved = asyncio.run(_send(chain(first, sending), rate, total))
    if json:
        told = dataclasses.asdict(achieved)
        print_json({"topic": topic, "asked_per_s": rate, "events_per_s": achieved.events_per_s, **told})
    else:
        out.print(
            f"[green]sent[/] {counted(achieved.events, 'event')} to {topic} in {achieved.seconds:,.1f} s: "
            f"{achieved.events_per_s:,.0f} events/s of {rate:,.0f}, {achieved.bytes / achieved.seconds / 1e6:,.2f} MB/s"
        )
        if achieved.late_p99_ms is not None and achieved.acknowledged_p99_ms is not None:
            out.print(
                f"p99: {achieved.late_p99_ms:,.1f} ms late, {achieved.acknowledged_p99_ms:,.1f} ms to Kafka's answer"
            )
    if achieved.seconds > achieved.events / rate / KEPT + _LAST_S:
        err.print(
            "the rate wasn't kept: this process, the broker or the network is the limit. Next: send with several "
            "processes, each with its own --seed, or look at the broker"
        )
    if not delete:
        err.print(f"Next: see /metrics of the workers; remove the members by {removal}", soft_wrap=True)


async def _send(events: Iterator[Event], rate: float, total: int) -> Achieved:
    its = settings()
    with bar("sending") as meter:
        async with Producer(its.kafka, its.topic, partitioner=its.partitioner) as producer:
            return await send(producer, events, rate, lambda n: meter(n, total))
