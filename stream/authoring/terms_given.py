"""A campaign's terms as people write them: shares, windows, times, kinds. Commands and the console read them so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from memberstream.models.timestamps import DAY_MS, parse_ms

_SHARE = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?%")
_WINDOW = re.compile(r"(\d{1,5})([mhd])")
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": DAY_MS}


class NotATerm(ValueError):
    """A text that can't be meant; it says what was expected, and how to write it."""


def ten_thousandths(text: str) -> int:
    """Return a share as whole ten-thousandths, read as decimal digits: 2.5% is 250, to the last bit."""
    match = _SHARE.fullmatch(text)
    if match is None:
        raise NotATerm(f"{text}: expected a share such as 10% or 2.5%, at most two decimals")
    whole, decimals = match.groups("")
    return int(whole) * 100 + int(decimals.ljust(2, "0"))


def window_ms(text: str) -> int:
    """Return a length of time, 7d, 12h or 30m."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise NotATerm(f"{text}: expected a time such as 7d, 12h or 30m")
    return int(match[1]) * _UNITS_MS[match[2]]


def time_ms(text: str) -> int:
    """Return a moment."""
    at_ms = parse_ms(text)
    if at_ms is None:
        raise NotATerm(f"{text}: expected ISO 8601. Next: write it like 1997-10-01 or 2026-03-01T09:30:00Z")
    return at_ms


def declared(kind: str, kinds: Sequence[str]) -> str:
    """Return a kind of interaction that is one of `kinds`."""
    if kind not in kinds:
        raise NotATerm(
            f"{kind!r} is no kind of interaction. Next: one of {', '.join(kinds)}, or declare it (docs/interactions.md)"
        )
    return kind


def changed(terms: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a campaign's terms with what is given. In `windows` and `guardrails` None says that a kind has none."""
    both = {
        name: {kind: n for kind, n in (terms.get(name, {}) | given.get(name, {})).items() if n is not None}
        for name in ("windows", "guardrails")
    }
    return terms | given | both
