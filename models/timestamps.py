"""Points in time, as whole milliseconds since 1970-01-01T00:00Z.

A point in time in a document or an event is an ISO 8601 string: `1997-01-31`, `2026-03-01T09:30:00Z`. A date stands for
its midnight; without an offset it is in UTC. Or it is a number of milliseconds since 1970, the unit of Kafka and
JavaScript. A model file may say that numbers are of another unit (`UNITS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any

from memberstream.models import number_text

DAY_MS = 86_400_000
FOREVER = 2**62  # later than any point in time; the `until` of a value that time alone never changes
MIN_MS, MAX_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999
#: Times that can be meant by a number: the years 1990 to 2099. Seconds read as milliseconds lie in January 1970.
EARLIEST_MS, LATEST_MS = 631_152_000_000, 4_102_444_800_000
#: Units of times that are numbers: (ms in one, how many in one ms); one of the two is 1.
UNITS = {"ms": (1, 1), "s": (1_000, 1), "us": (1, 1_000), "ns": (1, 1_000_000), "days": (DAY_MS, 1)}
UNIT_WORDS = {"ms": "ms", "s": "seconds", "us": "µs", "ns": "ns", "days": "days"}
_LONGEST_ISO = 64  # a full one has 42 characters; longer texts would only fill the cache
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def parse_ms(value: Any) -> int | None:
    """Return the milliseconds of an ISO 8601 string or a number (rounded down), or None for anything else."""
    if isinstance(value, str):
        return _parse_iso(value) if len(value) <= _LONGEST_ISO else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not MIN_MS <= value <= MAX_MS:
        return None
    return math.floor(value)


def time_reader(unit: str | None) -> Callable[[Any], int | None]:
    """Return the function that reads times whose numbers are of a unit: value → ms, or None if it is no time.

    None: `parse_ms`. With a unit a text that writes a number is that number (models/number_text.py); other texts are
    ISO 8601. Of seconds and days the nearest ms counts, for a double has no exact thousandths; the others are rounded
    down.
    """
    return parse_ms if unit is None else partial(_parse_in, *UNITS[unit])


def _parse_in(ms: int, n: int, value: Any) -> int | None:
    if isinstance(value, str):
        number = number_text.read(value)
        if number is None:
            return parse_ms(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    else:
        number = value
    if not MIN_MS * n <= number * ms <= MAX_MS * n:
        return None
    whole = math.floor(number)  # what is beside it is exact
    return whole * ms + round((number - whole) * ms) if ms > 1 else int(number // n)


def looks_like(value: Any) -> str:
    """Return the unit in which a number is a time of the years 1990 to 2099; "" if there is none. No two units fit."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    fits = (unit for unit, (ms, n) in UNITS.items() if EARLIEST_MS * n <= value * ms < LATEST_MS * n)
    return next(fits, "")


@lru_cache(maxsize=65_536)  # histories repeat their dates: a hit costs a tenth of parsing
def _parse_iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        return None


def format_ms(at_ms: int) -> str:
    """Return ISO 8601 in UTC; a whole day prints as its date and midnight."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    text = moment.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")
