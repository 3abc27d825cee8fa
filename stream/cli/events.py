"""`memberstream events …`: check change events in a file, and send them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from memberstream.models.event import BadEvent, decode
from memberstream.models.placement import Partitioner
from memberstream.models.wording import counted
from memberstream.stream.cli.arguments import Json
from memberstream.stream.cli.model.files import read
from memberstream.stream.cli.reading_events import Documents, Line, Reading, reading
from memberstream.stream.files.history import key_of
from memberstream.stream.files.lines import lines
from memberstream.stream.files.pipes import rereadable
from memberstream.stream.kafka.producer import Producer
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.coverage import print_coverage
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.waiting import Remains, stoppable

app = typer.Typer(no_args_is_help=True, help="Check and send change events; skip records that no worker can handle.")
File = Annotated[Path, typer.Argument(help="NDJSON: one change event per line, with its member_id", show_default=False)]
_SHOWN_EVERY = 500  # events; drawing costs as much as sending
#: Says what else there is to say of lines, once all have been gone through: fields for JSON, and a note for people.
More = Callable[[], tuple[dict[str, Any], str]]
#: What it means that a record is sent twice, for somebody who goes on after Ctrl-C.
_REPEATS = {
    "events": "an event that comes twice is applied twice, unless it has a version",
    "interactions": "an interaction that comes twice is counted once",
}
_SHOWN = 20  # problems printed one by one; --json has all


def _nothing() -> tuple[dict[str, Any], str]:
    return {}, ""


def read_lines(path: Path, decode: Callable[[bytes, bytes, int], object]) -> Iterator[Line]:
    """Yield what a file's lines are to `decode(key, value, now_ms)`."""
    now_ms = time.time_ns() // 1_000_000
    with path.open("rb") as file:
        for number, line in enumerate(lines(file, path), 1):
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
    may_be_json = settings().are_json_keys_allowed
    return read_lines(path, lambda key, value, now_ms: decode(key, value, now_ms, now_ms, may_be_json=may_be_json))


@app.command()
@reports_errors
def check(
    file: File,
    model: Annotated[
        Path | None,
        typer.Option(help="a model file: count what it would read of the documents that the events make"),
    ] = None,
    json: Json = False,
) -> None:
    """Say of each event whether a worker could read it, and what a model would read. Exit status 1 if an event is bad,
    or if values often don't fit the model.
    """
    if model is None:
        check_lines(file, read_events(file), "docs/events.md", json)
        return
    chosen, documents = read(model), Documents()
    check_lines(
        file, documents.listening(read_events(file)), "docs/events.md", json, lambda: reading(chosen, documents)
    )


@app.command()
@reports_errors
def send(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="send bad events, too; they become dead letters")] = False,
    json: Json = False,
) -> None:
    """Send a file's change events to Kafka, in order, each keyed by its member_id."""
    send_lines(file, read_events, settings().topic, "events", force, json, settings().partitioner)


def check_lines(
    file: Path,
    lines: Iterable[Line],
    document: str,
    json: bool,
    read: Callable[[], Reading] | None = None,
    more: More = _nothing,
) -> None:
    """Print which lines are bad and why; exit status 1 if one is.

    Args:
        document: where their format is described.
        read: says what a model reads of the lines, once all have been gone through.
        more: what else there is to say of them then.
    """
    good, problems = 0, []
    for number, _, _, error in lines:
        if error is None:
            good += 1
        else:
            problems.append({"line": number, "reason": str(error.reason), "detail": error.detail})
    found, (fields, note) = None if read is None else read(), more()
    if json:
        told = {"good": good, "bad": len(problems), "problems": problems} | fields
        print_json(told if found is None else told | {"coverage": found.coverage, "misfitting": found.why})
    else:
        for problem in problems[:_SHOWN]:
            err.print(f"{file}:{problem['line']}: {problem['reason']}: {problem['detail']}", markup=False)
        reasons = Counter(str(problem["reason"]) for problem in problems)
        listed = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
        out.print(f"{good} good, {len(problems)} bad" + (f" ({listed})" if problems else ""))
        if problems:
            err.print(f"Next: correct these lines ({document}), or send them anyway and find them in the dead letters")
        _note(note)
        if found is not None:
            print_coverage(found.coverage, is_refused=bool(found.why))
            if found.why:
                raise CommandError(found.why)
    if problems or (found is not None and found.why):
        raise typer.Exit(1)


def send_lines(
    file: Path,
    read: Callable[[Path], Iterable[Line]],
    topic: str,
    what: str,
    force: bool,
    json: bool,
    partitioner: Partitioner = "murmur2",
    more: More = _nothing,
) -> None:
    """Send a file's lines to a topic. `what`: events or interactions. Raises CommandError: one is bad."""
    with stoppable("nothing was sent. Next: run it again") as stop, rereadable(file) as source:  # it is read twice
        if not force:
            bad = [(number, error) for number, _, _, error in read(source) if error is not None]
            if bad:
                number, error = bad[0]
                raise CommandError(
                    f"{file}:{number}: {error}; {counted(len(bad), f'bad {what}'[:-1])}, nothing was sent. "
                    f"Next: memberstream {what} check {file}, or send with --force"
                )
        n_bytes = source.stat().st_size
        sent = asyncio.run(_send(read(source), topic, partitioner, n_bytes, stop, _REPEATS[what]))
    fields, note = more()
    if json:
        print_json({"sent": sent, "topic": topic} | fields)
    else:
        out.print(f"[green]sent[/] {counted(sent, what.removesuffix('s'))} to {topic}")
        _note(note)


def _note(text: str) -> None:
    if text:
        err.print(f"note: {text}", markup=False)


async def _send(
    lines: Iterable[Line], topic: str, partitioner: Partitioner, n_bytes: int, stop: Remains, repeats: str
) -> int:
    sent, sent_bytes, settled = 0, 0, 0
    open_: deque[tuple[int, asyncio.Future[Any]]] = deque()  # from the first line on that isn't acknowledged
    try:
        async with Producer(settings().kafka, topic, partitioner=partitioner) as producer:
            with bar("sending") as meter:
                for number, key, value, _ in lines:
                    open_.append((number, await producer.send(key, value)))
                    settled = _settled(open_, settled)
                    sent += 1
                    sent_bytes += len(value) + 1
                    if sent % _SHOWN_EVERY == 0:
                        meter(sent_bytes, n_bytes)
                await producer.flush()
    finally:
        settled = _settled(open_, settled)
        if sent:
            said = f"the lines up to {settled}" if settled else "no lines"
            stop.text = (
                f"{said} are acknowledged; {counted(len(open_), 'later one')} may be sent, too. "
                f"Next: send from line {settled + 1} on; {repeats}"
            )
    return sent


def _settled(open_: deque[tuple[int, asyncio.Future[Any]]], last: int) -> int:
    """Drop the lines that are acknowledged, as far as all before them are; return the last of those."""
    while open_ and open_[0][1].done() and not open_[0][1].cancelled() and open_[0][1].exception() is None:
        last, _ = open_.popleft()
    return last
