"""The command line, put together."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from stream.cli import (
    campaign_commands,
    compare_command,
    event_commands,
    interaction_commands,
    list_commands,
    model_commands,
    reader_commands,
    rebuild_command,
    registry_commands,
    report_command,
    service_commands,
    training_command,
)
from stream.cli.console import err

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may be members' documents
    help="Real-time member scoring: a fitted model in, every member's cluster in Redis, kept true by change events.",
)
app.add_typer(model_commands.app, name="model")
for name, registry_command in registry_commands.COMMANDS.items():
    model_commands.app.command(name)(registry_command)
app.add_typer(campaign_commands.app, name="campaign")
campaign_commands.app.command("report")(report_command.report)
campaign_commands.app.command("split")(report_command.split)
model_commands.app.command("training-data")(training_command.training_data)
model_commands.app.command("compare")(compare_command.compare_)
app.add_typer(list_commands.app, name="clusters")
app.add_typer(event_commands.app, name="events")
app.add_typer(interaction_commands.app, name="interactions")
for command in (
    service_commands.demo,
    service_commands.local,
    service_commands.worker,
    rebuild_command.rebuild,
    reader_commands.lookup,
    reader_commands.explain,
):
    app.command()(command)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(version("memberstream"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line. Arguments that aren't text are refused here, once: nothing of ours is called so."""
    for argument in sys.argv[1:]:
        if not argument.isascii() and argument.encode(errors="replace").decode() != argument:
            err.print(f"error: {argument!a}: not UTF-8. Next: check the terminal's encoding", markup=False)
            raise SystemExit(2)
    app()
