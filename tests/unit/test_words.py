"""Words have one meaning: what several types were once called, one type is called now (docs/glossary.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()


@pytest.mark.parametrize("word", ["Progress", "Outcome", "Reason", "History", "Rows", "Step", "Meter"])
def test_one_type_of_a_name(word: str) -> None:
    """A class or an alias; and the glossary says which."""
    declares = re.compile(rf"^(class {word}\b|{word}(: \w+)? = )", re.MULTILINE)
    sources = [path for package in ("models", "stream") for path in (ROOT / package).rglob("*.py")]
    [where] = [path for path in sources if declares.search(path.read_text())]
    assert f"`{where.relative_to(ROOT)}`" in next(line for line in GLOSSARY.splitlines() if f"`{word}`" in line)
