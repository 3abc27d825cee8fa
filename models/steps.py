"""Long work as steps: a generator that pauses wherever its caller may do something else, and returns its result.

Law: the result doesn't depend on who runs the steps or how long the pauses are. What is being worked on belongs to the
work until it ends. A worker gives its event loop a turn between two steps; everybody else calls `finish`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]


def finish(steps: Steps[T]) -> T:
    """Do all steps at once; returns their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: T = end.value
            return made
