"""Results of a bench: bench/results/<name>.json, and the tables of bench/README.md written from that file alone."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def machine() -> dict[str, Any]:
    """What a reader must know of the machine; nothing that names it."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "load_1m_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def save(name: str, results: dict[str, Any], text: Iterable[str]) -> None:
    """Write the results file and put `text` between the marks of this bench in the README; print both's place."""
    file = HERE / "results" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")
    readme = HERE / "README.md"
    old = readme.read_text() if readme.exists() else ""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = "\n".join([begin, "", *text, "", end])
    if begin in old and end in old:
        new = old[: old.index(begin)] + section + old[old.index(end) + len(end) :]
    else:
        new = f"{old.rstrip()}\n\n{section}\n".lstrip()
    readme.write_text(new)
    print(f"\n{section}\n\nwritten: {file.relative_to(HERE.parent)} and the section of bench/README.md")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def about(results: dict[str, Any]) -> str:
    """One line on machine and date."""
    m = results["machine"]
    return (
        f"{m['cores']} cores ({m['cpu']}), Python {m['python']}, {m['date']}, "
        f"load {m['load_1m_at_start']} before the start: read the ratios."
    )
