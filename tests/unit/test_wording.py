"""Counts in messages: a number and its noun agree, everywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from memberstream.models.wording import counted, named

ROOT = Path(__file__).parents[2]
NOUNS = (
    *("brokers", "campaigns", "clusters", "columns", "documents", "events", "examples", "inputs", "interactions"),
    *("lists", "members", "models", "names", "offsets", "partitions", "predictors", "problems", "records", "rows"),
    *("steps", "times", "versions"),
)
PLURAL = rf"(?:{'|'.join(NOUNS)})\b(?!/)"
NEVER_ONE = {  # or no number
    *("MAX_PROBLEMS problems", "MAX_COLUMNS columns", "MAX_CLUSTERS clusters", "MAX_IDS interactions", "%d times"),
    *(
        "summary['members'] members",
        "members_per_second members",
        "report.kind events",
        "ratio times",
        "times times",
        "slope times",
    ),
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(0, "member"), "0 members"),
        (counted(1, "member"), "1 member"),
        (counted(1_200, "member"), "1,200 members"),
        (counted(1, "event waits", "events wait"), "1 event waits"),
        (counted(2, "event waits", "events wait"), "2 events wait"),
        (named("partition", [3]), "partition 3"),
        (named("partition", (0, 3)), "partitions 0, 3"),
        (named("step", list(range(1_022))).split("18, ")[1], "19 and 1,002 more"),
    ],
)
def test_number_and_noun_agree(said: str, expected: str) -> None:
    """One, none, many; and which ones."""
    assert said == expected


def plurals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each number that a plural follows as it stands, in f-strings and lines of logs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for number, text in pairwise(node.values):
                follows = isinstance(text, ast.Constant) and re.match(rf" {PLURAL}", str(text.value))
                if isinstance(number, ast.FormattedValue) and follows:
                    yield number.lineno, f"{ast.unparse(number.value)}{follows[0]}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, found) for found in re.findall(rf"%d {PLURAL}", node.value))


def test_the_law_sees_plurals() -> None:
    """Both kinds; a number that `counted` wrote is none."""
    assert [text for _, text in plurals(ast.parse("f'{n:,} members'; log.info('%d rows', n)"))] == [
        "n members",
        "%d rows",
    ]
    assert not list(plurals(ast.parse("f\"{counted(n, 'member')}\"")))


def test_no_message_says_1_members() -> None:
    """Who writes such a message uses models/wording.py."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for folder in ("models", "stream")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in plurals(ast.parse(path.read_text(encoding="utf-8")))
        if text not in NEVER_ONE
    ]
    assert found == []
