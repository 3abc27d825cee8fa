"""Elements of a list: which of them count at a time. Found once per document for all predictors that ask the same.

Laws:
- An element whose time lies after `now_ms` is not there yet. A window of w ms holds the elements with
  now - w < time ≤ now: an element leaves at exactly time + w.
- `until_ms` is the next moment at which another set of elements counts; FOREVER when there is none.
- Neither depends on the order of the elements; those that count keep the order of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, NamedTuple

from memberstream.models.columns import Span
from memberstream.models.packed_list import PackedList
from memberstream.models.path import Path, getter, getter_many
from memberstream.models.timestamps import FOREVER, time_reader
from memberstream.models.where import Condition, matcher

Scratch = dict[Any, Any]  # what the predictors share in evaluating one document at one time: function → what it found
Shared = dict[str, Any]  # what the predictors of a plan share: definition → function


class Elements(NamedTuple):
    """The elements of a list that count; their times (none if no time is asked for); until when this holds.

    The elements are a list, or of a long list that stays packed (models/packed_list.py) a span, which has their times.
    """

    elements: Any
    times: list[int]
    until_ms: int


Select = Callable[[Any, int, Scratch], Elements]  # (document, now_ms, scratch) → elements


def compile_selection(
    path: Path,
    time: Path | None,
    where: tuple[Condition, ...],
    window_ms: int | None,
    shared: Shared,
    unit: str | None = None,
) -> Select:
    """Return the function that finds the elements of the list at `path`. Anything else counts as an empty list.

    With `time`, elements without a valid point in time at that path are left out. `unit`: of times that are numbers
    (models/timestamps.py). `shared`: what the plan has compiled
    already. Equal definitions give the same function, which looks once per document.
    """
    whole = (path, time, unit, where)
    pool = shared.setdefault(repr(whole), _compile_pool(*whole))  # repr keeps 1 and true apart, equality doesn't
    if time is None:
        return shared.setdefault(repr((whole, None)), once(lambda document, now_ms, scratch: pool(document, scratch)))  # type: ignore[no-any-return]  # values of Shared are what stands beside them

    def find(document: Any, now_ms: int, scratch: Scratch) -> Elements:
        return _present(pool(document, scratch), now_ms, window_ms)

    return shared.setdefault(repr((whole, window_ms)), once(find))  # type: ignore[no-any-return]


def once(find: Select) -> Select:
    """Return `find` so that it looks only once in an evaluation of a document, however many predictors ask."""

    def select(document: Any, now_ms: int, scratch: Scratch) -> Elements:
        found: Elements | None = scratch.get(select)
        if found is None:
            found = scratch[select] = find(document, now_ms, scratch)
        return found

    return select


def _compile_pool(
    path: Path, time: Path | None, unit: str | None, where: tuple[Condition, ...]
) -> Callable[[Any, Scratch], Elements]:
    """Return a function that finds all elements that meet the conditions, whatever their time."""
    get_list = getter(path)
    get_time = getter(time) if time is not None else None
    matches = matcher(where) if where else None
    read_ms, definition = time_reader(unit), repr((time, unit, where))

    get_times = getter_many(time) if time is not None else None

    def keep(elements: Sequence[Any]) -> list[int | None]:
        times = [0] * len(elements) if get_times is None else map(read_ms, get_times(elements))
        if matches is None:
            return list(times)
        return [at_ms if matches(element) else None for element, at_ms in zip(elements, times, strict=True)]

    def find(document: Any) -> Elements:
        items = get_list(document)
        if not isinstance(items, list):
            if type(items) is PackedList:
                return Elements(items.span(definition, keep, is_timed=time is not None), [], FOREVER)
            return Elements([], [], FOREVER)
        if matches is not None:
            items = [element for element in items if matches(element)]
        if get_time is None:
            return Elements(items, [], FOREVER)
        timed = [(at_ms, element) for element in items if (at_ms := read_ms(get_time(element))) is not None]
        return Elements([element for _, element in timed], [at_ms for at_ms, _ in timed], FOREVER)

    def pool(document: Any, scratch: Scratch) -> Elements:
        found: Elements | None = scratch.get(pool)
        if found is None:
            found = scratch[pool] = find(document)
        return found

    return pool


def _present(pool: Elements, now_ms: int, window_ms: int | None) -> Elements:
    """Return those of the timed elements that count at `now_ms`."""
    elements, times, _ = pool
    if type(elements) is Span:
        span, until_ms = elements.at(now_ms, window_ms)
        return Elements(span, [], until_ms)
    if not times:
        return pool
    after_ms = -FOREVER if window_ms is None else now_ms - window_ms
    earliest, latest = min(times), max(times)
    if earliest > after_ms and latest <= now_ms:  # nothing has left and nothing is still to come: nearly always
        return pool if window_ms is None else Elements(elements, times, earliest + window_ms)
    until_ms = min((at_ms for at_ms in times if at_ms > now_ms), default=FOREVER)
    counts = [after_ms < at_ms <= now_ms for at_ms in times]
    times = list(compress(times, counts))
    if times and window_ms is not None:
        until_ms = min(until_ms, min(times) + window_ms)
    return Elements(list(compress(elements, counts)), times, until_ms)
