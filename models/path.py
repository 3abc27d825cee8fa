"""Paths into a JSON document: `apps.shopping.opens` names the key `opens` inside `shopping` inside `apps`.

Law: a path never raises on any JSON value; what is absent, null or not an object on the way is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

Path = tuple[str, ...]

MAX_CHARACTERS = 4_096  # far beyond 32 keys of any database; to cut a text of megabytes took seconds
MAX_SEGMENTS = 32  # with the depth limit of events it keeps documents far below orjson's limit of 254
_SEGMENT = re.compile(r"((?:[^.\\]|\\[.\\])+)(\.|$)")


class Defined:
    """A part of a definition, a dataclass without a repr of its own. Its repr identifies it in stored rows
    (models/plan.py).

    A field that came later is declared with repr=False: it is in the repr only where it isn't the default. So the rows
    of definitions that don't use it stay valid.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)  # type: ignore[arg-type]  # whoever inherits from it is a dataclass
            if field.repr or getattr(self, field.name) != field.default
        ]
        return f"{type(self).__qualname__}({', '.join(shown)})"


def parse_path(text: str) -> Path:
    """Return the keys of a dotted path; a dot or backslash inside a key is written `\\.` and `\\\\`.

    Raises:
        ValueError: an empty segment, a lone backslash, more than 32 segments, or more than 4,096 characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"expected at most {MAX_CHARACTERS} characters")
    segments: list[str] = []
    position = 0
    while True:
        match = _SEGMENT.match(text, position)
        if match is None:
            raise ValueError("expected keys joined by single dots, such as apps.shopping.opens")
        segments.append(re.sub(r"\\(.)", r"\1", match[1]))
        position = match.end()
        if not match[2]:
            break
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(f"expected at most {MAX_SEGMENTS} keys")
    return tuple(segments)


def format_path(path: Path) -> str:
    """Return the dotted form that `parse_path` reads back."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in path)


def getter_many(path: Path) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function (documents) → their values at `path`. A pass per key over all is faster than single calls."""

    def get_many(documents: Sequence[Any]) -> list[Any]:
        values = list(documents)
        for key in path:
            values = [value.get(key) if isinstance(value, dict) else None for value in values]
        return values

    return get_many


def getter(path: Path) -> Callable[[Any], Any]:
    """Return a function (document) → value at `path`, or None where there is none.

    Paths of one and two keys, nearly all of them, get a function without a loop: this is the inner loop over elements.
    """
    if not path:
        return lambda document: document
    if len(path) == 1:
        (key,) = path

        def get_one(document: Any) -> Any:
            return document.get(key) if isinstance(document, dict) else None

        return get_one
    if len(path) == 2:
        outer, inner = path

        def get_two(document: Any) -> Any:
            if not isinstance(document, dict):
                return None
            value = document.get(outer)
            return value.get(inner) if isinstance(value, dict) else None

        return get_two

    def get_deep(document: Any) -> Any:
        for key in path:
            if not isinstance(document, dict):
                return None
            document = document.get(key)
        return document

    return get_deep
