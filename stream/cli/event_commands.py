"""`memberstream events …`: check change events in a file, and send them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from models.event import BadEvent, decode
from stream.change_history import key_of
from stream.cli.console import CommandError, err, out, print_json, reports_errors, settings
from stream.producer import Producer

app = typer.Typer(no_args_is_help=True, help="Check and send change events (docs/events.md).")
File = Annotated[Path, typer.Argument(help="NDJSON: one change event per line, with its member_id", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
_PROGRESS_EVERY = 500  # events; drawing costs as much as sending
_SHOWN = 20  # problems printed one by one; --json has all


# Line number, key, value, and why a worker couldn't read it.
Line = tuple[int, bytes | None, bytes, BadEvent | None]


def read_lines(path: Path, decode: Callable[[bytes, bytes, int], object]) -> Iterator[Line]:
    """Yield what a file's lines are to `decode(key, value, now_ms)`."""
    now_ms = time.time_ns() // 1_000_000
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            value = line.strip()
            if not value:
                continue
            key = None
            try:
                key = key_of(value)
                decode(key, value, now_ms)
            except BadEvent as error:
                yield number, key, value, error
            else:
                yield number, key, value, None


def read_events(path: Path) -> Iterator[Line]:
    """Yield a file's change events."""
    return read_lines(path, lambda key, value, now_ms: decode(key, value, now_ms, now_ms))


@app.command()
@reports_errors
def check(file: File, json: Json = False) -> None:
    """Say of each event whether a worker could read it. Exit status 1 if one is bad."""
    check_lines(file, read_events(file), "docs/events.md", json)


@app.command()
@reports_errors
def send(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="send bad events, too; they become dead letters")] = False,
    json: Json = False,
) -> None:
    """Send a file's change events to Kafka, in order, each keyed by its member_id."""
    send_lines(file, read_events, settings().topic, "events", force, json)


def check_lines(file: Path, lines: Iterable[Line], document: str, json: bool) -> None:
    """Print which lines are bad and why; exit status 1 if one is. `document`: where their format is described."""
    good, problems = 0, []
    for number, _, _, error in lines:
        if error is None:
            good += 1
        else:
            problems.append({"line": number, "reason": str(error.reason), "detail": error.detail})
    if json:
        print_json({"good": good, "bad": len(problems), "problems": problems})
    else:
        for problem in problems[:_SHOWN]:
            err.print(f"{file}:{problem['line']}: {problem['reason']}: {problem['detail']}", markup=False)
        reasons = Counter(str(problem["reason"]) for problem in problems)
        listed = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
        out.print(f"{good} good, {len(problems)} bad" + (f" ({listed})" if problems else ""))
        if problems:
            err.print(f"Next: correct these lines ({document}), or send them anyway and find them in the dead letters")
    if problems:
        raise typer.Exit(1)


def send_lines(
    file: Path, read: Callable[[Path], Iterable[Line]], topic: str, what: str, force: bool, json: bool
) -> None:
    """Send a file's lines to a topic. `what`: events or interactions. Raises CommandError: one is bad."""
    if not force:
        bad = [(number, error) for number, _, _, error in read(file) if error is not None]
        if bad:
            number, error = bad[0]
            raise CommandError(
                f"{file}:{number}: {error}; {len(bad)} bad {what}, nothing was sent. "
                f"Next: memberstream {what} check {file}, or send with --force"
            )
    sent = asyncio.run(_send(read(file), topic, file.stat().st_size))
    if json:
        print_json({"sent": sent, "topic": topic})
    else:
        out.print(f"[green]sent[/] {sent} {what} to {topic}")


async def _send(lines: Iterable[Line], topic: str, n_bytes: int) -> int:
    sent = 0
    async with Producer(settings().kafka_bootstrap, topic) as producer:
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("sending", total=n_bytes)
            sent_bytes = 0
            for _, key, value, _ in lines:
                await producer.send(key, value)
                sent += 1
                sent_bytes += len(value) + 1
                if sent % _PROGRESS_EVERY == 0:
                    progress.update(task, completed=sent_bytes)
            await producer.flush()
    return sent
