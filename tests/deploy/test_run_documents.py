"""Documents that need no server do what they show."""

from __future__ import annotations

from pathlib import Path

from documents import run

ROOT = Path(__file__).resolve().parents[2]


def test_export(tmp_path: Path) -> None:
    """docs/export.md: the example fits, exports and prints what is shown."""
    assert run(ROOT / "docs/export.md", tmp_path, {"PYTHONPATH": str(ROOT)}) == 3
