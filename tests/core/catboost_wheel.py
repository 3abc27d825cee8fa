"""CatBoost itself, for the tests that ask it.

1. Version and hashes stand in catboost.txt (CPython 3.11 to 3.13, Linux on x86-64 and ARM).
2. pip installs the wheel once into the repo's own `.cache/catboost-<version>/`, without what it says it needs: plotting
   libraries, and what the requirements have anyway.
3. Where it can't be had, the tests are skipped; where CI=true they fail.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache"
REQUIREMENT = HERE / "catboost.txt"


def catboost() -> Any:
    """Return the module; skip the test, or fail it in CI, if it can't be installed."""
    home, problem = _installed()
    if problem:
        reason = f"CatBoost can't be installed from {REQUIREMENT.name}: {problem}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    if str(home) not in sys.path:
        sys.path.append(str(home))  # behind all others
    return importlib.import_module("catboost")


@cache
def _installed() -> tuple[Path, str]:
    """Return where it is, and why it isn't there."""
    version = re.search(r"catboost==(\S+)", REQUIREMENT.read_text())
    assert version is not None
    python = f"{sys.implementation.name}{sys.version_info.major}{sys.version_info.minor}"
    home = CACHE / f"catboost-{version[1]}" / python
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "lock").open("w") as lock:  # test runs may share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        if home.exists():
            return home, ""
        fresh = Path(tempfile.mkdtemp(dir=home.parent))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary"]
        command += [":all:", "--no-compile", "--cache-dir", str(CACHE / "pip"), "--target", str(fresh)]
        command += ["-r", str(REQUIREMENT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(fresh)
            return home, done.stderr[-500:]
        fresh.rename(home)
    return home, ""
