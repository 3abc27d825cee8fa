"""Where a model's columns come from: the things of a document that can change by themselves, and what reads each.

Laws:
- An origin is one source, however many predictors read it: a purchase sum as a number, as a logarithm and as bands is
  one origin. They can't change without one another.
- A ratio or product has no origin of its own. It comes from those of its operands: a square from one, a product of two
  predictors from two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from memberstream.models.coverage import coverage, misfits
from memberstream.models.path import getter
from memberstream.models.predictor import Combination, Predictor, Source
from memberstream.models.source import Elapsed, ListAggregate, Value, number, number_or_text, text

Raw = float | bool | str | None  # a raw value: a number, true or false, a text; None: nothing that can be used


@dataclass(frozen=True, slots=True)
class Origin:
    """One source and the predictors that read it themselves. `affected`: these and all that are computed from them."""

    source: Value | Elapsed | ListAggregate
    readers: tuple[Predictor, ...]
    affected: tuple[Predictor, ...]

    @property
    def name(self) -> str:
        """The names of the predictors that read it."""
        return ", ".join(dict.fromkeys(predictor.name for predictor in self.readers))

    @property
    def missing(self) -> Raw:
        """What a missing value counts as, to the first predictor that reads it."""
        return self.readers[0].missing

    def read(self, document: Any, now_ms: int) -> Raw:
        """Return the raw value of a document at a time."""
        for source in dict.fromkeys(reader.source for reader in self.readers):
            assert not isinstance(source, Combination)  # noqa: S101 (those aren't readers; narrows the type)
            value = source.compile({})([document], [now_ms], [{}])[0][0]
            if value is not None:
                is_flag = isinstance(source, Value) and isinstance(getter(source.path)(document), bool)
                return bool(value) if is_flag else value
        return None

    def unread(self, document: Any) -> str:
        """Return what stands where it reads that none of its readers can use, in words; "" if nothing does."""
        found = coverage(self.readers[:1], [document])
        for one in misfits(found):
            at = f" at {one.place}" if "[]" in one.place else ""
            return (one.found or "times before 1990 or after 2099") + at
        return "in the future" if isinstance(self.source, Elapsed) and found[0].n_usable else ""


def as_read(source: Source, raw: Raw) -> Any:
    """Return what a source makes of a raw value that stands in its place: a number or a text, whatever it wants."""
    if isinstance(source, (Combination, Elapsed)):
        return number(raw)
    return text(raw) if source.is_text else number_or_text(raw) if source.is_number_text else number(raw)


def roots(predictors: Sequence[Predictor]) -> dict[str, frozenset[Source]]:
    """Return predictor name → the sources that it comes from. Those of texts and of numbers at one place are one."""
    found: dict[str, frozenset[Source]] = {}
    for predictor in predictors:
        source = predictor.source
        if isinstance(source, Combination):
            found[predictor.name] = frozenset().union(*(found[name] for name in source.operands))
        else:
            found[predictor.name] = frozenset({_plain(source)})
    return found


def origins(predictors: Sequence[Predictor]) -> tuple[Origin, ...]:
    """Return the origins of a model's predictors, in the order of the file."""
    of = roots(predictors)
    readers: dict[Any, list[Predictor]] = {}
    for predictor in predictors:
        if not isinstance(predictor.source, Combination):
            readers.setdefault(_plain(predictor.source), []).append(predictor)
    return tuple(
        Origin(source, tuple(own), tuple(p for p in predictors if source in of[p.name]))
        for source, own in readers.items()
    )


def _plain(source: Value | Elapsed | ListAggregate) -> Value | Elapsed | ListAggregate:
    return source if isinstance(source, Elapsed) else replace(source, is_text=False, is_number_text=False)
