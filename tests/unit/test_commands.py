"""Commands that need no server: what they print, their exit status, and that every error ends with what to do."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from e2e.definitions import demo_models, level
from typer.testing import CliRunner, Result
from unit.test_arguments import commands

from memberstream.models.cost import Cost
from memberstream.models.explain import explain_one
from memberstream.models.model_file import parse
from memberstream.models.timestamps import DAY_MS, parse_ms
from memberstream.stream.authoring.affordable import described, too_expensive
from memberstream.stream.cli import events
from memberstream.stream.cli.main import app, main
from memberstream.stream.cli.model.versions import print_sizes
from memberstream.stream.demo.history import day_ms, documents
from memberstream.stream.registry.log import ModelsLog

AT = "1997-10-01"


def memberstream(*arguments: object, **environment: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


def write(path: Path, *lines: Any) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines))
    return path


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """The demo's model files, by name."""
    return {d["name"]: write(tmp_path / f"{d['name']}.json", d) for d in demo_models(boosted=True)}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A model file with several problems."""
    return write(tmp_path / "broken.json", level() | {"format": 2, "version": 0, "clusters": []})


def assert_next_action(result: Result) -> None:
    """Exit status 1, nothing on standard output, a last line with the next action; as JSON one object."""
    assert result.exit_code == 1, result.output
    if result.stderr.startswith("{"):
        assert orjson.loads(result.stderr)["next"]
        assert result.stdout == ""
        return
    assert result.stderr.startswith("error: "), result.stderr
    assert "Next: " in result.stderr.splitlines()[-1]
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command", ["model promote level@2 --reason", "events skip 0 1 --reason", "members forget --why"]
)
def test_a_reason_is_bounded(command: str) -> None:
    """In bytes, before anything is asked: it is kept for ever, and read by every worker at each start."""
    result = memberstream(*command.split(), "é" * 1_001)
    assert result.exit_code == 2
    assert "2,002 bytes, the limit is 2,000. Next: say it shorter" in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("command", ["", "worker", "lookup", "events", "model", "model check"])  # test_examples.py: all
def test_a_command_explains_itself(command: str) -> None:
    """--help says what it is for, whatever the environment."""
    result = memberstream(*command.split(), "--help", MEMBERSTREAM_NONSENSE="x")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    assert len(result.stdout.splitlines()) > 5


def test_version() -> None:
    """--version prints the package's version alone."""
    assert memberstream("--version").stdout == f"{version('memberstream')}\n"


def test_the_shell_completes_commands() -> None:
    """Completion is switched on: the shell asks the command itself what can follow."""
    words = {"_MEMBERSTREAM_COMPLETE": "complete_bash", "COMP_WORDS": "memberstream model pub", "COMP_CWORD": "2"}
    assert CliRunner().invoke(app, [], env=words, prog_name="memberstream").stdout == "publish\n"


def test_check_says_what_a_good_file_holds(models: dict[str, Path], tmp_path: Path) -> None:
    """Its examples were reproduced; without any it says what that means."""
    result = memberstream("model", "check", models["repeat_buyer"])
    assert result.exit_code == 0
    assert result.stdout.startswith("ok repeat_buyer@1: logistic")
    assert "examples reproduced" in result.stdout
    bare = memberstream("model", "check", write(tmp_path / "bare.json", level()))
    assert (bare.exit_code, "Next: add some" in bare.stderr) == (0, True)


def test_check_lists_every_problem(broken: Path) -> None:
    """For people on standard error, for programs as JSON; exit status 1 both times."""
    result = memberstream("model", "check", broken)
    assert_next_action(result)
    for path in ("format", "version", "clusters"):
        assert f"  {path}" in result.stderr
    as_json = memberstream("model", "check", broken, "--json")
    report = orjson.loads(as_json.stdout)
    assert (as_json.exit_code, report["ok"]) == (1, False)
    assert {problem["path"] for problem in report["problems"]} >= {"format", "version", "clusters"}
    assert {tuple(problem) for problem in report["problems"]} == {("path", "expected", "found")}


def test_check_as_json_of_a_good_file(models: dict[str, Path]) -> None:
    """One object, exit status 0."""
    result = memberstream("model", "check", models["buying_style"], "--json")
    report = orjson.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["model"], report["problems"]) == (0, True, "buying_style@1", [])
    assert report["examples"] > 0


def wide(n: int) -> dict[str, Any]:
    """Return a model of n windows over a list."""
    windows = [
        {"name": f"w{i}", "path": "seen", "time": "at", "aggregate": "count", "window_days": i + 1} for i in range(n)
    ]
    scorer = {"type": "logistic", "coef": [0.1] * n, "intercept": 0, "thresholds": [0.5]}
    return level(name="wide") | {"predictors": windows, "model": scorer}


def test_check_says_what_a_model_costs(tmp_path: Path) -> None:
    """On documents that are handed over; what asks too much of a worker is refused in words, and may be forced."""
    file = write(tmp_path / "wide.json", wide(400))
    heavy = write(tmp_path / "heavy.ndjson", {"seen": [{"at": (10_000 + i) * DAY_MS} for i in range(4_000)]})
    light = write(tmp_path / "light.ndjson", {"seen": []}, {"seen": [{"at": "1970-01-01"}]})
    nothing = memberstream("model", "check", file, "--documents", write(tmp_path / "empty.ndjson"))
    assert nothing.exit_code == 1
    assert "no documents. Next:" in nothing.stderr.replace("\n", " ")
    affordable = memberstream("model", "check", file, "--documents", light)
    assert affordable.exit_code == 0
    assert re.search(r"cost: \S+ [µm]s a member, measured here on 2 documents\. Most expensive: ", affordable.stdout)
    refused = memberstream("model", "check", file, "--documents", heavy)
    assert refused.exit_code == 1
    assert re.search(
        r"error: wide@1 is too expensive: scoring one member takes \S+ m?s, more than 20 ms: .*expensive: w\d+ .*-",
        refused.stderr.replace("\n", " "),
    )
    assert memberstream("model", "check", file, "--documents", heavy, "--force").exit_code == 0
    told = memberstream("model", "check", file, "--documents", heavy, "--json")
    report = orjson.loads(told.stdout)
    assert (told.exit_code, report["ok"], report["cost"]["documents"]) == (1, False, 1)
    assert report["cost"]["most_expensive"][0]["seconds"] <= report["cost"]["seconds_a_member"]
    assert "too expensive" in report["too_expensive"]


SPEND = level(name="spend") | {
    "predictors": [{"name": "spend", "path": "orders", "aggregate": "sum", "value": "paid", "time": "at"}],
    "model": {"type": "logistic", "coef": [1], "intercept": 0, "thresholds": [0.5]},
}


def test_check_says_what_documents_hold(tmp_path: Path) -> None:
    """Numbers as texts and times in seconds are told, each with what the model file can say; and with that it fits."""
    documents = write(tmp_path / "d.ndjson", *[{"orders": [{"paid": "12.50", "at": 1_767_225_600}]}] * 9, {})
    result = memberstream("model", "check", write(tmp_path / "m.json", SPEND), "--documents", documents)
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("spend  ")]
    assert rows == [
        ["spend", "orders", "9", "1", "0", "0", "0"],
        ["spend", "orders[].paid", "0", "0", "0", "9", "0"],
        ["spend", "orders[].at", "0", "0", "0", "0", "9"],
    ]
    said = result.stderr.replace("\n", " ")
    assert (
        'expected a number, found a number written as a text, in 9 of 9 documents with a value; "type": "numb' in said
    )
    assert '1990 or after 2099: they look like seconds, in 9 of 9 documents with a value; "unit": "s" in the m' in said
    assert memberstream("model", "check", tmp_path / "m.json", "--documents", documents, "--force").exit_code == 0
    told = orjson.loads(memberstream("model", "check", tmp_path / "m.json", "--documents", documents, "--json").stdout)
    assert (told["ok"], [one["n_wrong_type"] for one in told["coverage"]]) == (False, [0, 9, 0])
    fits = SPEND | {"predictors": [SPEND["predictors"][0] | {"type": "number_text", "unit": "s"}]}
    result = memberstream("model", "check", write(tmp_path / "m.json", fits), "--documents", documents)
    assert (result.exit_code, "doesn't fit" in result.stdout) == (0, False)


def test_check_of_events_says_what_a_model_would_read(tmp_path: Path) -> None:
    """Of the documents that the events make, a member's events together; what doesn't fit fails the check."""
    model = write(tmp_path / "m.json", SPEND)
    element = {"at": "2026-01-01", "paid": 3}
    append = {"op": "append", "path": "orders", "value": element, "member_id": "a"}
    clash = {"op": "append", "path": "orders.x", "value": 1, "member_id": "a"}  # a worker's dead letter
    events = write(tmp_path / "e.ndjson", append, clash, append | {"member_id": "b"})
    result = memberstream("events", "check", events, "--model", model)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "3 good, 0 bad")
    assert [line.split()[2] for line in result.stdout.splitlines() if line.startswith("spend  ")] == ["2", "2", "2"]
    bad = append | {"value": element | {"paid": "free"}}
    events = write(tmp_path / "e.ndjson", append, bad, {"op": "delete", "member_id": "b"}, {"op": "odd"})
    result = memberstream("events", "check", events, "--model", model)
    assert result.exit_code == 1
    assert "orders[].paid: expected a number, found a text, in 1 of 1 document with a value" in result.stderr
    told = orjson.loads(memberstream("events", "check", events, "--model", model, "--json").stdout)
    assert (told["good"], told["bad"], told["coverage"][1]["n_partly"]) == (3, 1, 1)
    assert told["misfitting"].startswith("spend@1 reads values that don't fit")


def test_a_key_that_is_json_fails_the_check_unless_it_is_allowed(tmp_path: Path) -> None:
    """As a worker would say it, by the same setting."""
    events = write(tmp_path / "e.ndjson", {"op": "delete", "member_id": '{"id": 1}'})
    result = memberstream("events", "check", events)
    assert (result.exit_code, "ExtractField$Key" in result.stderr.replace("\n", " ")) == (1, True)
    assert memberstream("events", "check", events, MEMBERSTREAM_JSON_KEYS="allow").exit_code == 0


@pytest.mark.parametrize("command", ["worker", "interactions worker"])
def test_wrong_settings_of_a_worker_are_a_record_of_its_log(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A collector that parses JSON gets no other line. Without that setting they are an error like any other."""
    wrong = {"MEMBERSTREAM_TOPIC": "", "MEMBERSTREAM_ODD": "1"}
    assert_next_action(memberstream(*command.split(), **wrong))
    root = logging.getLogger()
    handlers, level_ = root.handlers[:], root.level
    try:
        result = memberstream(*command.split(), **wrong, MEMBERSTREAM_LOG_FORMAT="json")
    finally:
        root.handlers[:], root.level = handlers, level_
    assert result.exit_code == 1
    [line] = (result.stderr or capfd.readouterr().err).splitlines()
    told = orjson.loads(line)
    assert told["level"] == "ERROR"
    assert "MEMBERSTREAM_ODD: unknown" in told["message"]
    assert told["next"] == "correct these variables (docs/operations.md)"


def test_all_members_together_may_cost_too_much() -> None:
    """A cheap model of very many members, told in hours of a core."""
    model = parse(level())
    cost = Cost(20_000, 0.001, 0.0001, (("x", 0.0009),))
    assert too_expensive(model, cost, 8_640_000) == ""
    assert "about 36,000,000 members once takes 10 hours of one core, more than 10% of a day" in too_expensive(
        model, cost, 36_000_000
    )
    assert (
        described(cost, 36_000_000)
        == "1 ms a member, measured here on 20,000 documents; 10 hours for about 36,000,000 members"
    )


def test_a_file_without_lines_is_refused_before_memory_is_full(tmp_path: Path) -> None:
    """A line of 17 MB of each kind of file, for each command that reads lines."""
    long = tmp_path / "long.txt"
    long.write_bytes(b"x" * (17 << 20))
    model = write(tmp_path / "level.json", level())
    for command in (
        ("events", "check", long),
        ("model", "score", model, long),
        ("model", "check", model, "--documents", long),
    ):
        result = memberstream(*command)
        assert result.exit_code == 1, command
        assert "longer than 16,777,216 characters. Next: " in result.stderr.replace("\n", " "), (command, result.output)


def test_score_prints_what_explain_says(models: dict[str, Path], tmp_path: Path) -> None:
    """A line per document, in order: predictors, eta and probability, or raw and probability, or distances, cluster;
    equal to the last bit."""
    some = list(documents(day_ms(AT)).values())[:50]
    file = write(tmp_path / "docs.ndjson", *some, b"")
    for name, model in ((d["name"], parse(d)) for d in demo_models(boosted=True)):
        result = memberstream("model", "score", models[name], file, "--at", AT)
        assert result.exit_code == 0, result.output
        rows = [orjson.loads(line) for line in result.stdout.splitlines()]
        for row, document in zip(rows, some, strict=True):
            why = explain_one(model, document, parse_ms(AT) or 0)
            of_kind: dict[str, dict[str, Any]] = {
                "repeat_buyer": {"eta": why.eta, "probability": why.probability},
                "repeat_boosted": {"raw": why.raw, "probability": why.probability},
                "buying_style": {"distances": why.distances},
            }
            assert row == {
                "member_id": document["member_id"],
                "predictors": why.predictors,
                **of_kind[name],
                "cluster": why.cluster.id,
            }


def test_events_check_names_line_and_reason(tmp_path: Path) -> None:
    """Good and bad are counted, each bad one has its line; --json has all; exit status 1 when one is bad."""
    good = {"op": "replace", "member_id": "a", "document": {}}
    file = write(tmp_path / "bad.ndjson", good, b"{", {"op": "delete"}, b"", good | {"op": "nonsense"})
    result = memberstream("events", "check", file)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 good, 3 bad (")
    for line, reason in ((2, "not_json"), (3, "missing_field"), (5, "unknown_op")):
        assert f"{file}:{line}: {reason}: " in result.stderr
    assert "Next: " in result.stderr.splitlines()[-1]
    report = orjson.loads(memberstream("events", "check", file, "--json").stdout)
    assert (report["good"], report["bad"]) == (1, 3)
    assert [(problem["line"], problem["reason"]) for problem in report["problems"]] == [
        (2, "not_json"),
        (3, "missing_field"),
        (5, "unknown_op"),
    ]
    fine = memberstream("events", "check", write(tmp_path / "good.ndjson", good))
    assert (fine.exit_code, fine.stdout) == (0, "1 good, 0 bad\n")
    assert_next_action(memberstream("events", "send", file))


def test_what_may_be_too_late_is_told(tmp_path: Path) -> None:
    """Interactions older than the horizon are counted, in words and as JSON; none isn't spoken of."""
    click = {"kind": "click", "member_id": "m", "campaign": "c"}
    now_ms = time.time_ns() // 1_000_000
    rows = [click | {"id": f"i{days}", "at": now_ms - round(days * DAY_MS)} for days in (6, 7.5, 9)]
    file, new = write(tmp_path / "all.ndjson", *rows), write(tmp_path / "new.ndjson", rows[0])
    result = memberstream("interactions", "check", file)
    assert (result.exit_code, result.stdout) == (0, "3 good, 0 bad\n")
    assert "note: 2 interactions are older than 7 days: a worker that has counted newer ones refuses" in result.stderr
    assert orjson.loads(memberstream("interactions", "check", file, "--json").stdout)["may_be_too_late"] == 2
    told = memberstream("interactions", "check", file, "--json", MEMBERSTREAM_INTERACTION_HORIZON_DAYS="8").stdout
    assert orjson.loads(told)["may_be_too_late"] == 1
    assert memberstream("interactions", "check", new).stderr == ""


def test_errors_end_with_the_next_action(
    models: dict[str, Path], broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing files, bad input, a wrong environment, no broker, no Redis: exit status 1 and one message."""
    monkeypatch.setattr(ModelsLog.__init__, "__defaults__", (0.1,))  # patience_s: a broker isn't waited for
    good = write(tmp_path / "good.ndjson", {"op": "delete", "member_id": "a"})
    model = models["repeat_buyer"]
    missing = tmp_path / "missing"
    nobody = {"MEMBERSTREAM_KAFKA_BOOTSTRAP": "127.0.0.1:1", "MEMBERSTREAM_REDIS_URL": "redis://127.0.0.1:1"}
    for arguments in (
        ("model", "check", missing),
        ("model", "check", missing, "--json"),
        ("model", "check", broken),
        ("model", "score", broken, good),
        ("model", "score", model, missing),
        ("model", "score", model, write(tmp_path / "list", [1])),
        ("model", "score", model, write(tmp_path / "cut", b"{")),
        ("model", "score", model, good, "--at", "yesterday"),
        ("model", "publish", broken),
        ("model", "publish", model),
        ("model", "promote", "repeat_buyer@1"),
        ("model", "list"),
        ("model", "live-at", "repeat_buyer", "yesterday"),
        ("events", "check", missing),
        ("events", "check", tmp_path),
        ("events", "send", missing),
        ("events", "send", good),
        ("lookup", "a"),
        ("explain", "a", "repeat_buyer"),
    ):
        result = memberstream(*arguments, **nobody)
        assert_next_action(result)
    assert_next_action(memberstream("lookup", "a", MEMBERSTREAM_REDIS_URL="http://x"))


@pytest.mark.parametrize("name", sorted(commands(typer.main.get_command(app))))
def test_every_command_has_json(name: str) -> None:
    """And an error is one object with what to do: here that there is no such option."""
    result = memberstream(*name.split(), "--json", "--no-such-option")
    assert (result.exit_code, result.stdout) == (2, "")
    told = orjson.loads(result.stderr)
    assert told.keys() == {"error", "next"}
    assert "--no-such-option" in told["error"]
    assert told["next"].endswith(f"{name} --help")


def test_what_is_to_be_done_is_said_once() -> None:
    """An argument's own advice is `next`; that of the command isn't put behind it."""
    result = CliRunner().invoke(app, ["model", "promote", "level@2", "--json", "--reason", "x" * 2_001])
    told = orjson.loads(result.stderr.splitlines()[-1])
    assert (result.exit_code, told["next"]) == (2, "say it shorter, or where it stands")


class StoppedProducer:
    """Acknowledges the lines of some numbers; another ends as Ctrl-C does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._n = 0

    async def __aenter__(self) -> StoppedProducer:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def send(self, key: bytes, value: bytes) -> asyncio.Future[None]:
        self._n += 1
        if self._n == 6:
            raise KeyboardInterrupt
        future = asyncio.get_running_loop().create_future()
        if self._n in (1, 2, 4):
            future.set_result(None)
        return future


def test_ctrl_c_tells_the_last_line_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to which all are acknowledged: thousands behind it may wait. A pipe is sent, too."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    line = orjson.dumps({"member_id": "a", "op": "replace", "document": {}}) + b"\n"
    writing = threading.Thread(target=pipe.write_bytes, args=(line * 9,))
    writing.start()
    monkeypatch.setattr(events, "Producer", StoppedProducer)
    result = memberstream("events", "send", pipe, "--json")
    writing.join()
    assert (result.exit_code, result.stdout) == (130, "")
    told = orjson.loads(result.stderr.splitlines()[-1])
    assert told["error"] == "stopped: the lines up to 2 are acknowledged; 3 later ones may be sent, too"
    assert told["next"].startswith("send from line 3 on; an event that comes twice is applied twice")


def test_without_an_answer_nothing_is_done() -> None:
    """A question goes to standard error; no, or nobody there: an error that says so, also as JSON."""
    for answer, said in (("n\n", "when you are sure"), ("", "run it on a terminal, or with --yes")):
        result = CliRunner().invoke(app, ["load", "--members", "5", "--rate", "1", "--json"], input=answer)
        assert (result.exit_code, result.stdout.strip()) == (1, answer.strip())  # the runner's echo of what is typed
        told = orjson.loads(result.stderr.splitlines()[-1])
        assert told["error"].startswith("nothing was changed")
        assert said in told["next"]


def test_arguments_that_are_not_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that aren't UTF-8 are refused before any command sees them; other alphabets are text."""
    monkeypatch.setattr("sys.argv", ["memberstream", "campaign", "show", "fr\udcfchling"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: 'fr\\udcfchling': not UTF-8. Next: check the terminal's encoding\n"
    monkeypatch.setattr("sys.argv", ["memberstream", "model", "check", "früh.json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1  # there is no such file


def test_a_fault_of_ours_is_told_in_short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The innermost frames, with the cause, and that it is to be reported."""

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise ValueError("what came of it") from error

    monkeypatch.setattr(sys.modules[main.__module__], "app", lambda: deep(100))
    monkeypatch.setattr("sys.argv", ["memberstream", "model", "list"])
    with pytest.raises(SystemExit) as ended:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert len(lines) < 50
    assert "KeyError: 'the cause'" in lines
    assert "ValueError: what came of it" in lines
    assert lines[-1] == "error: this is a fault of memberstream. Next: report it with the lines above"


def test_names_like_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster called like Rich's markup is printed as it is called."""
    print_sizes({1: 3, 2: 4}, {1: "[/b]", 2: "[red]x"})
    out = capsys.readouterr().out
    assert "1 [/b]" in out
    assert "2 [red]x" in out
