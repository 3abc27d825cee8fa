"""Workers of the demo, as processes: the command that a person would type, with the demo's settings and no others."""

from __future__ import annotations

import os
import sys

from memberstream.stream.local.server_process import ServerProcess
from memberstream.stream.settings import Settings, to_environment


def spawn(process: ServerProcess, settings: Settings, *command: str) -> None:
    """Run `memberstream COMMAND`; returns at once."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
    process.spawn(
        [sys.executable, "-m", "memberstream", *command],
        cwd=process.log.parent,
        env=environment | to_environment(settings),
    )
