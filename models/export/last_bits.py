"""Trees of the author's own matrix: whether last bits that differ from the file's lead somewhere else.

Laws:
- A tree asks whether a value is above a threshold. Where that lies between two numbers that differ in the last bit
  alone, the same member has another probability. So a matrix that agrees within a tolerance isn't enough for trees.
- The fitted object itself is asked about both matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from memberstream.models.examples import TOLERANCE
from memberstream.models.export.proof import Said
from memberstream.models.export.relations import same
from memberstream.models.problems import some_of
from memberstream.models.wording import counted

_MOST_SHOWN = 5


def other_leaves(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    said: Said,
    ask: Callable[[Any], Said],
    member: Callable[[int], str],
    is_single: bool,
) -> list[str]:
    """Return that documents get another probability from the author's matrix, though it agrees with the file's.

    Args:
        ours, theirs: column → (n,) values, the file's and the author's.
        said: what trees say of the file's matrix. ask: places (k,) → what they say of the author's.
        member: place → the document's name in a message. is_single: whether the author's matrix is of single precision.
    """
    differ = {name: ~same(ours[name], theirs[name], 0.0) for name in theirs}
    differ = {name: where for name, where in differ.items() if where.any()}
    if not differ:
        return []
    rows = np.flatnonzero(np.any(list(differ.values()), axis=0))
    own = ask(rows)
    if said.probabilities is None:
        what, a, b = "prediction", said.raw[rows], own.raw
    else:
        what, a, b = "probability", said.probabilities[rows], own.probabilities
    far = np.abs(a - b) > TOLERANCE * np.maximum(1.0, np.abs(a))
    places = np.flatnonzero(far if far.ndim == 1 else far.any(axis=1)).tolist()
    if not places:
        return []
    columns = [f"{name} in {counted(int(where.sum()), 'document')}" for name, where in differ.items()]
    why, use = "the last bits", "math.fsum for sums, as the file does"
    if is_single:
        why, use = "what single precision leaves off", "a matrix of float64, fitted on as well"
    return [
        f"x: agrees with the file's numbers but for {why}: {some_of(columns)}. Where a tree's threshold lies between "
        f"the two numbers, the member goes another way: {len(places):,} of {counted(len(said.raw), 'document')} "
        f"{'gets' if len(places) == 1 else 'get'} another {what} from your x. Use: {use}; or train on "
        "memberstream.training_matrix",
        *(
            f"{member(int(rows[i]))}.{what}: {a[i].tolist()} in the file, {b[i].tolist()} in yours"
            for i in places[:_MOST_SHOWN]
        ),
    ]
