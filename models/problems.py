"""Reading a model file: every problem at once, each with its path, what was expected and what was found.

Law: reading doesn't stop at a problem, only at the thousandth. Ask a `Node` for a number when it holds a text: it notes
the problem and answers None, and its reader goes on. The list is looked at when the whole file has been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memberstream.models.predictor import LIMIT

_SHOWN = 40  # names in a message
#: Problems that are listed. Nobody reads more, and a file of megabytes may have millions.
MAX_PROBLEMS = 1_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the model's author must change."""

    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path or 'file'}: expected {self.expected}, found {self.found}"


class ModelFileError(ValueError):
    """A model file that can't be used; `problems` lists all that was found. Its author corrects the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Node:
    """A value of the file with its path; answers in the type asked for, or notes a problem and answers None."""

    def __init__(self, value: Any, path: str, problems: list[Problem]) -> None:
        self.value, self.path, self.problems = value, path, problems

    def problem(self, expected: str, found: str | None = None) -> None:
        """Note that this value isn't what it should be. Raises ModelFileError: there are too many problems."""
        self._note(self.path, expected, describe(self.value) if found is None else found)

    def _note(self, path: str, expected: str, found: str) -> None:
        self.problems.append(Problem(path, expected, found))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(Problem("", f"fewer than {MAX_PROBLEMS} problems", "more: the rest wasn't read"))
            raise ModelFileError(self.problems)

    def child(self, key: str | int) -> Node:
        """Return the value at a key or index, which must be there."""
        path = f"{self.path}[{key}]" if isinstance(key, int) else f"{self.path}.{key}".lstrip(".")
        return Node(self.value[key], path, self.problems)

    def object(self, required: set[str], optional: set[str] = frozenset()) -> bool:  # type: ignore[assignment]  # a frozenset default can't be changed by accident
        """Return whether this is an object; notes missing and unknown keys."""
        if not isinstance(self.value, dict):
            self.problem("an object")
            return False
        for key in sorted(required - self.value.keys()):
            self._note(f"{self.path}.{key}".lstrip("."), "a value", "nothing")
        for key in sorted(map(str, self.value.keys() - required - optional)):
            allowed = ", ".join(sorted(required | optional))
            self._note(f"{self.path}.{key}".lstrip("."), f"one of {allowed}", "an unknown field")
        return True

    def get(self, key: str) -> Node | None:
        """Return the value at a key of an object, or None where the object or the key is missing."""
        return self.child(key) if isinstance(self.value, dict) and key in self.value else None

    def array(self, expected: str = "a list", length: int | None = None, most: int | None = None) -> Iterator[Node]:
        """Yield the elements. Notes a value that isn't a list or has another length. Of more than `most`: none."""
        if not isinstance(self.value, list):
            self.problem(expected)
            return
        if most is not None and len(self.value) > most:
            self.problem(f"at most {most} elements", str(len(self.value)))
            return
        if length is not None and len(self.value) != length:
            self.problem(f"{expected}, {length} in all", str(len(self.value)))
        elif not self.value:
            self.problem(f"{expected}, not empty", "an empty list")
        for index in range(len(self.value)):
            yield self.child(index)

    def text(self, expected: str = "a text", most: int | None = None) -> str | None:
        """Return a text of at most so many characters, or None after noting that it isn't one."""
        if not isinstance(self.value, str):
            self.problem(expected)
        elif most is not None and len(self.value) > most:
            self.problem(f"{expected} of at most {most} characters", f"{len(self.value)}")
        else:
            return self.value
        return None

    def boolean(self) -> bool | None:
        if isinstance(self.value, bool):
            return self.value
        self.problem("true or false")
        return None

    def integer(self, low: int, high: int, expected: str = "an integer") -> int | None:
        if isinstance(self.value, int) and not isinstance(self.value, bool) and low <= self.value <= high:
            return self.value
        self.problem(f"{expected} from {low} to {high}")
        return None

    def number(self, expected: str = "a number") -> float | None:
        """Return a number within ±1e100: with columns in the same bounds no score can overflow."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.problem(expected)
        elif not -LIMIT <= value <= LIMIT:
            self.problem(f"{expected} from -1e100 to 1e100")
        else:
            return float(value)
        return None

    def numbers(self, length: int | None = None, expected: str = "a list of numbers") -> list[float] | None:
        """Return a list of finite numbers, or None after noting every element that isn't one."""
        given = self.value
        if type(given) is list and given and length in (None, len(given)) and all(map(_is_number, given)):
            return list(map(float, given))  # a mixture has millions of them
        before = len(self.problems)
        values = [element.number() for element in self.array(expected, length)]
        return None if len(self.problems) > before else [v for v in values if v is not None]


def _is_number(value: Any) -> bool:
    return type(value) in (float, int) and -LIMIT <= value <= LIMIT


def some_of(names: Sequence[str]) -> str:
    """Return names for a message: a few in full, of many only the first."""
    return ", ".join(names) if len(names) <= _SHOWN else f"{', '.join(names[:_SHOWN])} … ({len(names)} in all)"


def describe(value: Any) -> str:
    """Return a value as it stands in a file, shortened."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
