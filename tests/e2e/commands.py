"""The command line as a person at a terminal uses it, against a running installation."""

from __future__ import annotations

import asyncio

from e2e.system import System
from typer.testing import CliRunner

from memberstream.stream.cli.main import app


async def memberstream(system: System, *arguments: str) -> tuple[int, str, str]:
    """Run a command in the worker's environment; returns exit status, standard output and standard error.

    In this process, which has the imports done, but in a thread: commands bring their own event loop.
    """
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=system.environment())
    return result.exit_code, result.stdout, result.stderr
