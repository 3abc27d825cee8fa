"""What documents hold at the paths that predictors read: is it there, and is it something that the predictor can use?

Laws:
- Each place that a predictor reads is judged for each document: the value or list at its path, and inside a list the
  value, the time and each condition. What is there is counted under exactly one heading. What isn't usable counts as
  missing when it is scored, or as another time than was meant, in silence. Here it is seen.
- Of a list those elements are judged that meet the (other) conditions: a list may hold several kinds of things. One
  element of the wrong type, or of a time that can't be meant, decides the heading; so does, of the rest, one that can
  be used.
- A document without such elements says nothing of the places in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from memberstream.models import number_text
from memberstream.models.path import Path, format_path
from memberstream.models.predictor import Combination, Predictor, Source
from memberstream.models.source import Elapsed, ListAggregate, number, number_or_text
from memberstream.models.steps import Steps, finish
from memberstream.models.timestamps import EARLIEST_MS, LATEST_MS, UNIT_WORDS, looks_like, time_reader
from memberstream.models.where import Condition, matcher
from memberstream.models.wording import counted

Heading = Literal["usable", "absent", "null", "wrong_type", "implausible"]
HEADINGS: tuple[Heading, ...] = ("usable", "absent", "null", "wrong_type", "implausible")
NUMBER_AS_TEXT = "a number written as a text"
#: The share of a place's values that may be misfits before a model is refused that reads it: documents of years hold
#: some oddities, and a producer that writes another type soon has more.
MAX_MISFITS = 0.1
_AT_ONCE = 16  # places, judged without a pause
Judge = Callable[[Any], Heading]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Coverage:
    """What documents hold at one place that a predictor reads.

    Attributes:
        predictor: its name.
        place: `apps.opens`, or `purchases[].amount` inside the elements of a list.
        expected: what the predictor can use there, in words.
        n: documents that say something of the place: the sum of the five headings.
        n_usable: with a value that can be used, and no other.
        n_absent, n_null: with nothing there, or with nothing but null.
        n_wrong_type: with a value of another type.
        n_implausible: with a time before 1990 or after 2099 that was given as a number.
        n_partly: how many of these misfits have a value that can be used, too: in another element of the list.
        found: the first kind of value of a wrong type: "a text"; "" if there is none.
        looks_like: the unit that would make the first implausible time plausible, as a file names it; "" if none does.
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
    n_partly: int
    found: str
    looks_like: str

    @property
    def n_there(self) -> int:
        """Documents with something there."""
        return self.n - self.n_absent - self.n_null

    @property
    def n_misfits(self) -> int:
        """Documents with something there that isn't usable."""
        return self.n_wrong_type + self.n_implausible

    @property
    def is_unseen(self) -> bool:
        """Whether no document has anything there: the path is nearly always misspelt."""
        return self.n_there == 0 and (self.n > 0 or "[]" not in self.place)

    @property
    def never_fits(self) -> bool:
        """Whether there is something in some documents, and always of the wrong type."""
        return self.n_there == self.n_wrong_type > self.n_partly == 0

    @property
    def misfits_often(self) -> bool:
        """Whether more of what is there isn't usable than MAX_MISFITS."""
        return self.n_misfits > MAX_MISFITS * self.n_there

    @property
    def trouble(self) -> str:
        """What is there that doesn't fit, in words; "" if all fits."""
        if self.n_wrong_type:
            return f"{self.place}: expected {self.expected}, found {self.found}"
        if self.n_implausible:
            looks = f": they look like {UNIT_WORDS[self.looks_like]}" if self.looks_like else ""
            return f"{self.place}: times before 1990 or after 2099{looks}"
        return ""

    @property
    def told(self) -> str:
        """The same, with its share."""
        return f"{self.trouble}, in {self.n_misfits:,} of {counted(self.n_there, 'document')} with a value"

    @property
    def declaration(self) -> str:
        """What a predictor may say, so that it reads what is there; "" if nothing helps."""
        if self.found == NUMBER_AS_TEXT and self.expected == _NUMBER[0]:
            return '"type": "number_text"'
        is_time = self.found == NUMBER_AS_TEXT if self.n_wrong_type else bool(self.n_implausible)
        return f'"unit": "{self.looks_like}"' if is_time and self.looks_like else ""

    @property
    def remedy(self) -> str:
        """What to do about it, in words; "" if all fits."""
        if self.declaration:
            return f"{self.declaration} in the model file reads them"
        return f"the producer has to send {self.expected}" if self.n_misfits else ""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a model's values while it is watched.

    Attributes:
        values: heading → values counted, of each document at each place.
        misfits: the largest share at any of its places; None: not known yet.
    """

    values: Mapping[Heading, int]
    misfits: float | None = None


def coverage(predictors: Iterable[Predictor], documents: Iterable[Any]) -> list[Coverage]:
    """Return what documents hold at each place that predictors read, in their order."""
    tally = Tally(predictors)
    for document in documents:
        tally.add(document)
    return tally.found()


def misfits(found: Iterable[Coverage]) -> list[Coverage]:
    """Return those places at which something doesn't fit."""
    return [one for one in found if one.n_misfits]


def unseen_paths(found: Iterable[Coverage]) -> list[str]:
    """Return the places where nothing ever is, as `purchases` or `purchases[].amount`."""
    return list(dict.fromkeys(one.place for one in found if one.is_unseen))


class Tally:
    """Counts what documents hold at the places that predictors read.

    Args:
        most: elements of a list that are judged, the last ones; None: all.

    Attributes:
        n_documents: those counted.
    """

    def __init__(self, predictors: Iterable[Predictor], most: int | None = None) -> None:
        self._read = [(predictor.name, place) for predictor in predictors for place in _places(predictor.source)]
        self._places = {place.key: place for _, place in self._read}
        self._counts = {key: _Count() for key in self._places}
        self._most = most
        self.n_documents = 0

    def add(self, document: Any) -> None:
        """Count a document."""
        finish(self.adding(document))

    def adding(self, document: Any) -> Steps[None]:
        """Do what `add` does, some places at a time."""
        self.n_documents += 1
        for n, (key, place) in enumerate(self._places.items(), 1):
            self._counts[key].add(place, place.values(document, self._most))
            if not n % _AT_ONCE:
                yield

    def found(self, before: Tally | None = None) -> list[Coverage]:
        """Return what was counted so far, each place of each predictor in their order. `before`: a tally of the same
        predictors, whose counts are added."""
        found = [(self._counts[place.key], name, place) for name, place in self._read]
        if before is None:
            return [count.of(name, place) for count, name, place in found]
        return [count.after(before._counts[place.key]).of(name, place) for count, name, place in found]

    def total(self) -> Counter[Heading]:
        """Return how many values were counted under each heading: of each document at each place."""
        return sum((count.n for count in self._counts.values()), Counter[Heading]())


@dataclass(frozen=True, slots=True)
class _Place:
    outer: Path
    inner: Path | None  # inside the elements of the list at `outer`; None: at `outer` itself
    expected: str
    judge: Judge
    where: tuple[Condition, ...] = ()  # which elements are judged

    @property
    def key(self) -> str:
        return repr((self.outer, self.inner, self.expected, self.where))

    @property
    def shown(self) -> str:
        outer = format_path(self.outer)
        return f"{outer}[].{format_path(self.inner)}" if self.inner else f"{outer}[]" if self.inner == () else outer

    def values(self, document: Any, most: int | None) -> list[Any]:
        """Return what is there, or _ABSENT, of the document or of each element that is judged."""
        value = _at(document, self.outer)
        if self.inner is None:
            return [value]
        if not isinstance(value, list):
            return []
        elements = value if most is None else value[-most:]
        if self.where:
            elements = list(filter(matcher(self.where), elements))
        return [_at(element, self.inner) for element in elements]


class _Count:
    """Counts documents."""

    def __init__(self) -> None:
        self.n: Counter[Heading] = Counter()
        self._n_partly = 0
        self._found = self._looks_like = ""

    def after(self, before: _Count) -> _Count:
        """Return what both have counted."""
        both = _Count()
        both.n, both._n_partly = before.n + self.n, before._n_partly + self._n_partly
        both._found, both._looks_like = self._found or before._found, self._looks_like or before._looks_like
        return both

    def add(self, place: _Place, values: Sequence[Any]) -> None:
        if not values:
            return
        there = [value for value in values if value is not None and value is not _ABSENT]
        if not there:
            self.n["null" if None in values else "absent"] += 1
            return
        verdicts = [place.judge(value) for value in there]
        heading = next(one for one in _DECIDING if one in verdicts)
        self.n[heading] += 1
        if heading != "usable":
            self._n_partly += "usable" in verdicts
            value = there[verdicts.index(heading)]
            if heading == "wrong_type":
                self._found = self._found or kind_of(value)
            self._looks_like = self._looks_like or looks_like(
                number_text.read(value) if isinstance(value, str) else value
            )

    def of(self, predictor: str, place: _Place) -> Coverage:
        n = self.n
        return Coverage(
            predictor,
            place.shown,
            place.expected,
            n.total(),
            n["usable"],
            n["absent"],
            n["null"],
            n["wrong_type"],
            n["implausible"],
            self._n_partly,
            self._found,
            self._looks_like,
        )


_DECIDING: tuple[Heading, ...] = ("wrong_type", "implausible", "usable")


def _places(source: Source) -> Iterator[_Place]:
    if isinstance(source, Combination):
        return
    if isinstance(source, Elapsed):
        yield _Place(source.path, None, *_time(source.unit))
        return
    value = _TEXT if source.is_text else _NUMBER_TEXT if source.is_number_text else _NUMBER
    if not isinstance(source, ListAggregate):
        yield _Place(source.path, None, *value)
        return
    yield _Place(source.path, None, "a list", lambda value: _usable_if(isinstance(value, list)))
    if source.aggregate == "distinct":
        yield _Place(source.path, source.value, *_SCALAR, source.where)
    elif source.aggregate not in ("count", "days_since", "decayed_count"):
        yield _Place(source.path, source.value, *value, source.where)
    if source.time is not None:
        yield _Place(source.path, source.time, *_time(source.unit), source.where)
    for condition in source.where:
        others = tuple(one for one in source.where if one is not condition)
        yield _Place(source.path, condition.path, *_of_condition(condition), others)


def _of_condition(condition: Condition) -> tuple[str, Judge]:
    """Return what a condition can hold of: a value of another type never equals its operand."""
    if condition.comparison == "exists":
        return "anything", lambda value: "usable"
    if condition.comparison not in ("eq", "in"):
        return _NUMBER_TEXT if condition.is_number_text else _NUMBER
    operands: Sequence[Any] = condition.operand if condition.comparison == "in" else (condition.operand,)
    kinds = list(dict.fromkeys(map(_plain_kind, operands)))
    return " or ".join(kinds), lambda value: _usable_if(_plain_kind(value) in kinds)


def _usable_if(fits: bool) -> Heading:
    return "usable" if fits else "wrong_type"


def _time(unit: str | None) -> tuple[str, Judge]:
    """Return what a time is, and how it is judged. A text of ISO 8601 says which year it means: of it nothing is
    implausible."""
    read_ms = time_reader(unit)

    def judge(value: Any) -> Heading:
        written = number_text.read(value) if isinstance(value, str) else value
        at_ms = read_ms(value)
        if isinstance(written, bool) or not isinstance(written, (int, float)):
            return _usable_if(at_ms is not None)
        if at_ms is None and isinstance(value, str) and unit is None:
            return "wrong_type"  # a number written as a text isn't a time, unless a unit is given
        return "usable" if at_ms is not None and EARLIEST_MS <= at_ms < LATEST_MS else "implausible"

    return f"a time, ISO 8601 or {UNIT_WORDS[unit or 'ms']}", judge


_NUMBER: tuple[str, Judge] = ("a number", lambda value: _usable_if(number(value) is not None))
_NUMBER_TEXT: tuple[str, Judge] = (
    "a number or a text that writes one",
    lambda value: _usable_if(number_or_text(value) is not None),
)
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
    """Return what a value is that doesn't fit, in words."""
    is_number = isinstance(value, str) and number_text.read(value) is not None
    return NUMBER_AS_TEXT if is_number else _plain_kind(value)


def _plain_kind(value: Any) -> str:
    """Return what kind of JSON a value is, in words."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
