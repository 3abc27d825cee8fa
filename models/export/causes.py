"""Why the author's numbers and those of the file differ: hypotheses, and which of them explain everything.

Laws:
- A hypothesis is a sentence, and what the file would read of the documents if it were so. It is named only if the
  author's numbers then agree with it in every document.
- What the fitted object would say of such a reading it is asked itself.
- Several hypotheses that explain the same are named side by side. None is preferred. What can't be listed beforehand
  and says nearly the same as one that was found, its rivals, is looked at then.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from memberstream.models.scorer import Indices
from memberstream.models.wording import counted

_MOST_NAMED = 3
_ENOUGH = 10  # documents that differ: of fewer, much explains all by chance
#: Documents that are asked about at first, of those that differ and of those that don't: what fails there is dropped.
_FEW, _MORE = 8, 150
_TOGETHER = 64  # hypotheses that are asked about together


@dataclass(frozen=True)
class Hypothesis:
    """What may be so.

    Attributes:
        recompute: (k,) places of documents → (k, n_columns), what the file would read of them.
        sentence: what would be so, and what to write instead; {} stands for the variant.
        variant: what tells hypotheses of one sentence apart: "2 days earlier".
        rivals: what is to be looked at as well if this explains everything.
    """

    recompute: Callable[[Indices], Any]
    sentence: str
    variant: str = ""
    rivals: Callable[[], Iterable[Hypothesis]] = tuple


def explaining(
    hypotheses: Iterable[Hypothesis],
    differ: Sequence[Any],
    agree: Callable[[Sequence[Hypothesis], Indices], Sequence[bool]],
    explains: Callable[[Hypothesis], object] = lambda _: None,
) -> list[Hypothesis]:
    """Return the hypotheses with which all documents agree; of one sentence that explains the same a few.

    Args:
        differ: (n,) whether a document differs now; one or more, if it may differ in several ways.
        agree: for each of some hypotheses, whether these documents agree if it is so.
        explains: which part of the differences a hypothesis explains, once `agree` has been asked about it.
    """
    found: list[Hypothesis] = []
    found_of: dict[tuple[str, object], set[str]] = {}
    pending: Iterator[Hypothesis] = iter(hypotheses)
    while together := list(itertools.islice(pending, _TOGETHER)):
        for n_rows in (_FEW, _MORE):
            rows = _some(differ, n_rows)
            together = (
                [h for h, is_so in zip(together, agree(together, rows), strict=True) if is_so] if together else []
            )
        for hypothesis in together:
            variants = found_of.setdefault((hypothesis.sentence, explains(hypothesis)), set())
            is_new = hypothesis.variant not in variants and len(variants) <= _MOST_NAMED
            if is_new and agree([hypothesis], np.arange(len(differ[0])))[0]:
                variants.add(hypothesis.variant)
                found.append(hypothesis)
                pending = itertools.chain(hypothesis.rivals(), pending)
    return found


def _some(differ: Sequence[Any], n: int) -> Indices:
    """Return the places of n documents that differ, in each way, and of n that don't."""
    rest = ~np.any(differ, axis=0)
    places: list[Any] = [np.flatnonzero(which)[:n] for which in (*differ, rest)]
    return np.unique(np.concatenate(places))


class Cause(NamedTuple):
    """A sentence that explains all documents. `is_one`: whether it leaves no choice among variants."""

    sentence: str
    is_one: bool = True


def named(found: Sequence[Hypothesis]) -> list[Cause]:
    """Return hypotheses by their sentences, each with its variants."""
    variants: dict[str, list[str]] = {}
    for hypothesis in found:
        variants.setdefault(hypothesis.sentence, []).append(hypothesis.variant)
    return [Cause(sentence.replace("{}", _listed(these)), len(these) == 1) for sentence, these in variants.items()]


def _listed(variants: Sequence[str]) -> str:
    return " or ".join([*variants[:_MOST_NAMED], *(["others"] if len(variants) > _MOST_NAMED else [])])


def told(causes: Sequence[Cause], n: int, n_differ: int, otherwise: str = "") -> str:
    """Return what follows a difference: the cause, the possible causes, or that there is none.

    Args:
        causes: each explains all n documents. otherwise: what to do if there are none.
    """
    if not causes:
        return f". No single cause found{f'. {otherwise}' if otherwise else ''}"
    agree = f"then {'it agrees' if n == 1 else f'all {n:,} agree'}"
    if len(causes) == 1:
        is_sure = n_differ >= _ENOUGH and causes[0].is_one
        return f". {'Likely' if is_sure else 'Possible'} cause: {causes[0].sentence} ({agree})"
    more = len(causes) - _MOST_NAMED
    shown = "; or ".join(cause.sentence for cause in causes[:_MOST_NAMED]) + (
        f"; or {counted(more, 'other')}" if more > 0 else ""
    )
    return f". Possible causes, {agree} with each alone: {shown}"
