"""`memberstream interactions …`: count what members do about campaigns; check and send interactions of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from memberstream.models.interaction import Interaction, decode
from memberstream.models.timestamps import DAY_MS
from memberstream.models.wording import counted
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
    read = _Reading()
    check_lines(file, read(file), "docs/interactions.md", json, more=read.said)


@app.command()
@reports_errors
def send(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="send bad ones, too; they become dead letters")] = False,
    json: Json = False,
) -> None:
    """Send a file's interactions to Kafka, in order, each keyed by its member_id."""
    read = _Reading()
    send_lines(file, read, settings().interactions_topic, "interactions", force, json, more=read.said)


class _Reading:
    """Reads a file's interactions, and counts those that are older than the horizon: a worker refuses them, once it has
    counted newer ones of the partition. Whether it has isn't known here."""

    def __init__(self) -> None:
        its = settings()
        self._kinds, self._may_be_json = its.interaction_kinds, its.are_json_keys_allowed
        self._horizon_ms = its.interaction_horizon_ms
        self._n_old = 0

    def __call__(self, path: Path) -> Iterator[Line]:
        self._n_old = 0

        def look(key: bytes, value: bytes, now_ms: int) -> None:
            found = decode(key, value, now_ms, now_ms, self._kinds, may_be_json=self._may_be_json)
            self._n_old += isinstance(found, Interaction) and found.at_ms < now_ms - self._horizon_ms

        return read_lines(path, look)

    def said(self) -> tuple[dict[str, Any], str]:
        """Return that as JSON, and in words; "" if there are none."""
        old, days = counted(self._n_old, "interaction is", "interactions are"), round(self._horizon_ms / DAY_MS)
        text = (
            f"{old} older than {counted(days, 'day')}: a worker that has counted newer ones refuses them as too_late. "
            "Next: raise MEMBERSTREAM_INTERACTION_HORIZON_DAYS on all workers, or send old ones before newer ones"
        )
        return {"may_be_too_late": self._n_old}, text if self._n_old else ""
