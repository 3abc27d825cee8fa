"""What a notebook hands over where a list is expected: generators and the like are read, the rest is told a way out.

Law: nothing here guesses. A table's rows aren't documents unless their author says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def listed(value: Any, what: str, problems: list[str]) -> list[Any]:
    """Return the elements of whatever can be gone through once. [], and a problem noted, for anything else.

    Args:
        what: the argument's name: predictors, documents.
    """
    found, way = type(value).__name__, "a list of dicts"
    if is_table(value):
        convert = "to_dict('records')" if hasattr(value, "iloc") else "to_dicts()"  # pandas', Polars'
        way = f"frame.{convert}, if its columns are the {what}' own keys"
    elif isinstance(value, Mapping):
        way = f"[…], a list of {what}, also of one"
    elif not isinstance(value, (str, bytes)):
        try:
            return list(value)
        except TypeError:
            pass
    problems.append(f"{what}: expected a list of dicts, found {'None' if value is None else found}. Use: {way}")
    return []


def is_table(value: Any) -> bool:
    """Return whether something is a DataFrame of pandas or Polars, without importing either."""
    return hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "__getitem__")
