"""The table of formats in docs/upgrades.md names every format that the source declares, as it is now."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from releases import BEFORE

from memberstream.stream.keyspace.table import KEYSPACE
from memberstream.stream.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs/upgrades.md").read_text().partition("## The formats")[2]
DECLARED = re.compile(r"`((?:models|stream)(?:\.\w+)+) = ([^`]+)`")


def constants() -> Iterator[tuple[str, object]]:
    """(module.NAME, value) of each literal that a module of the product gives a name."""
    for package in ("models", "stream"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.parse(path.read_text()).body:
                if not isinstance(node, ast.Assign):
                    continue
                for target, value in _pairs(node):
                    if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                        yield f"{module}.{target.id}", value.value


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=True)
        else:
            yield target, node.value


def is_format(name: str, value: object) -> bool:
    """Whether a constant declares what is stored: a schema, or a key that begins with a zero byte (no upper end)."""
    short = name.rpartition(".")[2].strip("_")
    if isinstance(value, int):
        return re.search(r"(^|_)(SCHEMA|FORMAT)$", short) is not None
    return isinstance(value, bytes) and value[:1] == b"\0" and not short.endswith("END")


def test_every_schema_and_key_is_in_the_table() -> None:
    """What begins with a zero byte, and what is called a schema or a format, has its row."""
    named = {name for name, _ in DECLARED.findall(TABLE)}
    missing = {name for name, value in constants() if is_format(name, value)} - named
    assert missing == set(), (
        "give each a row in docs/upgrades.md: who writes it, who reads it, what an older version does"
    )


def test_the_table_says_what_the_code_says() -> None:
    """Each declaration in the table has the value that it has in the code."""
    declared = DECLARED.findall(TABLE)
    assert len(declared) >= 12
    for name, value in declared:
        module, _, constant = name.rpartition(".")
        assert getattr(importlib.import_module(module), constant) == ast.literal_eval(value), name


def test_every_topic_and_key_in_redis_is_in_the_table() -> None:
    """Topics by the names of their settings, keys as docs/redis.md writes them."""
    topics = {name for name in dir(Settings) if name.endswith("topic")}
    missing = {name for name in topics if f"`{name}`" not in TABLE}
    missing |= {key for key in (entry.key.decode() for entry in KEYSPACE) if f"`{key}`" not in TABLE}
    assert missing == set(), (
        "give each a row in docs/upgrades.md: who writes it, who reads it, what an older version does"
    )


def test_the_release_before_is_named_whole() -> None:
    """A commit by its whole name: a short one may mean another in a few years."""
    assert re.fullmatch("[0-9a-f]{40}", BEFORE)
