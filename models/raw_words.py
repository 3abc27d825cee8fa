"""Raw values as people say them: "84 days ago", "3 in 30 days", "none, counts as 0".

A file knows one unit only, days. Other numbers are printed as they are; but a quotient of the member's own numbers is
rounded, for its digits say nothing: 2.6364, not 2.63636363636364.
"""

from __future__ import annotations

from memberstream.models.origins import Origin, Raw
from memberstream.models.predictor import Combination, Predictor, Source
from memberstream.models.source import Elapsed, ListAggregate
from memberstream.models.timestamps import DAY_MS
from memberstream.models.wording import counted

_HOURS, _MINUTES, _SECONDS = 24, 24 * 60, 24 * 3600  # in a day

_QUOTIENTS = ("mean", "decayed_count")
_SIGNS = {"ratio": "/", "product": "×"}
_MOST_CHARACTERS = 60  # of a text: a document may hold an essay where a category is expected


def words(origin: Origin, raw: Raw, unread: str = "", *, rounds: bool = False) -> str:
    """Return a raw value of an origin in words.

    Args:
        unread: of None: what is there all the same (Origin.unread).
        rounds: whether a mean or a decayed count is rounded. What has been scored mustn't be.
    """
    source = origin.source
    if raw is None:
        counts_as = "no category" if origin.missing is None else _plain(source, origin.missing)
        is_event = isinstance(source, ListAggregate) and source.aggregate == "days_since"
        return f"{unread or ('never' if is_event else 'none')}, counts as {counts_as}"
    if rounds and isinstance(raw, float) and isinstance(source, ListAggregate) and source.aggregate in _QUOTIENTS:
        raw = rounded(raw)
    return _plain(source, raw)


def combined_words(predictor: Predictor, raw: float | None) -> str:
    """Return the value of a ratio or product in words, and of what it is. None: it can't be computed."""
    source = predictor.source
    assert isinstance(source, Combination)  # noqa: S101 (the caller's; narrows the type)
    of = f" {_SIGNS[source.operation]} ".join(source.operands)
    if raw is None:
        return f"none, counts as {_plain(source, predictor.missing)} ({of})"
    return f"{figure(rounded(raw))} ({of})"


def rounded(number: float) -> float:
    """Return a number with four decimals; below 1 with four digits that mean something."""
    return round(number, 4) if abs(number) >= 1 else float(f"{number:.4g}")


def _plain(source: Source, raw: Raw) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if not isinstance(raw, float):
        text = str(raw)
        return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    if isinstance(source, Elapsed) or (isinstance(source, ListAggregate) and source.aggregate == "days_since"):
        return _ago(raw, source.resolution_ms)
    shown = figure(raw)
    if isinstance(source, ListAggregate) and source.half_life_days is not None:
        return f"{shown}, half-life {counted_days(source.half_life_days)}"
    if isinstance(source, ListAggregate) and source.window_ms is not None:
        return f"{shown} in {counted_days(source.window_ms / DAY_MS)}"
    return shown


def _ago(days: float, resolution_ms: int) -> str:
    if days < 0:  # only what a missing value counts as
        return counted_days(days)
    if days == 0:
        return "today" if resolution_ms == DAY_MS else "just now"
    for per_day, unit in ((_SECONDS, "second"), (_MINUTES, "minute"), (_HOURS, "hour")):
        n = round(days * per_day, 6)
        if resolution_ms < DAY_MS and n < (48 if unit == "hour" else 120) and n == int(n):
            return f"{counted(int(n), unit)} ago"
    return f"{counted_days(days)} ago"


def counted_days(days: float) -> str:
    """Return a number of days with its noun; as hours, if it is less than a day."""
    return _some(days * _HOURS, "hour") if 0 < abs(days) < 1 else _some(days, "day")


def _some(n: float, noun: str) -> str:
    return counted(int(n), noun) if n == int(n) else f"{figure(round(n, 2))} {noun}s"


def figure(number: float) -> str:
    """Return a number with all digits that mean something (15), thousands apart: 1,234.5."""
    return f"{number + 0.0:,.15g}" if 1e-4 <= abs(number) < 1e15 or number == 0 else f"{number:.15g}"
