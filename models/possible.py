"""Which raw values an origin of predictors may have: the categories, and the numbers in their order.

Laws:
- A count is whole and not below 0; days since something are whole steps of their resolution, and end with the window;
  what a logarithm or root reads stays at 0 or above; true may become false; a category is one that the model knows, or
  another one.
- Numbers are looked at up to ±1e12 (or twice the member's own): no member has others, and rounding would decide about
  them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from memberstream.models.origins import Origin, Raw
from memberstream.models.source import Elapsed, ListAggregate, Value
from memberstream.models.timestamps import DAY_MS, MIN_MS
from memberstream.models.transform import Codes, Log, Log1p, OneHot, Sqrt

FARTHEST = 1e12
_MOST_COUNTED = 2**53


def may_be_missing(source: Value | Elapsed | ListAggregate) -> bool:
    """Return whether a value may be missing: a count and a sum of nothing are 0."""
    counts = ("count", "sum", "distinct", "decayed_count")
    return not isinstance(source, ListAggregate) or source.aggregate not in counts


def categories(origin: Origin, raw: Raw) -> list[Raw]:
    """Return the categories, texts or numbers, that the value may become; the last of a kind is one that nobody knows.

    Numbers are categories if a one-hot or codes look at them as they are.
    """
    known: dict[Raw, None] = {}
    for reader in origin.readers:
        for first in reader.transforms[:1]:
            known |= dict.fromkeys(first.categories if isinstance(first, (OneHot, Codes)) else ())
    texts, numbers = [c for c in known if isinstance(c, str)], [c for c in known if isinstance(c, float)]
    others: list[Raw] = []
    if texts:
        others.append(_another(texts))
    if numbers and not has_numbers(origin) and not isinstance(raw, bool):
        others.append(max(numbers) + 1)
    else:
        numbers = []
    return [category for category in (*texts, *numbers, *others) if category != raw]


def _another(texts: Sequence[str]) -> str:
    name = "another"
    while name in texts:
        name += " one"
    return name


def has_numbers(origin: Origin) -> bool:
    """Return whether a number of the origin is more than the name of a category."""
    return any(
        not (isinstance(reader.source, (Value, ListAggregate)) and reader.source.is_text)
        and not isinstance(next(iter(reader.transforms), None), (OneHot, Codes))
        for reader in origin.readers
    )


@dataclass(frozen=True, slots=True)
class Line:
    """The possible numbers in their order: `value` of each whole number from `low` to `high`.

    Attributes:
        start: the member's number, or what a missing one counts as. at: its place, or the nearest one.
        is_start_new: whether the number at that place is itself a change: the member's is missing.
    """

    value: Callable[[int], float]
    low: int
    high: int
    start: float
    at: int
    is_start_new: bool
    is_continuous: bool


def line_of(origin: Origin, raw: Raw, now_ms: int) -> Line:
    """Return the numbers that the origin may have, around the member's own."""
    source = origin.source
    numeric = [reader.missing for reader in origin.readers if isinstance(reader.missing, float)]
    start = raw if isinstance(raw, float) else numeric[0] if numeric else 0.0
    value: Callable[[int], float] = float
    aggregate = source.aggregate if isinstance(source, ListAggregate) else ""
    if isinstance(source, Elapsed) or aggregate == "days_since":
        step_ms = source.resolution_ms  # type: ignore[union-attr]  # both have it
        low, high = 0, _most_ticks(source, now_ms)

        def value(i: int) -> float:
            return i * step_ms / DAY_MS

        at = round(start * DAY_MS / step_ms)
    elif aggregate in ("count", "distinct"):
        low, high, at = 0, _MOST_COUNTED, round(start)
    else:
        value, far = _float_at, max(FARTHEST, 2 * abs(start))
        is_amount = aggregate == "decayed_count" or (start >= 0 and _is_amount(origin))
        low, high, at = 0 if is_amount else _place(-far), _place(far), _place(start)
    at = min(max(at, low), high)
    return Line(value, low, high, start, at, not isinstance(raw, float), value is _float_at)


def _is_amount(origin: Origin) -> bool:
    """Return whether a logarithm or a root reads the number as it is: then nobody thinks of it as below 0."""
    return any(isinstance(one, (Log1p, Log, Sqrt)) for reader in origin.readers for one in reader.transforms[:1])


def _most_ticks(source: Any, now_ms: int) -> int:
    """Return how many steps of the resolution something can be ago: as far as the window reaches, or to the year 1."""
    window_ms = source.window_ms if isinstance(source, ListAggregate) else None
    first_ms = MIN_MS if window_ms is None else now_ms - window_ms + 1
    ticks = [(moment + source.utc_offset_ms) // source.resolution_ms for moment in (now_ms, first_ms)]
    return int(ticks[0] - ticks[1])


def _place(number: float) -> int:
    """Return the place of a float among all floats, 0 for 0.0: neighbours are 1 apart (IEEE 754, section 3.4)."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def _float_at(place: int) -> float:
    number: float = struct.unpack("<d", struct.pack("<q", abs(place)))[0]
    return number if place >= 0 else -number
