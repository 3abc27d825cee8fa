"""The rows that are asked for: (member id, as-of time) pairs, as a table of labels has them.

Law: every row that can't be read is told of, by its number; the order of the rows stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from models.timestamps import parse_ms
from models.training.columns import TrainingError

At = str | int | float | date
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows in their order: whose, and as of when (ms)."""

    member_ids: tuple[str, ...]
    at_ms: tuple[int, ...]

    def by_member(self) -> dict[bytes, list[tuple[int, int]]]:
        """Return record key → (at_ms, number of the row) of each of the member's rows, in the order of time."""
        found: dict[bytes, list[tuple[int, int]]] = {}
        for number, (member_id, at_ms) in enumerate(zip(self.member_ids, self.at_ms, strict=True)):
            found.setdefault(member_id.encode(), []).append((at_ms, number))
        for rows in found.values():
            rows.sort()
        return found


def read_rows(pairs: Iterable[Any]) -> Rows:
    """Return the rows of (member id, time) pairs; a member may have several, also of the same time.

    Raises:
        TrainingError: rows that are no such pair; lists all of them.
    """
    member_ids: list[str] = []
    times: list[int] = []
    problems: list[str] = []
    for number, pair in enumerate(pairs):
        try:
            member_id, at = pair
        except (TypeError, ValueError):
            problems.append(f"rows[{number}]: expected a pair (member id, time), found {type(pair).__name__}")
            continue
        at_ms = to_ms(at)
        if not isinstance(member_id, str):
            problems.append(f"rows[{number}]: expected a member id, a text, found {type(member_id).__name__}")
        elif not _is_utf8(member_id):
            problems.append(f"rows[{number}]: expected a member id that UTF-8 can hold, found half a character")
        elif at_ms is None:
            problems.append(f"rows[{number}]: expected a time, ISO 8601 or ms or a datetime, found {at!r:.60}")
        else:
            member_ids.append(member_id)
            times.append(at_ms)
    if problems:
        raise TrainingError(problems)
    return Rows(tuple(member_ids), tuple(times))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_ms(at: Any) -> int | None:
    """Return ms since 1970 of ISO 8601, ms, a datetime or a date (without a zone: UTC); None for anything else.

    NumPy's and pandas' own kinds of these are as good.
    """
    if isinstance(at, np.generic):
        at = at.astype("datetime64[ms]").item() if isinstance(at, np.datetime64) else at.item()
    if not isinstance(at, date):
        return parse_ms(at)
    if at != at:  # pandas' NaT
        return None
    moment = at if isinstance(at, datetime) else datetime(at.year, at.month, at.day)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


def times_of(at: At | Sequence[At], n: int) -> tuple[int, ...]:
    """Return a time for each of n documents, given one for all or one for each. Raises TrainingError."""
    listed = [at] * n if isinstance(at, (str, int, float, date)) else list(at)
    if len(listed) != n:
        raise TrainingError([f"at: expected one time, or one for each of the {n} documents, found {len(listed)}"])
    return read_rows(("", one) for one in listed).at_ms
