"""Why the author's numbers and those of the file differ: hypotheses, and which of them explain everything.

Laws:
- A hypothesis is a sentence, and what the file would read of the documents if it were so. It is named only if the
  author's numbers then agree with it in every document.
- What the fitted object would say of such a reading it is asked itself.
- Several hypotheses that explain the same are named side by side. None is preferred.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
    """

    recompute: Callable[[Indices], Any]
    sentence: str
    variant: str = ""


def explaining(
    hypotheses: Iterable[Hypothesis],
    differ: Sequence[Any],
    agree: Callable[[Sequence[Hypothesis], Indices], Sequence[bool]],
) -> list[Hypothesis]:
    """Return the hypotheses with which all documents agree; of one sentence a few.

    Args:
        differ: (n,) whether a document differs now; one or more, if it may differ in several ways.
        agree: for each of some hypotheses, whether these documents agree if it is so.
    """
    found: list[Hypothesis] = []
    n_of: Counter[str] = Counter()
    pending = iter(hypotheses)
    while together := list(itertools.islice(pending, _TOGETHER)):
        for n_rows in (_FEW, _MORE):
            rows = _some(differ, n_rows)
            together = (
                [h for h, is_so in zip(together, agree(together, rows), strict=True) if is_so] if together else []
            )
        for hypothesis in together:
            if n_of[hypothesis.sentence] <= _MOST_NAMED and agree([hypothesis], np.arange(len(differ[0])))[0]:
                n_of[hypothesis.sentence] += 1
                found.append(hypothesis)
    return found


def _some(differ: Sequence[Any], n: int) -> Indices:
    """Return the places of n documents that differ, in each way, and of n that don't."""
    rest = ~np.any(differ, axis=0)
    places: list[Any] = [np.flatnonzero(which)[:n] for which in (*differ, rest)]
    return np.unique(np.concatenate(places))


def named(found: Sequence[Hypothesis]) -> list[str]:
    """Return the sentences of hypotheses, each with its variants."""
    variants: dict[str, list[str]] = {}
    for hypothesis in found:
        variants.setdefault(hypothesis.sentence, []).append(hypothesis.variant)
    return [sentence.replace("{}", _listed(list(dict.fromkeys(these)))) for sentence, these in variants.items()]


def _listed(variants: Sequence[str]) -> str:
    return " or ".join([*variants[:_MOST_NAMED], *(["others"] if len(variants) > _MOST_NAMED else [])])


def told(sentences: Sequence[str], n: int, n_differ: int, otherwise: str = "") -> str:
    """Return what follows a difference: the cause, the possible causes, or that there is none.

    Args:
        sentences: each explains all n documents. otherwise: what to do if there are none.
    """
    if not sentences:
        return f". No single cause found{f'. {otherwise}' if otherwise else ''}"
    agree = f"then {'it agrees' if n == 1 else f'all {n:,} agree'}"
    if len(sentences) == 1:
        is_sure = n_differ >= _ENOUGH and " or others" not in sentences[0]
        return f". {'Likely' if is_sure else 'Possible'} cause: {sentences[0]} ({agree})"
    more = len(sentences) - _MOST_NAMED
    shown = "; or ".join(sentences[:_MOST_NAMED]) + (f"; or {counted(more, 'other')}" if more > 0 else "")
    return f". Possible causes, {agree} with each alone: {shown}"
