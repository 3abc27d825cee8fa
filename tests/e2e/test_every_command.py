"""Every command over one installation whose names are awkward: as JSON, in a pipe of 40 columns, on such a terminal."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from e2e.commands import memberstream
from e2e.counting import Counting
from e2e.definitions import level
from e2e.system import Install, Pair, System
from servers import create_topic
from unit.test_arguments import commands

from memberstream.stream.cli.main import app
from memberstream.stream.terminal.output import err, out

ROOT = Path(__file__).parents[2]
#: Ids and names as somebody may have them: long, in brackets like markup, of other alphabets.
MEMBER = "[bold]Zoë[/] 你好 [pictures] " + "m" * 200
LOW, HIGH = "[red]low [pictures] 你好" + "w" * 60, "[/]high"
MODEL = "a_model_whose_name_has_sixty_four_letters_as_many_as_it_may_have"
CAMPAIGN = "a-campaign-whose-id-has-fifty-nine-letters-and-can-be-split"
WHY = "because [/b] of " + "x" * 80
#: The commands, in an order in which they work. `{i}` is another number in each round; a first word of 1: its exit
#: status, and with it an error; `?`: an answer that is no. What isn't here is run by itself, below.
LINES = """
doctor
events check events.ndjson
? events check bad.ndjson
events check events.ndjson --model m1.json
events send events.ndjson
1 events send bad.ndjson
events send bad.ndjson --force
events load documents.ndjson --as-of 2026-01-01
events load documents.ndjson --as-of 2026-01-01 --dry-run
events skip 0 0 --yes --force --reason {why}
1 events skip 0 999999 --yes
events skipped
dead-letters list
dead-letters show
dead-letters show --data
dead-letters resend --yes
dead-letters resend --dry-run
model check m1.json --documents documents.ndjson --force
? model check broken.json
model score m1.json documents.ndjson
model training-data m1.json --rows rows.csv --history events.ndjson --out out.csv
model publish m{i}.json --wait --force --reason {why}
model publish m{i}.json
1 model publish broken.json
model wait {model}@{i}
model compare {model}@{i} {model}@1
1 model compare {model}@{i} {model}@77
model promote {model}@{i} --force
model rollback {model} --reason {why}
model retire {model}@{i}
model list
model history {model}
model live-at {model} 2100-01-01
? model live-at {model} 2000-01-01
1 model restart-log --yes
1 model complete-log --yes
lookup {member}
? lookup nobody
explain {member} {model}
1 explain nobody {model}
campaign set c{i} --model {model} --clusters 1,2 --holdout 10% --reason {why} --title {why}
campaign split s{i} --model tidy
1 campaign split t{i} --model {model}
campaign pause c{i}
campaign resume c{i}
campaign list
campaign show c{i}
campaign reach c{i}
campaign delete c{i}
campaign visible {member}
campaign plan {campaign} --effect 1pt --kind purchase --rate 3% --per-day 5
campaign report {campaign}
campaign export {campaign}
interactions check shown.ndjson
? interactions check bad.ndjson
interactions send shown.ndjson
clusters upload {model} list.csv --names 1={low},2={high} --wait
? clusters upload {model} bad.csv --dry-run
1 clusters upload {model} bad.csv
members misplaced
members forget {member} --partition {partition} --yes
rebuild --yes
1 rebuild --take-over --yes
state snapshot taken{i}
1 state restore taken{i} --yes
plan --members 5 --events-per-s 1
load --members 3 --rate 100 --seconds 0 --yes
"""
#: Run as JSON elsewhere: test_demo.py; test_models_log.py and test_restoring.py, for they repair what is lost before;
#: unit/test_console_access.py.
ELSEWHERE = {
    *("demo", "model restart-log", "model complete-log", "state restore"),
    *("console-users add", "console-users remove", "console-users list"),
}
BY_THEMSELVES = {"console", "local", "worker", "interactions worker"}


def documented() -> dict[str, set[str]]:
    """Return the fields that docs/commands.md names, by command."""
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z`, -]+`) \| (.*) \|$", text, re.MULTILINE)
    return {
        command: set(re.findall(r"`(\w+)`", fields))
        for commands_, fields in rows
        for command in re.findall(r"`([a-z -]+)`", commands_)
    }


def lines(i: int, partition: int) -> Iterator[tuple[str, str, list[str]]]:
    """Yield of each line what is to come of it, its command and its words."""
    filled = {
        "i": str(i), "why": WHY, "model": MODEL, "member": MEMBER, "campaign": CAMPAIGN, "partition": str(partition),
        "low": LOW, "high": HIGH,
    }  # fmt: skip
    names = sorted(commands(typer.main.get_command(app)), key=len, reverse=True)
    for line in LINES.strip().splitlines():
        mark, rest = (line[0], line[2:]) if line[:2] in ("1 ", "? ") else ("", line)
        command = next(name for name in names if rest == name or rest.startswith(name + " "))
        yield mark, command, [word.format(**filled) for word in rest.split()]


def write(folder: Path) -> None:
    """Write the files that the lines name."""

    def ndjson(name: str, *rows: Any) -> None:
        (folder / name).write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n")

    members = [MEMBER, *(f"m{i}" for i in range(20))]
    ndjson("events.ndjson", *({"op": "replace", "member_id": m, "document": {"x": 1}} for m in members))
    ndjson("bad.ndjson", {"op": "patch", "member_id": "[/b]", "patch": 1}, {"kind": "[/b]", "member_id": MEMBER})
    ndjson("documents.ndjson", *({"member_id": m, "x": "[/b]"} for m in members))
    about = {"kind": "impression", "campaign": CAMPAIGN}
    ndjson("shown.ndjson", *(about | {"member_id": m, "id": f"i{n}"} for n, m in enumerate(members)))
    for i in range(1, 5):
        ndjson(f"m{i}.json", model(i))
    ndjson("broken.json", model(9) | {"predictors": [{"name": "[/b]"}]})
    (folder / "rows.csv").write_text(f"member_id,at\n{MEMBER},2100-01-01\n")
    (folder / "list.csv").write_text(f"{MEMBER},1\nm1,2\n")
    (folder / "bad.csv").write_text(f"{MEMBER},1\nm1,[/b]\n")


def model(version: int) -> dict[str, Any]:
    clusters = [{"id": 1, "name": LOW}, {"id": 2, "name": HIGH}]
    return level(version, version / 10, MODEL) | {"clusters": clusters, "description": "[/b] " + "d" * 90}


async def installed(pair: Pair, install: Install) -> tuple[System, Counting]:
    """Both workers, which log as JSON, one member in a campaign."""
    system = await install(pair, [model(1), level(name="tidy")])
    system.set(interactions_topic=f"{system.settings.topic}-shown")
    system.command = lambda: [sys.executable, "-m", "memberstream", "worker", "--json"]  # type: ignore[method-assign]
    system.start()
    counting = Counting(system)
    await create_topic(pair.broker.bootstrap, counting.settings.topic, partitions=system.n_partitions)
    counting.command = lambda: [*Counting.command(), "--json"]  # type: ignore[method-assign]
    counting.start()
    return system, counting


@pytest.mark.long
async def test_every_command_as_json_and_in_little_room(
    embedded_pair: Pair, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One JSON value with the fields that docs/commands.md names, an error as one object, no name or number cut, no
    traceback. About 40 s on a quiet machine."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    system, counting = await installed(embedded_pair, install)
    try:
        assert (await memberstream(system, "events", "send", "events.ndjson"))[0] == 0
        await system.until(lambda: bool(system.held(MEMBER)), "the member")
        where = int(system.held(MEMBER)["pos"].split(":")[1])
        first = ("campaign", "set", CAMPAIGN, "--model", MODEL, "--clusters", "1,2")
        assert (await memberstream(system, *first, "--window", "1d", "--reason", WHY))[0] == 0
        assert (await memberstream(system, "interactions", "send", "shown.ndjson"))[0] == 0
        export = ("campaign", "export", CAMPAIGN)
        give_up_at = time.monotonic() + 60
        while (said := await memberstream(system, *export))[0] != 0:
            assert time.monotonic() < give_up_at, (said, counting.says())
        run = {command for _, command, _ in lines(0, 0)}
        names = set(commands(typer.main.get_command(app)))
        assert run | ELSEWHERE | BY_THEMSELVES == names == documented().keys()
        await _as_json(system, where)
        monkeypatch.setenv("COLUMNS", "40")
        await _cut_nothing(system, where, 3)
        for console in (out, err):
            monkeypatch.setattr(console, "_force_terminal", True)
            monkeypatch.setattr(console, "_width", 40)
        await _cut_nothing(system, where, 4)
    finally:
        await counting.close()
    for worker in (system, counting):
        assert {"time", "level", "logger", "message"} <= set.intersection(
            *(set(orjson.loads(line)) for line in worker.says().splitlines())
        )
    for words in ("local --kafka-port 0 --redis-port 0", "console --port 0"):
        _until_stopped(words.split(), system.environment(), tmp_path)


async def _as_json(system: System, where: int) -> None:
    seen: defaultdict[str, set[str]] = defaultdict(set)
    failed = []
    for mark, command, words in lines(2, where):
        status, printed, said = await memberstream(system, *words, "--json")
        try:
            assert status == (1 if mark else 0)
            found = [orjson.loads(line) for line in printed.splitlines()]
            if mark == "1":
                told = orjson.loads(said.splitlines()[-1])
                assert (found, told.keys(), bool(told["next"])) == ([], {"error", "next"}, True)
            else:
                assert len(found) == 1 or command == "model score"
                for one in found[0] if isinstance(found[0], list) else found:
                    seen[command] |= one.keys()
        except (AssertionError, ValueError) as error:
            failed.append((words, status, printed, said, error))
    assert failed == []
    said_elsewhere = {"rebuild": {"keys", "owner", "owner_before"}, "model score": {"distances"}}
    assert {name: seen[name] | said_elsewhere.get(name, set()) for name in seen} == {
        name: fields for name, fields in documented().items() if name in seen
    }


async def _cut_nothing(system: System, where: int, i: int) -> None:
    for _, _, words in lines(i, where):
        _, printed, said = await memberstream(system, *words)
        assert "…" not in printed + said, (words, printed, said)
        assert "Traceback" not in said, (words, said)
        assert printed + said, words


def _until_stopped(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """Run what prints one object once it runs, and then goes on."""
    line = [sys.executable, "-m", "memberstream", *words, "--json"]
    with subprocess.Popen(line, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            assert orjson.loads(running.stdout.readline()).keys() == documented()[words[0]]
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait()
