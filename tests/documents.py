"""A document's code, run as its reader would: files are written, commands typed, and what is shown must come out.

- A block ```` ```python title="fit.py" ```` is a file of that name; a block without a title is nothing to do.
- A block ```` ```console ```` has commands behind `$ ` and, below each, what it prints on standard output. `…` stands
  for anything within a line; on a line of its own, for any lines. `> ` goes on with the command of the line before.
- A block ```` ```console title="another terminal" ```` has one command that runs until the document ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BACKGROUND = "another terminal"


@dataclass(frozen=True)
class Block:
    """`line`: of the document, where its text begins."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    """Return the blocks that are to be run, in order."""
    text = document.read_text()
    found = [
        Block(match[1], match[2], match[3], text.count("\n", 0, match.start(3)) + 1) for match in _BLOCK.finditer(text)
    ]
    return [block for block in found if block.language == "console" or block.title]


def commands(block: Block) -> list[tuple[str, str]]:
    """Return (command, what it prints) of a console block."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        else:
            found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def pattern(shown: str) -> re.Pattern[str]:
    """Return what an output has to match: line for line, ends of lines aside."""
    parts = []
    for line in shown.rstrip().splitlines():
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(re.escape(piece) for piece in line.rstrip().split("…")) + r"[ \t]*\n")
    return re.compile("".join(parts) + r"\s*")


def run(
    document: Path,
    directory: Path,
    environment: Mapping[str, str],
    background: Callable[[str], Mapping[str, str]] | None = None,
) -> int:
    """Do what the document says, in an empty directory; returns how many commands were run.

    Args:
        background: starts a command that goes on running; returns variables for what comes after it.

    Raises:
        AssertionError: a command failed or printed something else; names the document's line.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, **environment, "PATH": path, "COLUMNS": "200", "PYTHONWARNINGS": "ignore"}
    n = 0
    for block in blocks(document):
        if block.language != "console":
            (directory / (block.title or "")).write_text(block.text)
            continue
        for command, shown in commands(block):
            where = f"{document.name}:{block.line}: $ {command}"
            n += 1
            if block.title == BACKGROUND:
                assert background is not None, where
                variables |= background(command)
                continue
            done = subprocess.run(
                ["bash", "-c", command], cwd=directory, env=variables, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, f"{where}\nexit status {done.returncode}\n{done.stdout}\n{done.stderr}"
            assert pattern(shown).fullmatch(done.stdout + "\n"), (
                f"{where}\nshown:\n{shown}\n\nprinted:\n{done.stdout}\n{done.stderr}"
            )
    return n
