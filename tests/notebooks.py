"""A notebook run as its reader would, in a kernel of its own, and its outputs compared with those that it holds.

- What a cell prints, returns and shows must be the same. Of a cell tagged `varies` (a bar, a time) only the kinds of
  output are compared.
- Nothing of this machine may be in it: paths and times are no outputs of a document.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BAR = re.compile(r"<p>[^<]*<progress.*?</p>")  # counts records of the changelog, too
# In a process of its own: the kernel's libraries warn of their own future, and pytest takes that for a failure here.
_RUN = """
import sys, nbformat
from nbclient import NotebookClient
source, target, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute()
for cell in notebook.cells:
    cell.metadata.pop("execution", None)  # when it ran
notebook.metadata["language_info"] = {"name": "python"}
nbformat.write(notebook, target)
"""


def run(notebook: Path, directory: Path, environment: Mapping[str, str]) -> None:
    """Run a notebook in a directory. AssertionError: it stops, or shows something else than it holds."""
    ran = directory / notebook.name
    command = [sys.executable, "-c", _RUN, str(notebook), str(ran), str(directory)]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    held, found = (json.loads(path.read_text())["cells"] for path in (notebook, ran))
    for number, (was, now) in enumerate(zip(held, found, strict=True)):
        assert _shown(was) == _shown(now), f"cell {number} shows something else. Next: look at it; cp {ran} {notebook}"


def _shown(cell: dict[str, Any]) -> Any:
    outputs = cell.get("outputs", [])
    if "varies" in cell["metadata"].get("tags", []):
        return {tuple(sorted(output.get("data", [output["output_type"]]))) for output in outputs}
    return [
        {kind: _BAR.sub("", "".join(text)) for kind, text in output["data"].items()}
        if "data" in output
        else "".join(output["text"])
        for output in outputs
    ]
