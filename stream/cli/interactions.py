"""`memberstream interactions …`: count what members do about campaigns; check and send interactions of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from memberstream.models.interaction import decode
from memberstream.stream.cli.arguments import Json
from memberstream.stream.cli.events import check_lines, read_lines, send_lines
from memberstream.stream.cli.reading_events import Line
from memberstream.stream.cli.running import JsonLog, Verbose, run_to_the_end
from memberstream.stream.terminal.output import reports_errors, settings, settings_of_a_worker

app = typer.Typer(no_args_is_help=True, help="Count what members do about campaigns (docs/interactions.md).")
File = Annotated[Path, typer.Argument(help="NDJSON: one interaction per line, with its member_id", show_default=False)]


@app.command()
@reports_errors
def worker(verbose: Verbose = False, json: JsonLog = False) -> None:
    """Count interactions in the foreground. It is set up by environment variables (docs/operations.md)."""
    configuration = settings_of_a_worker(json=json)  # first, so that a wrong variable is reported at once
    from memberstream.stream.interaction_worker import run_interaction_worker  # Faust is slow to import

    topic, group = configuration.interactions_topic, configuration.interaction_group
    run_to_the_end(run_interaction_worker, configuration, topic, group, verbose=verbose)


@app.command()
@reports_errors
def check(file: File, json: Json = False) -> None:
    """Check for each interaction whether a worker could read it. Exit status 1 if one is bad."""
    check_lines(file, _read(file), "docs/interactions.md", json)


@app.command()
@reports_errors
def send(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="send bad ones, too; they become dead letters")] = False,
    json: Json = False,
) -> None:
    """Send a file's interactions to Kafka, in order, each keyed by its member_id."""
    send_lines(file, _read, settings().interactions_topic, "interactions", force, json)


def _read(path: Path) -> Iterator[Line]:
    kinds, may_be_json = settings().interaction_kinds, settings().are_json_keys_allowed
    return read_lines(
        path, lambda key, value, now_ms: decode(key, value, now_ms, now_ms, kinds, may_be_json=may_be_json)
    )
