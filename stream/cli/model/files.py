"""`memberstream model check` and `score`: model files, before they are published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from memberstream.models.cost import Cost
from memberstream.models.coverage import Coverage, coverage
from memberstream.models.explain import score_many
from memberstream.models.model import Model
from memberstream.models.problems import ModelFileError
from memberstream.models.wording import counted
from memberstream.stream.authoring.affordable import cost_on, described, too_expensive
from memberstream.stream.authoring.fitting import misfitting
from memberstream.stream.cli.arguments import Json, moment
from memberstream.stream.files.lines import lines
from memberstream.stream.files.models import read_model
from memberstream.stream.terminal.coverage import print_coverage
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, to_json

app = typer.Typer(no_args_is_help=True, help="Model files, and the versions that are published.")
_MEASURED = 20_000  # documents whose cost is measured at most
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
            f"{path}: {counted(n, 'problem')}\n{listed}\nNext: correct them (docs/model-file.md) and check again"
        ) from None


@app.command()
@reports_errors
def check(
    file: File,
    documents: Annotated[
        Path | None,
        typer.Option(
            help="NDJSON: members' documents, on which its cost is measured and what it reads is counted; default: "
            "its cost on its examples"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="although it costs too much, or reads values that don't fit")
    ] = False,
    json: Json = False,
) -> None:
    """Read a model file, reproduce its examples and measure what it costs; list every problem. Exit status 1 if there
    is one, if it costs too much, or if it reads values of DOCUMENTS that often don't fit.
    """
    if json:
        _check_json(file, documents, force)
        return
    model = read(file)
    examples = len(model.examples)
    out.print(
        f"[green]ok[/] {model.label}: {model.scorer.type}, {counted(len(model.predictors), 'predictor')}, "
        f"{counted(len(model.inputs), 'input')}, {counted(len(model.clusters), 'cluster')}, "
        f"{counted(examples, 'example')} reproduced"
    )
    if not examples:
        err.print("note: without examples nothing proves that the worker computes what the trainer saw. Next: add some")
    cost, found = _tried(model, documents)
    if cost is None:
        return
    why = "" if force else too_expensive(model, cost) or misfitting(model.label, found)
    if found:
        print_coverage(found, is_refused=bool(why))
    out.print(f"cost: {described(cost)}. Most expensive: {cost.most_expensive}", markup=False)
    if why:
        raise CommandError(why)


def _tried(model: Model, documents: Path | None) -> tuple[Cost | None, list[Coverage]]:
    """Return what a model costs on a file's documents or on its examples; None: there are none. And what the file's
    documents hold at the places that it reads."""
    if documents is None:
        examples = [example.document for example in model.examples]
        return cost_on(model, examples) if examples else None, []
    found = list(islice(_documents(documents), _MEASURED))
    if not found:
        raise CommandError(f"{documents}: no documents. Next: one JSON object a line, each a member's document")
    return cost_on(model, found), coverage(model.predictors, found)


def _check_json(file: Path, documents: Path | None, force: bool) -> None:
    try:
        model = read_model(file)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}. Next: check the path") from None
    except ModelFileError as error:
        print_json({"ok": False, "problems": error.problems})
        raise typer.Exit(1) from None
    cost, found = _tried(model, documents)
    why = "" if cost is None or force else too_expensive(model, cost)
    misfit = "" if force else misfitting(model.label, found)
    told: dict[str, Any] = {
        "ok": not why and not misfit,
        "model": model.label,
        "examples": len(model.examples),
        "problems": [],
    }
    if cost is not None:
        most = [{"predictor": name, "seconds": seconds} for name, seconds in cost.predictors[:10]]
        told["cost"] = {"documents": cost.n, "seconds_a_member": cost.member_s, "most_expensive": most}
        told["too_expensive"] = why
    if documents is not None:
        told |= {"coverage": found, "misfitting": misfit}
    print_json(told)
    if why or misfit:
        raise typer.Exit(1)


@app.command()
@reports_errors
def score(
    file: File,
    documents: Annotated[Path, typer.Argument(help="NDJSON: one member document per line", show_default=False)],
    at: Annotated[
        str | None, typer.Option(help="the time to score at, ISO 8601; default: now", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="errors as JSON, too; the results always are")] = False,
) -> None:
    """Score documents offline, exactly as the worker does; one JSON object per line on standard output."""
    model = read(file)
    at_ms = time.time_ns() // 1_000_000 if at is None else moment("--at", at)
    documents_left = _documents(documents)
    while part := list(islice(documents_left, _CHUNK)):
        for row in score_many(model, part, at_ms):
            out.out(to_json(row), highlight=False)


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(lines(file, path), 1):
            if not line.strip():
                continue
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise CommandError(f"{path}:{number}: expected JSON ({error}). Next: correct the line") from None
            if not isinstance(document, dict):
                raise CommandError(f"{path}:{number}: expected a JSON object. Next: one member document per line")
            yield document
