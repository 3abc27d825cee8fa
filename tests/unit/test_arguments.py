"""Wrong arguments are said at once, by every command: neither Kafka nor Redis is reached for."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.testing import CliRunner

from memberstream.stream.cli.main import app

#: Of each command its wrong arguments. `good.json` is a model file; there is no `missing`.
WRONG = {
    "local": ["--kafka-port 65536", "--redis-port -1"],
    "console": ["--port 65536", "--host 0.0.0.0"],
    "console-users add": ["ann", "--role viewer", "ann --role boss"],
    "console-users remove": [""],
    "rebuild": ["--timeout-s -1"],
    "explain": ["m Level", "m level@0", "m level@x"],
    "model check": ["missing", "bad.json", "good.json --documents missing"],
    "model score": ["missing docs.ndjson", "good.json missing", "good.json docs.ndjson --at noon"],
    "model publish": ["missing", "bad.json"],
    "model wait": ["Level@1", "level@", "level@1.5"],
    "model promote": ["level@v2", "level@2 --max-flips lots", "level@2 --max-flips 120%"],
    "model rollback": ["level@1", "''"],
    "model retire": ["@1", "level@-1"],
    "model history": ["LEVEL"],
    "model live-at": ["level noon", "level@1 2026-01-01"],
    "model restart-log": ["--known -1"],
    "model compare": [
        "level@x level",
        "level level@0",
        "a b --picture p.gif",
        "a b --picture missing/p.svg",
        "a b --picture p.svg",
    ],
    "model training-data": [
        "missing --rows rows.csv --out x.csv",
        "good.json --rows missing --out x.csv",
        "good.json --rows rows.csv --out x.doc",
        "good.json --rows rows.csv --out x.csv --history missing",
        "good.json --rows rows.csv --out x.csv --by hearsay",
    ],
    "campaign set": [
        "Spring --model level --clusters 1",
        "spring --model Level --clusters 1",
        "spring --model level --clusters 1,,2",
        "spring --from tomorrow",
        "spring --until 2026-02-30",
        "spring --from 2026-02-01 --until 2026-01-01",
        "spring --holdout some",
        "spring --holdout 101%",
        "spring --window soon",
        "spring --window swipe=7d",
        "spring --window 10000d",
        "spring --primary click",
        "spring --primary swipe",
        "spring --guardrail install",
        "spring --guardrail click=1%",
        "spring --winsorise 20%",
        f"spring --title {'x' * 101}",
    ],
    "campaign show": ["'spring sale'"],
    "campaign pause": ["Spring"],
    "campaign resume": ["1st"],
    "campaign delete": ["''"],
    "campaign reach": ["spring/summer"],
    "campaign report": [
        "Spring",
        "spring --by week",
        "spring --until yesterday",
        "spring --kind Impression",
        "spring --csv --json",
        "spring --html missing/page.html",
        "spring --html .",
    ],
    "campaign plan": [
        "Spring --effect 1pt",
        "spring --effect much",
        "spring --effect 1pt --rate 3",
        "spring --effect 0pt",
    ],
    "campaign export": ["Spring", "spring --format xlsx", "spring --out missing/x.csv", "folder --format csv"],
    "campaign split": [
        "Spring --model level",
        "spring --model Level",
        "spring --model level --from tomorrow",
        "spring --model level --holdout 1.234%",
    ],
    "clusters upload": [
        "Buyers list.csv",
        "buyers missing",
        "buyers list.csv --version 0",
        "buyers list.csv --names 1=a,2=a",
        "buyers list.csv --max-flips -1",
        "buyers list.csv --merge buyers@x",
        "buyers list.csv --id-column nobody",
        "buyers list.csv --rejected missing/rows.csv",
    ],
    "members forget": ["", "m", "m --partition -1", "m --partition 0 --misplaced", "'' --partition 0"],
    "events check": ["missing"],
    "plan": [
        "--members 0 --events-per-s 1",
        "--members 5 --events-per-s nan",
        "--members 5 --events-per-s inf",
        "--members 5 --events-per-s 1 --patches much",
        "--members 5 --events-per-s 1 --model missing",
        "--members 5 --events-per-s 1 --model good.json --model bad.json",
    ],
    "load": [
        "--members 5 --rate 0",
        "--members 5 --rate nan",
        "--members 5 --rate 10 --seconds nan",
        "--members 5 --rate 10 --patches 101%",
        "--members 5 --rate 10 --document-bytes 50",
    ],
    "events send": ["missing", "bad.json", "missing --force"],
    "events load": [
        "good.json",
        "missing --as-of 2026-01-01",
        "good.json --as-of noon",
        "good.json --as-of 2999-01-01",
        "good.json --as-of 2026-01-01 --version-column v",
        "good.json --as-of 2026-01-01 --rate 0",
        "good.json --as-of 2026-01-01 --rejected missing/rows.csv",
        "missing.parquet --as-of 2026-01-01",
    ],
    "dead-letters list": ["--reason bad", "--reason too_late", "--partition -1", "--since noon"],
    "dead-letters show": ["3", "three/1", "²/1", "--reason bad"],
    "dead-letters resend": ["--reason bad", "--until noon", "--rate 0", "--most-times 0"],
    "state snapshot": [".", "good.json"],
    "state restore": ["missing --yes", ". --yes", "good.json --yes"],
    "events skip": ["-1 0", "0 -1", "0 0 --timeout-s -1"],
    "interactions check": ["missing"],
    "interactions send": ["missing", "bad.json", "missing --force"],
}
#: Whose arguments can't be wrong: there are none, or any text may be a member's id, and Redis knows whether it is.
NEVER_WRONG = {
    *("console-users list", "demo", "doctor", "worker", "interactions worker", "lookup", "campaign visible"),
    *("model list", "model complete-log", "campaign list", "members misplaced", "events skipped"),
}


def commands(command: Any, *names: str) -> Iterator[str]:
    """Yield the whole names of the commands of a group, or of one."""
    if not hasattr(command, "commands"):
        yield " ".join(names)
        return
    for name, inner in command.commands.items():
        yield from commands(inner, *names, name)


def test_every_command_is_here() -> None:
    """A new command brings its wrong arguments, or its reason why none is wrong."""
    assert set(commands(typer.main.get_command(app))) == WRONG.keys() | NEVER_WRONG


@pytest.mark.parametrize("line", [f"{command} {wrong}" for command, all_ in WRONG.items() for wrong in all_])
def test_a_wrong_argument_is_said_before_anything_is_reached_for(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1 or 2, a message that isn't about a server, nothing on standard output, and no connection."""
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text(
        '{"format": 1, "name": "level", "version": 1, "predictors": [{"name": "x", "path": "x", "missing": 0}],'
        '"model": {"type": "kmeans", "centroids": [[0], [1]]}, "clusters": [{"id": 1, "name": "low"},'
        '{"id": 2, "name": "high"}]}'
    )
    Path("bad.json").write_text("{}")
    Path("docs.ndjson").write_text("{}")
    Path("rows.csv").write_text("member_id,at\nm,2026-01-01\n")
    Path("list.csv").write_text("m,1\n")
    for folder in ("folder.csv", "p.svg"):
        Path(folder).mkdir()

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("reached for a server")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    result = CliRunner().invoke(app, shlex.split(line))
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2), result.output
    assert "Next: " in result.stderr or result.exit_code == 2
    assert "MEMBERSTREAM_" not in result.stderr
    assert not list(tmp_path.glob("x.*"))
