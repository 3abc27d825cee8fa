"""`memberstream events skip`, `skipped`: set a record aside that no worker can handle; see who did so, when and why."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Annotated, Any

import typer

from memberstream.models.position import MAX_OFFSET
from memberstream.models.timestamps import format_ms
from memberstream.stream.authoring.steps import this_user
from memberstream.stream.cli.arguments import Json, Yes
from memberstream.stream.kafka.outgoing import Headers
from memberstream.stream.partition.setting_aside import Found, SettingAside
from memberstream.stream.partition.skip_log import SkipLog
from memberstream.stream.terminal.output import (
    confirm,
    err,
    out,
    print_json,
    reason_option,
    reports_errors,
    settings,
)
from memberstream.stream.terminal.safe import SafeConsole, escape
from memberstream.stream.terminal.table import print_table
from memberstream.stream.terminal.waiting import stoppable

Interactions = Annotated[bool, typer.Option("--interactions", help="of the topic of interactions")]


@reports_errors
def skip(
    partition: Annotated[int, typer.Argument(help="as /readyz names it", show_default=False, min=0)],
    offset: Annotated[int, typer.Argument(help="as /readyz names it", show_default=False, min=0, max=MAX_OFFSET)],
    reason: Annotated[str, reason_option("why, for the history; no personal data")] = "",
    interactions: Interactions = False,
    show: Annotated[bool, typer.Option("--show", help="print key and value, too: personal data")] = False,
    yes: Yes = False,
    force: Annotated[bool, typer.Option("--force", help="also where no worker stands")] = False,
    timeout_s: Annotated[float, typer.Option(min=0, help="how long to follow; it is noted in any case")] = 30.0,
    json: Json = False,
) -> None:
    """Set a record aside that no worker can handle. It becomes a dead letter, and the records behind it are handled.

    A worker's /readyz and log name the record that stops the workers, and the partition that is held for it.
    """
    with stoppable("a record that was noted stays noted. Next: memberstream events skipped"):
        said, is_passed = asyncio.run(_skip(partition, offset, reason, interactions, show, yes, force, timeout_s))
    if json:
        topic = settings().interactions_topic if interactions else settings().topic
        print_json({"topic": topic, "partition": partition, "offset": offset, "passed": is_passed})
    else:
        out.print(said)


async def _skip(
    partition: int, offset: int, reason: str, interactions: bool, show: bool, yes: bool, force: bool, timeout_s: float
) -> tuple[str, bool]:
    """Set a record aside. Returns what came of it, and whether the partition's worker has passed the record."""
    setting_aside = _setting_aside(interactions)
    found = await setting_aside.look(partition, offset)
    _print(found, show)
    setting_aside.refuse(found, force)  # before anybody is asked
    dead = settings().interaction_dead_letter_topic if interactions else settings().dead_letter_topic
    confirm(f"It won't be applied, but go to {dead} (reason skipped). For good?", is_sure=yes)
    await setting_aside.set_aside(found, this_user(), time.time_ns() // 1_000_000, reason, force)
    if found.stands_at != offset:
        return "set aside: the worker that comes to it makes it a dead letter", False
    err.print("noted; waiting for the partition's worker")
    if await setting_aside.passed(partition, offset, timeout_s):
        return f"set aside: partition {partition} goes on behind it", True
    return (
        f"noted, but partition {partition} hasn't passed it within {timeout_s:g} s. Next: is its worker running? "
        "A worker does this first when it is assigned the partition; if it runs, see its /readyz"
    ), False


@reports_errors
def skipped(interactions: Interactions = False, json: Json = False) -> None:
    """List the records that were set aside: which, when, by whom, why."""
    skips = asyncio.run(_setting_aside(interactions).history())
    topic = settings().interactions_topic if interactions else settings().topic
    steps = [(number, step) for number, step in skips.steps.items() if step.topic == topic]
    if json:
        print_json(
            [
                {
                    "step": number,
                    "at": format_ms(step.at_ms),
                    "partition": step.partition,
                    "offset": step.offset,
                    "actor": step.actor,
                    "reason": step.reason,
                    "forced": step.forced,
                }
                for number, step in steps
            ]
        )
        return
    if not steps:
        out.print(f"no record of {topic} was set aside")
        return
    rows = []
    for number, step in steps:
        who = plain(step.actor) + (" (forced)" if step.forced else "")
        place = str(number), format_ms(step.at_ms), str(step.partition), str(step.offset)
        rows.append((*place, escape(who), escape(plain(step.reason))))
    print_table(("step", "when", "partition", "offset", "who", "why"), rows, sentences=(5,))


def _setting_aside(interactions: bool) -> SettingAside:
    its = settings()
    log = SkipLog(its.kafka, its.skips_topic, its.replication_factor)
    if interactions:
        return SettingAside(its.kafka, its.interactions_topic, its.interaction_group, log)
    return SettingAside(its.kafka, its.topic, its.group, log)


def _print(found: Found, show: bool) -> None:
    """Print what can be said about a record without its data; the data, too, if asked for."""
    record = found.record
    at = format_ms(record.timestamp) if record.timestamp >= 0 else "at an unknown time"
    err.print(f"{record.topic}, partition {record.partition}, offset {record.offset}, sent {at}", markup=False)
    print_sizes(err, record.key, record.value, record.headers)
    if show:
        err.print(f"key {record.key!a}\nvalue {record.value!a}", markup=False)


def print_sizes(to: SafeConsole, key: bytes | None, value: bytes | None, headers: Headers) -> None:
    """Print what can be said about a record without its data."""
    to.print(f"key: {_size(key)} · value: {_size(value)}, SHA-256 {_digest(value)}")
    for name, content in headers:
        to.print(f"header {plain(name)!r}: {_size(content)}", markup=False)


def _size(data: bytes | None) -> str:
    return "none" if data is None else f"{len(data):,} bytes"


def _digest(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()


def plain(text: Any) -> str:
    """Return a text of others without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
