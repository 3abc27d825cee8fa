"""Conditions on the elements of a list: `where = {category = "shopping", amount = {gte = 10}}`.

Laws: a condition never raises; values of different JSON types are never equal (1 is not true, "1" is not 1). Numbers
are compared with numbers only; with `type = "number_text"` also texts that write one are (models/number_text.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from memberstream.models import number_text
from memberstream.models.path import Defined, Path, getter

Comparison = Literal["eq", "in", "gt", "gte", "lt", "lte", "exists"]
ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


@dataclass(frozen=True, slots=True, repr=False)
class Condition(Defined):
    """One comparison of the value at `path` inside an element with `operand` (for `in` a tuple of scalars).

    `is_number_text`: of an ordering: whether a text that writes a number is that number.
    """

    path: Path
    comparison: Comparison
    operand: Any
    is_number_text: bool = field(default=False, repr=False)

    def compile(self) -> Callable[[Any], bool]:
        get, operand = getter(self.path), self.operand
        if self.comparison == "exists":
            return lambda element: (get(element) is not None) is operand
        if self.comparison == "eq":
            return lambda element: _equal(get(element), operand)
        if self.comparison == "in":
            known = {(isinstance(one, bool), one) for one in operand}  # however many there are
            return lambda element: _is_among(get(element), known)
        compare, is_number_text = ORDERINGS[self.comparison], self.is_number_text

        def ordered(element: Any) -> bool:
            value = get(element)
            if is_number_text and isinstance(value, str):
                value = number_text.read(value)
            return isinstance(value, (int, float)) and not isinstance(value, bool) and compare(value, operand)

        return ordered


def matcher(conditions: tuple[Condition, ...]) -> Callable[[Any], bool]:
    """Return a function (element) → whether all conditions hold."""
    tests = [condition.compile() for condition in conditions]
    if len(tests) == 1:
        return tests[0]
    return lambda element: all(test(element) for test in tests)


def _is_among(value: Any, known: set[tuple[bool, Any]]) -> bool:
    return isinstance(value, (str, int, float)) and (isinstance(value, bool), value) in known


def _equal(value: Any, operand: Any) -> bool:
    return isinstance(value, bool) is isinstance(operand, bool) and bool(value == operand)
