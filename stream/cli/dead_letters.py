"""`memberstream dead-letters …`: what failed and why, and sending it again."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from memberstream.models.event import Reason
from memberstream.models.interaction import Refusal
from memberstream.models.timestamps import format_ms
from memberstream.models.wording import counted
from memberstream.stream.cli.arguments import Json, Yes, moment
from memberstream.stream.cli.skips import plain, print_sizes
from memberstream.stream.resending.judging import MOST_TIMES
from memberstream.stream.resending.letter import Choice, Letter, read_letters
from memberstream.stream.resending.sending import RATE, Resending, Resent, Topic
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, confirm, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.safe import escape, visible
from memberstream.stream.terminal.table import print_table
from memberstream.stream.terminal.waiting import stoppable

app = typer.Typer(
    no_args_is_help=True, help="Look at what could not be applied, and send it again (docs/dead-letters.md)."
)
Interactions = Annotated[bool, typer.Option("--interactions", help="of the topic of interactions")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="only these; may be repeated", show_default=False)]
Partition = Annotated[int | None, typer.Option(min=0, help="only records of this partition", show_default=False)]
From = Annotated[str | None, typer.Option("--since", help="only what failed from then on", show_default=False)]
Until = Annotated[str | None, typer.Option(help="only what failed before then", show_default=False)]
_SHOWN = 20  # letters printed one by one; --json has all


@app.command("list")
@reports_errors
def list_(
    reason: Reasons = None,
    partition: Partition = None,
    since: From = None,
    until: Until = None,
    interactions: Interactions = False,
    json: Json = False,
) -> None:
    """Count dead letters by reason and partition."""
    choice = _choice(reason, partition, since, until, interactions)
    topic = Topic.of(settings(), interactions)
    groups: dict[tuple[str, int], list[Letter]] = {}
    for letter in asyncio.run(_read(topic, choice)):
        groups.setdefault((letter.reason, letter.place[0]), []).append(letter)
    rows = [_row(reason, number, letters) for (reason, number), letters in sorted(groups.items())]
    if json:
        print_json({"topic": topic.dead, "letters": sum(row["letters"] for row in rows), "groups": rows})
        return
    if not rows:
        out.print(f"no dead letters in {topic.dead}, or this user may not see it")
        return
    heads = "reason", "partition", "letters", "sent again", "first", "last", "newest"
    shown = []
    for row in rows:
        numbers = str(row["partition"]), f"{row['letters']:,}", f"{row['resent']:,}"
        shown.append((escape(row["reason"]), *numbers, row["first"], row["last"], row["newest"]))
    print_table(heads, shown)
    out.print(f"{counted(sum(row['letters'] for row in rows), 'dead letter')} in {topic.dead}")


@app.command()
@reports_errors
def show(
    place: Annotated[
        str | None,
        typer.Argument(help="PARTITION/OFFSET of the record that failed; default: the newest", show_default=False),
    ] = None,
    reason: Reasons = None,
    data: Annotated[bool, typer.Option("--data", help="print key and value, too: personal data")] = False,
    interactions: Interactions = False,
    json: Json = False,
) -> None:
    """Show one dead letter: which record it was, why it failed, its headers."""
    choice = _choice(reason, None, None, None, interactions)
    topic, wanted = Topic.of(settings(), interactions), _place(place)
    letter = asyncio.run(_newest(topic, choice, wanted))
    if letter is None:
        which = f"of partition {wanted[0]}, offset {wanted[1]}" if wanted else "of that kind"
        raise CommandError(f"{topic.dead} holds no dead letter {which}. Next: memberstream dead-letters list")
    if json:
        print_json(_as_json(topic, letter, data))
        return
    at = format_ms(letter.at_ms) if letter.at_ms >= 0 else "at an unknown time"
    out.print(f"{topic.name}, partition {letter.place[0]}, offset {letter.place[1]}, sent {at}", markup=False)
    out.print(f"failed {format_ms(letter.failed_at_ms)}: {plain(letter.reason)}: {plain(letter.detail)}", markup=False)
    print_sizes(out, letter.key, letter.value, letter.headers)
    if letter.times:
        first = f", first at offset {letter.first[1]}" if letter.first[1] >= 0 else ""
        out.print(f"sent again {counted(letter.times, 'time')}{first}")
    if letter.is_cut:
        out.print("it was cut to what its topic takes")
    if data:
        for name, content in [("key", letter.key), *letter.headers, ("value", letter.value)]:
            said = "none" if content is None else visible(content.decode(errors="backslashreplace"))
            out.print(f"{plain(name)}: {said}", markup=False)


@app.command()
@reports_errors
def resend(
    reason: Reasons = None,
    partition: Partition = None,
    since: From = None,
    until: Until = None,
    interactions: Interactions = False,
    rate: Annotated[float, typer.Option(min=0.1, help="letters a second at most")] = RATE,
    most_times: Annotated[
        int, typer.Option(min=1, help="leave letters that were sent again so often and failed each time")
    ] = MOST_TIMES,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be sent, send nothing")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Send dead letters again whose cause is gone, as far as that changes no member that is newer.

    Says of each other letter why it isn't sent. What was sent once isn't sent again, also after a crash.
    """
    choice = _choice(reason, partition, since, until, interactions)
    with stoppable("some may be sent. Next: run it again: what was sent once isn't sent again"):
        asyncio.run(_resend(choice, tuple(reason or ()), interactions, rate, most_times, dry_run, yes, json))


async def _resend(
    choice: Choice,
    named: tuple[str, ...],
    interactions: bool,
    rate: float,
    most_times: int,
    dry_run: bool,
    yes: bool,
    json: bool,
) -> None:
    from memberstream.stream.authoring.steps import this_user

    topic = Topic.of(settings(), interactions)
    with ExitStack() as reading:
        meter = reading.enter_context(bar("reading"))
        run = Resending(settings(), topic, choice, this_user(), named=named, most_times=most_times, progress=meter)
        async with run.planned() as letters:
            reading.close()
            would_be = Counter(letter.reason for letter in letters)
            if not json:
                _print_refused(run.outcome)
                listed = ", ".join(f"{n:,} {escape(one)}" for one, n in sorted(would_be.items()))
                out.print(f"{counted(len(letters), 'dead letter')} can be sent again" + (listed and f" ({listed})"))
            if letters and not dry_run:
                try:
                    confirm(f"Send to {topic.name}?", is_sure=yes)
                    with bar("sending") as sending:
                        await run.send(letters, rate, sending)
                except BaseException:
                    _print_overtaken(run.outcome)
                    raise
    _print_outcome(run.outcome, topic, dry_run, would_be, json)


def _print_outcome(outcome: Resent, topic: Topic, dry_run: bool, would_be: Counter[str], json: bool) -> None:
    if json:
        print_json(
            {
                "topic": topic.name,
                "chosen": outcome.chosen,
                "would_send" if dry_run else "sent": would_be if dry_run else outcome.sent,
                "sent_before": outcome.done,
                "not_sent": [
                    {"partition": one.place[0], "offset": one.place[1], "reason": one.reason, "why": why}
                    for one, why in outcome.refused
                ],
                "overtaken": [{"partition": one.place[0], "offset": one.place[1]} for one in outcome.overtaken],
            }
        )
    elif not dry_run:
        out.print(f"[green]sent again[/] {counted(outcome.sent.total(), 'dead letter')} to {topic.name}")
    _print_overtaken(outcome)
    if outcome.overtaken:
        raise typer.Exit(1)


def _print_overtaken(outcome: Resent) -> None:
    for one in outcome.overtaken:
        err.print(
            f"partition {one.place[0]}, offset {one.place[1]}: its member was deleted while this was sent, and may be "
            "back. Next: send the delete again"
        )


def _print_refused(outcome: Resent) -> None:
    if outcome.done:
        out.print(f"{counted(outcome.done, 'dead letter was', 'dead letters were')} sent again before")
    for letter, why in outcome.refused[:_SHOWN]:
        partition, offset = letter.place
        err.print(f"partition {partition}, offset {offset}: {plain(letter.reason)}: {why}", markup=False)
    if (more := len(outcome.refused) - _SHOWN) > 0:
        err.print(f"… and {more:,} more, all of them with --json")
    if outcome.refused:
        out.print(f"{counted(len(outcome.refused), 'dead letter')} can't be sent again")


def _as_json(topic: Topic, letter: Letter, data: bool) -> dict[str, Any]:
    """Return a letter; its data only if asked for. Bytes that aren't UTF-8 are shown as \\xff."""

    def size(content: bytes | None) -> dict[str, Any]:
        text = None if content is None else content.decode(errors="backslashreplace")
        return {"bytes": None if content is None else len(content)} | ({"text": text} if data else {})

    partition, offset = letter.place
    return {
        "topic": topic.name,
        "partition": partition,
        "offset": offset,
        "sent_at": format_ms(letter.at_ms) if letter.at_ms >= 0 else None,
        "failed_at": format_ms(letter.failed_at_ms),
        "reason": letter.reason,
        "detail": letter.detail,
        "key": size(letter.key),
        "value": size(letter.value),
        "headers": [{"name": name, **size(content)} for name, content in letter.headers],
        "times_sent_again": letter.times,
        "is_cut": letter.is_cut,
    }


async def _read(topic: Topic, choice: Choice) -> list[Letter]:
    """Return the letters that are meant, without their data: there may be many."""
    with bar("reading") as meter:
        letters = read_letters(settings().kafka, topic.dead, meter)
        return [one._replace(key=None, value=None, headers=(), marks=()) async for one in letters if choice.has(one)]


async def _newest(topic: Topic, choice: Choice, place: tuple[int, int] | None) -> Letter | None:
    newest = None
    async for letter in read_letters(settings().kafka, topic.dead):
        if choice.has(letter) and place in (None, letter.place):
            newest = letter if newest is None or letter.failed_at_ms >= newest.failed_at_ms else newest
    return newest


def _row(reason: str, partition: int, letters: list[Letter]) -> dict[str, Any]:
    newest = max(letters, key=lambda letter: letter.failed_at_ms)
    return {
        "reason": reason,
        "partition": partition,
        "letters": len(letters),
        "resent": sum(letter.times > 0 for letter in letters),
        "first": format_ms(min(letter.failed_at_ms for letter in letters)),
        "last": format_ms(newest.failed_at_ms),
        "newest": f"{newest.place[0]}/{newest.place[1]}",
    }


def _choice(
    reasons: list[str] | None, partition: int | None, since: str | None, until: str | None, interactions: bool
) -> Choice:
    known = [str(one) for one in (Refusal if interactions else Reason)]
    for reason in reasons or ():
        if reason not in known:
            raise CommandError(f"--reason {reason}: expected one of {', '.join(known)}. Next: dead-letters list")
    return Choice(
        tuple(reasons) if reasons else None,
        partition,
        None if since is None else moment("--since", since),
        None if until is None else moment("--until", until),
    )


def _place(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    partition, slash, offset = text.partition("/")
    if not (slash and partition.isdecimal() and offset.isdecimal()):
        raise CommandError(f"{text}: expected PARTITION/OFFSET, as in 3/1741. Next: memberstream dead-letters list")
    return int(partition), int(offset)
