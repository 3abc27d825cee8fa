"""What documents hold at the paths that predictors read: is it there, and is it something that the predictor can use?

Laws:
- Each place that a predictor reads is judged for each document: the value or list at its path, and inside a list the
  value, the time and each condition. A value of another type than the predictor reads counts as missing when it is
  scored, in silence. Here it is counted.
- Inside a list one element that can be used is enough; one of the wrong type, or of a time that can't be meant, is
  counted all the same.
- A document without the list, or with an empty one, says nothing of the places in its elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from memberstream.models.model import Model
from memberstream.models.path import Path, format_path
from memberstream.models.predictor import Combination, Predictor, Source
from memberstream.models.source import Elapsed, ListAggregate, number
from memberstream.models.timestamps import EARLIEST_MS, LATEST_MS, parse_ms
from memberstream.models.where import Condition

Verdict = Literal["usable", "wrong_type", "implausible"]
Judge = Callable[[Any], Verdict]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Coverage:
    """What documents hold at one place that a predictor reads.

    Attributes:
        predictor: its name.
        place: `apps.opens`, or `purchases[].amount` inside the elements of a list.
        expected: what the predictor can use there, in words.
        n: documents that say something of the place.
        n_usable: with a value that can be used.
        n_absent, n_null: with nothing there, or with nothing but null.
        n_wrong_type: with a value of another type. n_implausible: with a time before 1990 or after 2099.
        found: the first kind of value of a wrong type: "a text"; "" if there is none.
    """

    predictor: str
    place: str
    expected: str
    n: int
    n_usable: int
    n_absent: int
    n_null: int
    n_wrong_type: int
    n_implausible: int
    found: str

    @property
    def is_unseen(self) -> bool:
        """Whether no document has anything there: the path is nearly always misspelt."""
        return self.n == self.n_absent + self.n_null

    @property
    def never_fits(self) -> bool:
        """Whether there is something in some documents, and always of the wrong type."""
        return self.n_wrong_type > 0 and self.n_usable == self.n_implausible == 0


def coverage(predictors: Iterable[Predictor], documents: Iterable[Any]) -> list[Coverage]:
    """Return what documents hold at each place that predictors read, in their order."""
    read = [(predictor.name, place) for predictor in predictors for place in _places(predictor.source)]
    counts = {place.key: _Count() for _, place in read}
    distinct = {place.key: place for _, place in read}
    for document in documents:
        for key, place in distinct.items():
            counts[key].add(place, document)
    return [Coverage(name, place.shown, place.expected, **vars(counts[place.key])) for name, place in read]


def unseen_paths(model: Model, documents: Iterable[Any]) -> list[str]:
    """Return the paths of a model that none of the documents has, as `purchases` or `purchases[].amount`.

    If a list itself isn't there, paths inside its elements are left out: they would only be its echo.
    """
    unseen = dict.fromkeys(found.place for found in coverage(model.predictors, documents) if found.is_unseen)
    return [place for place in unseen if "[]" not in place or place.split("[]")[0] not in unseen]


@dataclass(frozen=True, slots=True)
class _Place:
    outer: Path
    inner: Path | None  # inside the elements of the list at `outer`; None: at `outer` itself
    expected: str
    judge: Judge

    @property
    def key(self) -> tuple[Any, ...]:
        return self.outer, self.inner, self.expected

    @property
    def shown(self) -> str:
        outer = format_path(self.outer)
        return f"{outer}[].{format_path(self.inner)}" if self.inner else f"{outer}[]" if self.inner == () else outer

    def values(self, document: Any) -> list[Any] | None:
        """Return what is there; None if the document says nothing of the place."""
        value = _at(document, self.outer)
        if self.inner is None:
            return [value]
        return [_at(element, self.inner) for element in value] if isinstance(value, list) and value else None


class _Count:
    """Counts documents; its attributes are those of Coverage."""

    def __init__(self) -> None:
        self.n = self.n_usable = self.n_absent = self.n_null = self.n_wrong_type = self.n_implausible = 0
        self.found = ""

    def add(self, place: _Place, document: Any) -> None:
        values = place.values(document)
        if values is None:
            return
        self.n += 1
        there = [value for value in values if value is not None and value is not _ABSENT]
        if not there:
            is_null = None in values
            self.n_null += is_null
            self.n_absent += not is_null
            return
        verdicts = [place.judge(value) for value in there]
        self.n_usable += "usable" in verdicts
        self.n_implausible += "implausible" in verdicts
        if "wrong_type" in verdicts:
            self.n_wrong_type += 1
            self.found = self.found or kind_of(there[verdicts.index("wrong_type")])


def _places(source: Source) -> Iterator[_Place]:
    if isinstance(source, Combination):
        return
    if isinstance(source, Elapsed):
        yield _Place(source.path, None, _A_TIME, _time)
    elif not isinstance(source, ListAggregate):
        yield _Place(source.path, None, *(_TEXT if source.is_text else _NUMBER))
    else:
        yield _Place(source.path, None, "a list", lambda value: _usable_if(isinstance(value, list)))
        if source.aggregate == "distinct":
            yield _Place(source.path, source.value, *_SCALAR)
        elif source.aggregate not in ("count", "days_since", "decayed_count"):
            yield _Place(source.path, source.value, *(_TEXT if source.is_text else _NUMBER))
        if source.time is not None:
            yield _Place(source.path, source.time, _A_TIME, _time)
        for condition in source.where:
            yield _Place(source.path, condition.path, *_of_condition(condition))


def _of_condition(condition: Condition) -> tuple[str, Judge]:
    """Return what a condition can hold of: a value of another type never equals its operand."""
    if condition.comparison == "exists":
        return "anything", lambda value: "usable"
    if condition.comparison not in ("eq", "in"):
        return _NUMBER
    operands: Sequence[Any] = condition.operand if condition.comparison == "in" else (condition.operand,)
    kinds = list(dict.fromkeys(map(kind_of, operands)))
    return " or ".join(kinds), lambda value: _usable_if(kind_of(value) in kinds)


def _usable_if(fits: bool) -> Verdict:
    return "usable" if fits else "wrong_type"


def _time(value: Any) -> Verdict:
    at_ms = parse_ms(value)
    return "wrong_type" if at_ms is None else "usable" if EARLIEST_MS <= at_ms < LATEST_MS else "implausible"


_A_TIME = "a time, ISO 8601 or ms"
_NUMBER: tuple[str, Judge] = ("a number", lambda value: _usable_if(number(value) is not None))
_TEXT: tuple[str, Judge] = ("a text", lambda value: _usable_if(isinstance(value, str)))
_SCALAR: tuple[str, Judge] = (
    "a text, a number or a boolean",
    lambda value: _usable_if(isinstance(value, str) or number(value) is not None),
)


def _at(document: Any, path: Path) -> Any:
    """Return the value at a path; _ABSENT if there is none, which null isn't."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return _ABSENT
        document = document[key]
    return document


def kind_of(value: Any) -> str:
    """Return what kind of JSON a value is, in words."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
