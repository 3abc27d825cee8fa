"""A misspelt status is found by a type checker: comparing with it would be False for ever."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[2] / "clients" / "python"
SERVICE = """\
from memberstream_lookup import Answer, Visible
def show(answer: Answer, seen: Visible) -> bool:
    a = answer.status == "Current"
    b = seen.status == "unknown"
    c = answer.status == "current" or seen.status != "unknown member" or answer.status in ("stale", "rebuilding")
    return a or b or c
"""


def test_mypy_refuses_a_misspelt_status(tmp_path: Path) -> None:
    """Of a service that imports the client's package; what is right is taken. (A StrEnum would take any text.)"""
    service = tmp_path / "service.py"
    service.write_text(SERVICE, encoding="utf-8")
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), str(service)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options], cwd=CLIENT, capture_output=True, text=True, check=False
    )
    assert re.findall(r"service.py:(\d+): error: .*\[([a-z-]+)\]", done.stdout) == [
        ("3", "comparison-overlap"),
        ("4", "comparison-overlap"),
    ], done.stdout
