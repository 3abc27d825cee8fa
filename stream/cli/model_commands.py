"""`memberstream model check` and `score`: model files, before they are published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from models.explain import score_many
from models.model import Model
from models.problems import ModelFileError
from models.timestamps import parse_ms
from stream.cli.console import CommandError, err, out, print_json, reports_errors, to_json
from stream.model_source import read_model

app = typer.Typer(no_args_is_help=True, help="Model files, and the versions that are published.")
_CHUNK = 1_000  # documents scored together: vectorised, and memory stays small
File = Annotated[Path, typer.Argument(help="a model file, .json or .toml", show_default=False)]


def read(path: Path) -> Model:
    """Return the model of a file.

    Raises:
        CommandError: the file is missing or has problems; the text lists all of them.
    """
    try:
        return read_model(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}. Next: check the path") from None
    except ModelFileError as error:
        n = len(error.problems)
        listed = "\n".join(f"  {problem}" for problem in error.problems)
        raise CommandError(
            f"{path}: {n} problem{'s' if n != 1 else ''}\n{listed}\n"
            "Next: correct them (docs/model-file.md) and check again"
        ) from None


@app.command()
@reports_errors
def check(file: File, json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """Read a model file and reproduce its examples; list every problem. Exit status 1 if there is one."""
    if json:
        _check_json(file)
        return
    model = read(file)
    examples = len(model.examples)
    out.print(
        f"[green]ok[/] {model.label}: {model.scorer.type}, {len(model.predictors)} predictors, "
        f"{len(model.inputs)} inputs, {len(model.clusters)} clusters, {examples} examples reproduced"
    )
    if not examples:
        err.print("note: without examples nothing proves that the worker computes what the trainer saw. Next: add some")


def _check_json(file: Path) -> None:
    try:
        model = read_model(file)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}. Next: check the path") from None
    except ModelFileError as error:
        print_json({"ok": False, "problems": error.problems})
        raise typer.Exit(1) from None
    print_json({"ok": True, "model": model.label, "examples": len(model.examples), "problems": []})


@app.command()
@reports_errors
def score(
    file: File,
    documents: Annotated[Path, typer.Argument(help="NDJSON: one member document per line", show_default=False)],
    at: Annotated[
        str | None, typer.Option(help="the time to score at, ISO 8601; default: now", show_default=False)
    ] = None,
) -> None:
    """Score documents offline, exactly as the worker does; one JSON object per line on standard output."""
    model = read(file)
    at_ms = time.time_ns() // 1_000_000 if at is None else moment("--at", at)
    documents_left = _documents(documents)
    while part := list(islice(documents_left, _CHUNK)):
        for row in score_many(model, part, at_ms):
            out.out(to_json(row), highlight=False)


def moment(option: str, text: str) -> int:
    """Return the time that an option gives, ms. Raises CommandError."""
    at_ms = parse_ms(text)
    if at_ms is None:
        raise CommandError(
            f"{option} {text}: expected ISO 8601. Next: write it like 1997-10-01 or 2026-03-01T09:30:00Z"
        )
    return at_ms


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise CommandError(f"{path}:{number}: expected JSON ({error}). Next: correct the line") from None
            if not isinstance(document, dict):
                raise CommandError(f"{path}:{number}: expected a JSON object. Next: one member document per line")
            yield document
