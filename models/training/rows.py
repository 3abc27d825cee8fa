"""The rows that are asked for: (member id, as-of time) pairs, as in a table of labels.

Law: every row that can't be read is reported by its number. The order of the rows stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from memberstream.models.timestamps import parse_ms
from memberstream.models.training.columns import TrainingError
from memberstream.models.training.given import is_table
from memberstream.models.wording import counted

At = str | int | float | date
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SHOWN = 20  # problems of times: a whole column may have the same one


@dataclass(frozen=True, slots=True)
class AskedRows:
    """The rows in their order: whose, and as of when (ms)."""

    member_ids: tuple[str, ...]
    at_ms: tuple[int, ...]

    def by_member(self) -> dict[bytes, list[tuple[int, int]]]:
        """Return record key → (at_ms, number of the row) for each row of the member, in the order of time."""
        found: dict[bytes, list[tuple[int, int]]] = {}
        for number, (member_id, at_ms) in enumerate(zip(self.member_ids, self.at_ms, strict=True)):
            found.setdefault(member_id.encode(), []).append((at_ms, number))
        for rows in found.values():
            rows.sort()
        return found


def read_rows(pairs: Any) -> AskedRows:
    """Return the rows of (member id, time) pairs; a member may have several, also of the same time.

    Or of a DataFrame's columns member_id and at.

    Raises:
        TrainingError: rows that aren't such pairs. Lists all of them.
    """
    member_ids: list[str] = []
    times: list[int] = []
    problems: list[str] = []
    if is_table(pairs):
        if missing := sorted({"member_id", "at"}.difference(pairs.columns)):
            raise TrainingError([f"rows: expected columns member_id and at, found no {' and no '.join(missing)}"])
        pairs = zip(pairs["member_id"], pairs["at"], strict=True)
    try:
        numbered = enumerate(pairs)
    except TypeError:
        raise TrainingError([f"rows: expected pairs (member id, time), found {_kind(pairs)}"]) from None
    for number, pair in numbered:
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
            problems.append(f"rows[{number}]: {_no_time(at)}")
        else:
            member_ids.append(member_id)
            times.append(at_ms)
    if problems:
        raise TrainingError(problems)
    return AskedRows(tuple(member_ids), tuple(times))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_ms(at: Any, *, is_utc_assumed: bool = False) -> int | None:
    """Return ms since 1970 of ISO 8601, ms, a datetime with a zone, or a date (its midnight in UTC).

    NumPy's and pandas' own kinds of these will do, too. None for anything else.

    Args:
        is_utc_assumed: whether a datetime without a zone is one in UTC, as a text without one is. In files it is. In a
            program it may be anybody's local time, and is refused.
    """
    if isinstance(at, np.generic):
        at = at.astype("datetime64[ms]").item() if _has_clock(at) else at.item()
    if not isinstance(at, date):
        return parse_ms(at)
    if at != at:  # pandas' NaT
        return None
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    elif at.tzinfo is None:
        if not is_utc_assumed:
            return None
        at = at.replace(tzinfo=UTC)
    moment: datetime = at
    return (moment - _EPOCH) // _MILLISECOND


def _has_clock(at: np.generic) -> bool:
    return isinstance(at, np.datetime64) and np.datetime_data(at.dtype)[0] not in ("Y", "M", "W", "D")


def _no_time(at: Any) -> str:
    """Return why something is no time, and what to use."""
    has_clock = isinstance(at, datetime) or (isinstance(at, np.generic) and _has_clock(at))
    if has_clock and to_ms(at, is_utc_assumed=True) is not None:
        return (
            f"expected a time with its zone, found {at}, which may be local or UTC. Use: datetime(…, tzinfo=UTC), "
            "column.dt.tz_localize('UTC') in pandas, or ISO 8601"
        )
    return f"expected a time, ISO 8601 or ms or a datetime, found {at!r:.60}"


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def read_times(at: Any, n: int, problems: list[str]) -> list[int]:
    """Return a time (ms) for each of n documents, given one for all or one for each. Problems are noted."""
    is_one = at is None or isinstance(at, (str, int, float, date, np.generic))
    try:
        given = [at] * n if is_one else list(at)
    except TypeError:
        problems.append(f"at: expected a time, found {_kind(at)}")
        return [0] * n
    if len(given) != n:
        problems.append(f"at: expected one time, or one for each of {counted(n, 'document')}, found {len(given)}")
    times = [to_ms(one) for one in given]
    wrong = [i for i, one in enumerate(times) if one is None]
    problems += [f"at{'' if is_one else f'[{i}]'}: {_no_time(given[i])}" for i in wrong[: 1 if is_one else _SHOWN]]
    return [time or 0 for time in times]


def times_of(at: At | Iterable[At], n: int) -> tuple[int, ...]:
    """Return a time for each of n documents, given one for all or one for each. Raises TrainingError."""
    problems: list[str] = []
    times = read_times(at, n, problems)
    if problems:
        raise TrainingError(problems)
    return tuple(times)
