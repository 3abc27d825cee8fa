"""`memberstream model training-data`: predictors of members as of times, from the history of their change events."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections import Counter
from collections.abc import Container
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from memberstream.models.model import Model
from memberstream.models.training import TrainingError, TrainingMatrix, from_history
from memberstream.models.wording import counted
from memberstream.stream.cli.arguments import Json
from memberstream.stream.cli.model.files import read
from memberstream.stream.files.history import History, ndjson_history, parquet_history, topic_history
from memberstream.stream.files.training import check_output, read_rows, write_matrix
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings

_SHOWN = 20  # refused events printed one by one; --json has all
_WORTH_PROCESSES = 20_000  # rows; fewer are done before other processes have started


class By(StrEnum):
    """The time of an event from which on it is known."""

    EVENT_TIME = "event_time"
    ARRIVAL = "arrival"


@reports_errors
def training_data(
    predictors: Annotated[
        Path,
        typer.Argument(help="JSON or TOML: a list of predictors, or a model file for its inputs", show_default=False),
    ],
    rows: Annotated[Path, typer.Option(help="CSV or Parquet with the columns member_id and at", show_default=False)],
    out_file: Annotated[
        Path, typer.Option("--out", help=".parquet, .csv or .npz; its rows are those of --rows", show_default=False)
    ],
    history: Annotated[
        Path | None,
        typer.Option(help="change events: NDJSON, or Parquet; default: the topic of change events", show_default=False),
    ] = None,
    by: Annotated[
        By, typer.Option(help="from which time on an event counts: its own, or its record's")
    ] = By.EVENT_TIME,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="processes that share the work; default: one for each core", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Compute predictors of members as of times, as the stream would have. Nothing after that time plays a part."""
    check_output(out_file)
    definitions = _definitions(predictors)
    asked = read_rows(rows)
    source = _history(history, {member_id.encode() for member_id, _ in asked})
    n_processes, json_keys = processes or os.cpu_count() or 1, settings().json_keys
    try:
        if n_processes == 1 or len(asked) < _WORTH_PROCESSES:
            matrix = from_history(definitions, source.records, asked, by=by.value, json_keys=json_keys)
        else:
            # spawn: a forked process would inherit the locks of pyarrow's threads, but not the threads.
            with ProcessPoolExecutor(n_processes, get_context("spawn")) as pool:
                matrix = from_history(
                    definitions, source.records, asked, by=by.value, json_keys=json_keys, map=pool.map
                )
        write_matrix(matrix, out_file)
    except TrainingError as error:
        listed = "\n".join(f"  {problem}" for problem in error.problems)
        raise CommandError(f"{predictors}:\n{listed}\nNext: correct them (docs/training.md)") from None
    _report(matrix, source, out_file, json)


def _definitions(path: Path) -> list[dict[str, Any]] | Model:
    """Return a list's predictors, or a model file's model. The list is alone or under `predictors` (needed in TOML)."""
    try:
        data = path.read_bytes()
        value = tomllib.loads(data.decode()) if path.suffix == ".toml" else orjson.loads(data)
    except ValueError as error:
        raise CommandError(
            f"{path}: expected {'TOML' if path.suffix == '.toml' else 'JSON'} ({error}). Next: correct it"
        ) from None
    if isinstance(value, dict) and set(value) == {"predictors"}:
        value = value["predictors"]
    if not isinstance(value, list):
        return read(path)
    if not all(isinstance(predictor, dict) for predictor in value):
        raise CommandError(f"{path}: expected a list of predictors, each an object. Next: docs/training.md")
    return value


def _history(path: Path | None, keys: Container[bytes]) -> History:
    if path is not None:
        return parquet_history(path) if path.is_dir() or path.suffix == ".parquet" else ndjson_history(path)
    configuration = settings()
    with bar(f"reading {configuration.topic}") as meter:
        return asyncio.run(
            topic_history(
                configuration.kafka,
                configuration.topic,
                keys,
                configuration.partitioner,
                meter,
                may_be_json=configuration.are_json_keys_allowed,
            )
        )


def _report(matrix: TrainingMatrix, source: History, path: Path, json: bool) -> None:
    n, n_known = len(matrix.member_ids), int(matrix.is_known.sum())
    told = [f"{source.place_of(one.number)}: {one.reason}: {one.detail}" for one in matrix.refused]
    problems = [*source.problems, *told]
    if json:
        print_json({"rows": n, "known": n_known, "columns": matrix.columns, "problems": problems, "file": str(path)})
        return
    out.print(f"[green]written[/] {path}: {counted(n, 'row')}, {counted(len(matrix.columns), 'column')}", markup=True)
    if n_known < n:
        out.print(f"members not known then: {counted(n - n_known, 'row')}; is_known is false, predictors are missing")
    for problem in problems[:_SHOWN]:
        err.print(problem, markup=False)
    if problems:
        reasons = Counter(problem.partition(": ")[2].partition(":")[0] for problem in problems)
        listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        out.print(f"left out, as a worker would: {counted(len(problems), 'event')} ({listed})")
