"""The release before this one, beside the working tree: built as a wheel from the repository's history, run as it was.

Laws:
1. `BEFORE` is the commit that a rolling upgrade starts from and a rollback goes back to (docs/upgrades.md): one version
   back, no more. It changes with each release, in this one place.
2. Nothing of the working tree is in its processes but the installed dependencies: a folder of its own comes first on
   the path, and `built` refuses one that doesn't.
3. It is given the settings that it knows. An operator does the same: a variable of the new version is set once all
   workers run it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from servers import missing

if TYPE_CHECKING:
    from e2e.system import System

BEFORE = "4ca8b551610056425d643eed45a4b397686f73ef"
_ROOT = Path(__file__).resolve().parents[1]
_TELL = (
    "from dataclasses import fields; from stream.settings import Settings, variable; import stream; "
    "print(stream.__file__, *[variable(field.name) for field in fields(Settings)])"
)


@dataclass(frozen=True)
class Release:
    """A version of memberstream that can be run. `folder`: where its packages lie; None: the working tree."""

    name: str
    folder: Path | None = None
    variables: frozenset[str] = frozenset()

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment as this release understands it."""
        if self.folder is None:
            return dict(environment)
        known = {k: v for k, v in environment.items() if not k.startswith("MEMBERSTREAM_") or k in self.variables}
        return known | {"PYTHONPATH": str(self.folder)}

    async def run(self, system: System, *arguments: str) -> tuple[int, str]:
        """Run one of its commands in a process of its own; returns exit status, and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "memberstream", *arguments,
            cwd=system.directory, env=self.environment(system.environment()),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode or 0, output.decode(errors="replace")


NOW = Release("now")


def built(directory: Path) -> Release:
    """Return the release before, installed into a folder. Skips or fails where the history isn't there."""
    source, folder = directory / "source", directory / "installed"
    source.mkdir(parents=True)
    try:
        archive = subprocess.run(["git", "archive", BEFORE], cwd=_ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        missing(f"commit {BEFORE[:7]} is missing: a shallow clone, or no repository. Next: git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    pip += ["--no-deps", "--no-build-isolation", "--target", str(folder), str(source)]
    subprocess.run(pip, check=True, cwd=directory)
    command = folder / "memberstream"  # its packages were called models and stream; ours is run as memberstream
    command.mkdir()
    (command / "__init__.py").touch()
    (command / "__main__.py").write_text("from stream.cli.main import main\n\nmain()\n")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    tell = [sys.executable, "-c", _TELL]
    told = subprocess.run(tell, check=True, cwd=directory, env=environment, capture_output=True, text=True).stdout
    file, *variables = told.split()
    assert Path(file).is_relative_to(folder), f"{file} isn't of the release before"
    return Release("before", folder, frozenset(variables))
