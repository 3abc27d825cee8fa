"""The help of each command: its examples are taken by its own parser, and no text of it is lost as markup."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.core import TyperCommand
from typer.testing import CliRunner
from unit.test_arguments import commands

from memberstream.stream.cli.examples import EXAMPLES
from memberstream.stream.cli.main import app

FILES = ("events.ndjson", "model.toml", "documents.ndjson", "list.csv", "members.parquet", "rows.csv", "shown.ndjson")
TREE = typer.main.get_command(app)
ALL = sorted(commands(TREE))
RUNNER = CliRunner()


def test_every_command_has_some() -> None:
    """One or two; and none is of a command that isn't there."""
    assert sorted(EXAMPLES) == ALL
    assert {len(lines) for lines in EXAMPLES.values()} <= {1, 2}


@pytest.mark.parametrize("name", ALL)
def test_help(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option's text is there whole, also [pictures]; it ends with examples, which pass all checks of arguments."""
    monkeypatch.chdir(tmp_path)
    for file in FILES:
        Path(file).touch()

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("reached for a server")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    command: Any = TREE
    for word in name.split():
        command = command.commands[word]
    lines = RUNNER.invoke(app, [*name.split(), "--help"], env={"COLUMNS": "300"}).stdout.splitlines()
    shown = " ".join(" ".join(lines).replace("│", " ").split())
    for param in command.params:
        if param.help:
            assert " ".join(param.help.replace("\\[", "[").split()) in shown, param.name
    run: list[Any] = []
    monkeypatch.setattr(TyperCommand, "invoke", lambda self, context: run.append(context))
    for words in EXAMPLES[name]:
        line = f"{name} {words}".rstrip()
        assert f" memberstream {line}" in [text.rstrip() for text in lines]
        result = RUNNER.invoke(app, shlex.split(line), prog_name="memberstream")
        assert result.exit_code == 0, result.output
        assert run.pop().command_path == f"memberstream {name}"
