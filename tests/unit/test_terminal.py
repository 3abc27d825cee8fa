"""What others wrote, on its way to a terminal or a log: no control character of theirs arrives, whatever prints it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner
from unit.consoles import answer

from memberstream.stream.authoring.coverage import Coverage, awaited
from memberstream.stream.authoring.handling import in_the_way
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.cli import reading
from memberstream.stream.cli.main import app
from memberstream.stream.keyspace.formats import Beacon, Behind
from memberstream.stream.process.health import Check
from memberstream.stream.process.http_server import to_json as checks_json
from memberstream.stream.terminal import output
from memberstream.stream.terminal.json_log import JsonFormatter
from memberstream.stream.terminal.output import to_json
from memberstream.stream.terminal.safe import SafeConsole, SafeFormatter, escape, escape_json, one_line, visible
from memberstream.stream.terminal.table import print_table
from memberstream.stream.terminal.waiting import Waiting

ROOT = Path(__file__).resolve().parents[2]
#: Moves the cursor, sets the title, C1's own CSI, turns the line around, begins another line, rings.
NASTY = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u2066\r\n\x00\x7f\u2028[red]x[/]"
TEXTS = st.text(st.characters(codec=None) | st.sampled_from(sorted(set(NASTY))))
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OURS = re.compile(r"\x1b\[[0-9;]*m")  # colours


@given(TEXTS)
def test_no_control_character_is_left(text: str) -> None:
    """A text of one line has no newline either; printable text stays as it is."""
    assert not CONTROL.search(visible(text))
    assert not CONTROL.search(one_line(text))
    assert "\n" not in one_line(text)
    if text.isascii() and text.isprintable():
        assert one_line(text) == visible(text) == text


@given(st.recursive(TEXTS.filter(lambda t: not re.search("[\ud800-\udfff]", t)) | st.integers(0, 9), st.lists))
def test_json_keeps_its_value(value: object) -> None:
    """Only its own escapes are used."""
    shown = escape_json(to_json(value))
    assert json.loads(shown) == value
    assert not CONTROL.search(shown)


@given(text=TEXTS, is_terminal=st.booleans())
def test_whatever_is_printed(*, text: str, is_terminal: bool) -> None:
    """As text, as markup, in tables, escaped or forgotten: nothing but our own colours and newlines comes out."""
    printed = io.StringIO()
    console = SafeConsole(file=printed, force_terminal=is_terminal, soft_wrap=True, color_system="standard")
    console.print(f"[red]ours[/] {escape(text)}")
    console.print(text, markup=False)
    console.print(Text(text, style="bold"))
    console.out(text)
    table = Table("head", escape(text), title=Text(text))
    table.add_row(escape(text), Text(text))
    console.print(table)
    assert not CONTROL.search(OURS.sub("", printed.getvalue()))
    assert is_terminal or not text.isprintable() or text in printed.getvalue()


def printed_table(width: int | None) -> list[str]:
    """A table as a terminal of that width shows it; None: as a pipe gets it."""
    printed = io.StringIO()
    console = SafeConsole(
        file=printed, soft_wrap=True, force_terminal=width is not None, width=width, color_system=None
    )
    rows = [
        ("2026-01-01T00:00:00Z", "[red]1,234[/]", "a name, 你好 and more " + "x" * 30),
        ("", "5", escape("[pictures]")),
    ]
    print_table(("when", "n", "why"), rows, right=(1,), sentences=(2,), to=console)
    return printed.getvalue().splitlines()


def test_a_table_is_never_cut() -> None:
    """Whole in a pipe; on a terminal sentences are folded, numbers and dates aren't; where that doesn't fit, lines."""
    date = "2026-01-01T00:00:00Z"
    assert printed_table(None) == [
        "when                      n  why",
        f"{date}  1,234  a name, 你好 and more {'x' * 30}",
        "                          5  [pictures]",
    ]
    assert printed_table(53) == [
        "when                      n  why",
        f"{date}  1,234  a name, 你好 and more",
        f"{'':29}{'x' * 24}",
        f"{'':29}{'x' * 6}",
        "                          5  [pictures]",
    ]
    lines = [date, "  n: 1,234", f"  why: a name, 你好 and more {'x' * 30}", "  n: 5", "  why: [pictures]"]
    assert printed_table(40) == lines


def test_markup_of_others_is_shown_as_it_stands() -> None:
    """Neither does it colour, nor end a command by an error of ours."""
    printed = io.StringIO()
    SafeConsole(file=printed, soft_wrap=True).print(f"[red]a[/] {escape('[/] [link=x]b')}")
    assert printed.getvalue() == "a [/] [link=x]b\n"


def test_a_progress_bar_still_moves() -> None:
    """The console's own controls pass."""
    printed = io.StringIO()
    with Progress(console=SafeConsole(file=printed, force_terminal=True)) as progress:
        progress.update(progress.add_task(NASTY, total=2), completed=1)
    assert "\x1b[2K" in printed.getvalue() or "\x1b[?25l" in printed.getvalue()
    assert "\x1b]0;" not in printed.getvalue()


def test_no_log_line_can_be_forged() -> None:
    """What a record holds beyond its line is indented; so are tracebacks."""
    forged = "x\n2026-11-29 00:00:00,000 INFO root: all is well\r\x1b[2J"
    record = logging.LogRecord("root", logging.ERROR, "", 0, "member %s", (forged,), None)
    line, *rest = SafeFormatter("%(levelname)s %(message)s").format(record).split("\n")
    assert line == "ERROR member x"
    assert all(one.startswith("    ") and not CONTROL.search(one) for one in rest)


def test_a_record_as_json_is_one_line_with_stable_keys() -> None:
    """What to do stands by itself; an error brings its traceback; no control character of others gets through."""
    try:
        raise ValueError(NASTY)
    except ValueError as error:
        failed = type(error), error, error.__traceback__
    record = logging.LogRecord("root", logging.ERROR, "", 0, f"can't: {NASTY}. Next: %s", ("wait",), failed)
    record.created = 1.5
    line = JsonFormatter().format(record)
    assert not CONTROL.search(line)
    found = json.loads(line)
    assert found["error"].pop("traceback").endswith(f"ValueError: {NASTY}\n")
    assert found == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "ERROR",
        "logger": "root",
        "message": f"can't: {NASTY}",
        "next": "wait",
        "error": {"type": "ValueError", "message": NASTY},
    }
    plain = logging.LogRecord("a.b", logging.INFO, "", 0, "it is well", None, None)
    assert json.loads(JsonFormatter().format(plain)).keys() == {"time", "level", "logger", "message"}


def test_health_answers_hold_none() -> None:
    """Somebody reads them by curl."""
    body = checks_json([Check(NASTY, False, problem=NASTY, next=NASTY)]).decode()
    assert not CONTROL.search(body)
    assert json.loads(body)["checks"][0]["problem"] == NASTY


def test_there_is_no_other_way_out() -> None:
    """Only stream/terminal knows rich's console and its escape; nobody prints or echoes by himself."""
    bypass = re.compile(
        r"rich\.markup import|from rich\.console import Console|(?<![\w.])print\(|sys\.std(out|err)\.write"
    )
    found = [
        f"{path}:{n}"
        for path in sorted((ROOT / "stream").rglob("*.py"))
        if path.parent.name != "terminal"
        for n, line in enumerate(path.read_text().splitlines(), 1)
        if bypass.search(line)
    ]
    assert found == []


def test_a_worker_tells_nothing_of_its_libraries_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """What Faust's classes log below a warning goes under our names: where the code lies decides."""

    def log(path: str, level: int, text: str) -> None:
        record = logging.LogRecord("memberstream.stream.faust_batch.app", level, path, 1, text, (), None)
        logging.getLogger().handle(record)

    ours = str(Path(output.__file__).with_name("x.py"))
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        for verbose in (False, True):
            output.set_up_logging("json", verbose=verbose)
            log("/site-packages/mode/services.py", logging.INFO, "Starting")
            log("/site-packages/mode/services.py", logging.WARNING, "late")
            log(ours, logging.INFO, "ready")
            said = [orjson.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
            assert said == (["Starting", "late", "ready"] if verbose else ["late", "ready"])
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_nobody_waits_in_silence() -> None:
    """What is waited for is said after 10 s, once; another thing no sooner than 10 s later; nothing isn't said."""
    now, said = [0.0], list[str]()
    waiting = Waiting(said.append, lambda: now[0])
    for now[0], what in ((0, "a"), (9.9, "a"), (10, ""), (11, "a"), (12, "b"), (20.9, "b"), (21, "b"), (40, "b")):
        waiting(what)
    assert said == ["a", "b"]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_ctrl_c_says_what_remains(more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to go on; as JSON, too."""

    async def stopped(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Publishing, "registry", stopped)
    result = CliRunner().invoke(app, ["model", "wait", "level@2", *more])
    said = "stopped: the workers go on", "memberstream model wait level@2"
    assert (result.exit_code, result.stdout) == (130, "")
    if more:
        assert tuple(json.loads(result.stderr).values()) == said
    else:
        assert result.stderr == f"error: {said[0]}. Next: {said[1]}\n"


def test_ctrl_c_at_a_question() -> None:
    """It ends the question at once, also in an event loop, which would only note it; status 130, nothing is changed."""
    here, there = os.openpty()
    ask = "from memberstream.stream.terminal.output import confirm, reports_errors as r; import asyncio, typer\n"
    ask += "async def run(): confirm('Sure?', is_sure=False)\n"
    ask += "app = typer.Typer(); app.command()(r(lambda: asyncio.run(run()))); app()"
    with subprocess.Popen(
        [sys.executable, "-c", ask], stdin=there, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = b""
        while not said.endswith(b"[y/N]:"):
            more = os.read(process.stderr.fileno(), 100)
            assert more, said
            said += more
        process.send_signal(signal.SIGINT)
        try:
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    os.close(here)
    os.close(there)
    assert process.returncode == 130
    assert b"stopped: nothing was changed. Next: " in rest


def test_heads_of_tables_hold_no_control_character() -> None:
    """A cluster's name may be one, and names are written by others."""
    printed = io.StringIO()
    print_table(("n", "a\nb\x1b"), [("1", "2")], to=SafeConsole(file=printed, soft_wrap=True))
    assert printed.getvalue() == "n  a\\nb\\x1b\n1  2\n"


@pytest.mark.parametrize(
    ("beacon_ms", "behind_ms", "said"),
    [
        (0, 100_000, "partition 1 is held until somebody acts. Next: memberstream doctor"),
        (0, 0, "no worker has answered for partition 1. Next: memberstream worker"),
        (100_000, 100_000, "the workers are at partition 1. Next: wait"),
    ],
)
def test_why_a_partition_does_not_move(beacon_ms: int, behind_ms: int, said: str) -> None:
    """A held one waits for somebody; one whose worker lives isn't answered by another worker."""
    beacons, behind = {1: Beacon(7, 0, beacon_ms)}, {1: Behind(1, 1, 0, behind_ms)}
    assert in_the_way([1], beacons, behind, 100_000).startswith(said)


def told(**changed: object) -> Coverage:
    """Two partitions, done; but for what is changed."""
    done: dict[str, object] = {"waiting": (), "remaining": 0, "unscored": 0, "uncounted": (), "events": 0}
    return Coverage(2, **(done | {"members": 5, "untold": ()} | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (told(), ""),
        (told(waiting=(0, 1), untold=(0, 1)), "no worker has answered. Next: memberstream worker"),
        (told(waiting=(0, 1), untold=(1,)), "no worker has answered for partition 1. Next: start more workers"),
        (told(untold=(1,)), ""),
        (told(waiting=(0,)), "the workers are at it. Next: wait, or press Ctrl-C"),
        (told(events=20_000), "the workers have events to apply. Next: wait"),
        (told(waiting=(0,), untold=(0,), held=(0,)), "partition 0 is held until somebody acts: memberstream doctor"),
    ],
)
def test_what_a_version_waits_for(coverage: Coverage, said: str) -> None:
    """In words, with what to do."""
    assert awaited(coverage).startswith(said)
    assert bool(awaited(coverage)) == bool(said)


@pytest.mark.parametrize(
    ("is_complete", "said"),
    [
        (False, "  rebuilding: Redis isn't known to be whole"),
        (True, "  unknown member: no document of it was applied"),
    ],
)
def test_a_look_up_says_what_to_do_next(is_complete: bool, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a clause under the status: before a worker has run, and of an id that nobody knows."""
    reading._print_answer(answer(None, complete=is_complete))
    _, *more = capsys.readouterr().out.splitlines()
    assert more[-1].startswith(said)
    assert "Next: " in more[-1]
    reading._print_answer(answer(b"0:0:9:5:|level@1=2:5"))
    assert "Next: " not in capsys.readouterr().out
