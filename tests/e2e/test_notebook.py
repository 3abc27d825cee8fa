"""docs/examples/shop.ipynb, run as its reader would, with a worker beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from e2e.system import Install, Pair
from notebooks import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long  # half a minute of a kernel's imports and a worker
async def test_the_first_hour(embedded_pair: Pair, install: Install, tmp_path: Path) -> None:
    """From purchases to live clusters, and a customer who moves: every cell shows what the file holds."""
    system = await install(embedded_pair, [])
    system.start()
    commands = Path(sys.executable).parent  # `memberstream` itself
    environment = system.environment()
    environment |= {"PATH": f"{commands}{os.pathsep}{environment['PATH']}", "PYTHONPATH": str(ROOT)}
    await asyncio.to_thread(run, ROOT / "docs/examples/shop.ipynb", tmp_path, environment)
