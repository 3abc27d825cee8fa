"""The command line, put together."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from memberstream.stream.cli import (
    clusters,
    console,
    console_users,
    dead_letters,
    doctor,
    events,
    interactions,
    loading,
    members,
    reading,
    rebuild,
    running,
    sizing,
    skips,
    state,
)
from memberstream.stream.cli.campaign import export, plan, report, split, terms
from memberstream.stream.cli.examples import show_examples
from memberstream.stream.cli.model import compare, files, log, training, versions
from memberstream.stream.terminal.output import err, errors_told, leave_to_the_error, tell
from memberstream.stream.terminal.tree import CommandTree

_FRAMES = 8  # of a traceback, the innermost: those before them are Typer's and asyncio's

app = typer.Typer(
    cls=CommandTree,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may be members' documents
    help="Real-time member scoring: a fitted model in, every member's cluster in Redis, kept true by change events.",
)
app.add_typer(files.app, name="model")
for name, model_command in (versions.COMMANDS | log.COMMANDS).items():
    files.app.command(name)(model_command)
files.app.command("training-data")(training.training_data)
files.app.command("compare")(compare.compare_)
app.add_typer(terms.app, name="campaign")
terms.app.command("plan")(plan.plan)
terms.app.command("report")(report.report)
terms.app.command("split")(split.split)
terms.app.command("export")(export.export)
app.add_typer(clusters.app, name="clusters")
app.add_typer(members.app, name="members")
app.add_typer(state.app, name="state")
app.add_typer(events.app, name="events")
events.app.command("load")(loading.load)
events.app.command("skip")(skips.skip)
events.app.command("skipped")(skips.skipped)
app.add_typer(interactions.app, name="interactions")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(console_users.app, name="console-users")
for command in (
    running.demo,
    running.local,
    running.worker,
    console.console,
    doctor.doctor,
    rebuild.rebuild,
    reading.lookup,
    reading.explain,
    sizing.plan,
    sizing.load,
):
    app.command()(command)
show_examples(app)


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
    """Run the command line. Arguments that aren't text are refused here, once: no name of ours can be like that."""
    with errors_told(sys.argv[1:]):
        for argument in sys.argv[1:]:
            if not argument.isascii() and argument.encode(errors="replace").decode() != argument:
                tell(f"{argument!a}: not UTF-8. Next: check the terminal's encoding")
                raise SystemExit(2)
        leave_to_the_error()
        try:
            app()
        except Exception as error:  # a fault of ours: its text may hold anything
            err.out("".join(traceback.format_exception(error, limit=-_FRAMES)), highlight=False)
            tell("this is a fault of memberstream. Next: report it with the lines above")
            raise SystemExit(1) from None
