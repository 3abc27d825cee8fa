"""How the readout's numbers are written, the same in the terminal, on the page and in its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from memberstream.stream.readout.statistics import Interval

NONE = "–"


def percent(share: float | None) -> str:
    """0.0123 → 1.23%. Two decimals; three below 0.1%, because rates of 0.05% are common."""
    if share is None:
        return NONE
    return f"{share:.3%}" if 0 < abs(share) < 0.001 else f"{share:.2%}"


def percents(interval: Interval | None) -> str:
    return NONE if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def points(difference: float | None) -> str:
    """A difference of rates in percentage points: 0.0123 → +1.23; three decimals below 0.1 points."""
    if difference is None:
        return NONE
    return f"{100 * difference:+.3f}" if 0 < abs(difference) < 0.001 else f"{100 * difference:+.2f}"


def pointses(interval: Interval | None) -> str:
    return NONE if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None, *, sign: bool = False) -> str:
    return NONE if value is None else f"{value:+,.2f}" if sign else f"{value:,.2f}"


def numbers(interval: Interval | None, *, sign: bool = False) -> str:
    return NONE if interval is None else f"{number(interval.low, sign=sign)} to {number(interval.high, sign=sign)}"


def count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def joined(texts: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def days_of(first: int, last: int) -> str:
    """Two days since 1970 → 2026-11-26 to 2026-11-30; one day if they are the same."""
    return day_of(first) if first == last else f"{day_of(first)} to {day_of(last)}"


def on_days(first: int, last: int) -> str:
    """Two days since 1970 → from 2026-11-26 to 2026-11-30; on 2026-11-26."""
    return f"{'on' if first == last else 'from'} {days_of(first, last)}"


def day_of(day: int) -> str:
    """Days since 1970 → 2026-11-26."""
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()
