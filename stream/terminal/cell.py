"""Progress in a notebook's cell: one output, replaced while work goes on. Outside of a notebook nothing is shown.

Law: IPython isn't imported. Whoever runs in a kernel has done that; nobody else has a cell.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from memberstream.models.html import progress

_EVERY_S = 0.2  # a browser draws each one


class Cell:
    """A place in the output of the cell that runs; also a `Meter`. To be made in the cell's own thread."""

    def __init__(self, what: str) -> None:
        self._what, self._shown_at = what, time.monotonic()
        self._place = _new_place(_Html(what, progress(what, 0, 0))) if _has_kernel() else None

    def __call__(self, done: int, total: int) -> None:
        """Show a bar. A total of 0 isn't known."""
        self.show(progress(self._what, done, total), is_last=done == total)

    def show(self, html: str, *, is_last: bool = False) -> None:
        """Show this now. If the last one was a moment ago, only what is the last."""
        now = time.monotonic()
        if self._place is not None and (is_last or now - self._shown_at >= _EVERY_S):
            self._shown_at = now
            self._place.update(_Html(self._what, html))


class _Html:
    """HTML as IPython's displays want it."""

    def __init__(self, what: str, html: str) -> None:
        self._what, self._html = what, html

    def __repr__(self) -> str:
        return self._what

    def _repr_html_(self) -> str:
        return self._html


def _has_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _new_place(shown: _Html) -> Any:
    return sys.modules["IPython"].display.display(shown, display_id=True)
