"""Every text by which the product says that something is wrong, gathered from its source.

    python tests/unit/error_texts.py    # writes error_texts.txt anew; then read what `git diff` shows

A text is a literal of the source, with `{…}` for what is filled in. It counts if it stands
- in a `raise`, or in a call that makes one of the product's exceptions, wherever it is raised;
- in a warning or an error of a log, or in a dead letter;
- in a call that notes a problem: `problem`, `problems.append`, `Problem`, `Check`, `Rejected`;
- in a module of `ADVICE`, which holds nothing else;
- anywhere else, if it says what to do next.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("error_texts.txt")
#: Modules whose every text is about what is wrong, or what to do about it.
ADVICE = {
    "models/export/causes.py", "models/export/instead.py", "models/problems.py", "stream/doctor/checks.py",
    "stream/partition/gaps.py", "stream/partition/stuck.py", "stream/partition/transactions.py",
    "stream/process/health.py", "stream/projection/surroundings.py", "stream/readout/health.py",
    "stream/wire/replies.py",
}  # fmt: skip
_TELLING = {
    *("warning", "error", "exception", "critical"),
    *("problem", "Problem", "Check", "Rejected", "refused", "BadParameter"),
}
_TO_DO = ("Next: ", "Use: ", "Run: ")
_AN_ERROR = ("Error", "Exception")


def sources() -> list[Path]:
    """The product's modules."""
    return [path for folder in ("models", "stream") for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def parsed() -> list[tuple[str, ast.Module]]:
    """Their paths, from the repository on, and what they say."""
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in sources()]


def exceptions(trees: list[ast.Module]) -> set[str]:
    """Names of the product's exceptions: classes whose ancestors end in a built-in one."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found: set[str] = set()
    while True:
        more = {
            name
            for name, its in bases.items()
            if name not in found and any(base in found or base.endswith(_AN_ERROR) for base in its)
        }
        if not more:
            return found
        found |= more


def written(node: ast.AST) -> str | None:
    """The text of a literal, with what is filled in as it stands in the source; None: it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
            for part in node.values
        )
    return None


def texts(tree: ast.Module, where: str, errors: set[str]) -> Iterator[str]:
    """Yield the texts of a module, in their order."""
    yield from _within(tree, where in ADVICE, errors)


def _within(node: ast.AST, counts: bool, errors: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if (text := written(node)) is not None:
        if " " in text.strip() and (counts or any(word in text for word in _TO_DO)):
            yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from _within(child, counts or isinstance(node, ast.Raise) or _tells(node, errors), errors)


def _tells(node: ast.AST, errors: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = called(node)
    is_noted = name == "append" and ast.unparse(node.func).endswith("problems.append")
    return name in _TELLING or name in errors or name.endswith(_AN_ERROR) or is_noted


def called(node: ast.Call) -> str:
    """The last name of what is called; "" if it has none."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def listed() -> str:
    """All texts, each on a line behind its module; with control characters escaped."""
    errors = exceptions([tree for _, tree in parsed()])
    lines = []
    for where, tree in parsed():
        if found := list(texts(tree, where, errors)):
            lines.append(f"{where}\n")
            lines += ["    " + text.replace("\n", "\\n") + "\n" for text in found]
    return "".join(lines)


if __name__ == "__main__":
    LIST.write_text(listed(), encoding="utf-8")
