"""`memberstream doctor`."""

from __future__ import annotations

import asyncio
import logging

import typer

from memberstream.stream.cli.arguments import Json
from memberstream.stream.doctor.checks import examine, failed
from memberstream.stream.doctor.facts import gather
from memberstream.stream.terminal.output import out, print_json, reports_errors, settings
from memberstream.stream.terminal.safe import escape


@reports_errors
def doctor(json: Json = False) -> None:
    """Look at Kafka, Redis, models and workers; say what is wrong and what to do. Exit status 1 if something is."""
    configuration = settings()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what aiokafka says about brokers is told below
    checks = examine(configuration, asyncio.run(gather(configuration)))
    if json:
        print_json({"ok": not failed(checks), "checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            said = check.detail if check.ok else check.problem
            mark = "[green]ok   [/]" if check.ok else "[red]wrong[/]"
            out.print(f"{mark}  {check.name:<12}  {escape(said)}".rstrip())
            if not check.ok:
                out.print(f"{'':<21}Next: {escape(check.next)}")
    if failed(checks):
        raise typer.Exit(1)
