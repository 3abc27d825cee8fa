"""Whether predictors read what the author means, as far as the documents can tell.

A wrong path gives one value for everybody, and so does a value of another type; seconds read as milliseconds lie in
1970. A file of such predictors agrees with itself. So it is refused, unless the author allows the predictor by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from memberstream.models.coverage import Coverage, coverage
from memberstream.models.export.columns import Column, Definition
from memberstream.models.export.raw import Raw
from memberstream.models.timestamps import EARLIEST_MS, LATEST_MS, format_ms
from memberstream.models.wording import counted

AT = "at"  # how the time of scoring is allowed
ENOUGH = 10  # documents: fewer may well have the same value


def check_allowed(allow: Sequence[str], raw: Raw) -> list[str]:
    """Return which of the names that are allowed are none."""
    known = {name.partition("=")[0] for name in raw.columns} | {AT}
    return [f"allow: {name} is no predictor. Use: names of predictors, or {AT}" for name in allow if name not in known]


def check_imputers(columns: Sequence[Column], allow: Sequence[str]) -> list[str]:
    """Return where an imputer of the pipeline would fill nothing. Documents can't tell whether it did so in training:
    then the model was fitted on values that the file never has. The author's own matrix or probabilities can."""
    found: dict[str, str] = {}
    for definition in _leaves(columns):
        if definition.unfilled is not None and definition.hint not in allow:
            step, value = definition.unfilled
            if definition.missing is None:
                rule, instead = "nothing counts as 0", ""
            else:
                rule = f"`missing` is {definition.missing!r}"
                instead = ", no `missing` in the predictor if the imputer's value is meant"
            found[definition.hint] = (
                f"{definition.hint}: {step} would fill it with {value!r} where it is missing, but in the file it never "
                f"is: {rule}. If training had gaps there, the file computes other numbers. Use: x=… or "
                f"probabilities=…, which show whether it had{instead}; or allow=[{definition.hint!r}]"
            )
    return list(found.values())


def _leaves(columns: Sequence[Column]) -> Iterator[Definition]:
    pending = [column.definition for column in columns if column.definition is not None]
    while pending:
        definition = pending.pop()
        yield definition
        pending += definition.operands


def check_documents(
    raw: Raw, columns: Sequence[Column], x: Any, documents: Sequence[Any], at_ms: Sequence[int], allow: Sequence[str]
) -> list[str]:
    """Return what looks wrong with predictors that aren't allowed to.

    Args:
        columns: the model's inputs. x: (n, n_inputs), what the file computes of them.
    """
    used = {name for column in columns if column.definition for name in _sources(column.definition)}
    looked_at = used - {*allow}
    problems: list[str] = []
    suspects: set[str] = set()
    for found in coverage((p for p in raw.parsed if p.name in looked_at), documents):
        if reason := _reason(found, len(documents)):
            suspects.add(found.predictor)
            problems.append(f"{found.predictor}: {reason}; or allow=[{found.predictor!r}]")
    if raw.moving and AT not in allow and (at := [t for t in at_ms if not EARLIEST_MS <= t < LATEST_MS]):
        problems.append(
            f"at: {format_ms(at[0])} is no time that can be meant. Use: ISO 8601, or ms rather than seconds"
        )
    return problems + _constant(columns, x, {*allow} | suspects)


def _reason(found: Coverage, n_documents: int) -> str | None:
    if found.is_unseen:
        return f"none of {counted(n_documents, 'document')} has {found.place}. Use: the right path"
    if found.never_fits:
        use = _remedy(found, f"documents with {found.expected} there")
        return (
            f"expected {found.expected} at {found.place}, found {found.found} in each of "
            f"{counted(found.n_wrong_type, 'document')}. Use: {use}"
        )
    if found.n_implausible:
        return (
            f"{found.place} lies before 1990 or after 2099 in {counted(found.n_implausible, 'document')}. Use: "
            f"{_remedy(found, 'milliseconds if these are seconds')}"
        )
    return None


def _remedy(found: Coverage, otherwise: str) -> str:
    """Return what the predictor may say, so that it reads what is there; or else what is to be done otherwise."""
    return f"{found.declaration} in its predictor" if found.declaration else otherwise


def _constant(columns: Sequence[Column], x: Any, allow: set[str]) -> list[str]:
    """Return which definitions have one value for all documents; of a one-hot, all of its columns."""
    if len(x) < ENOUGH:
        return []
    of = {column.definition.key: column.definition for column in columns if column.definition is not None}
    keys = [column.definition.key for column in columns if column.definition is not None]
    moving = dict.fromkeys(of, False)
    for key, is_varied in zip(keys, np.any(x != x[:1], axis=0).tolist(), strict=True):
        moving[key] |= is_varied
    constant: list[str] = []
    for key in sorted((key for key, varies in moving.items() if not varies), key=lambda key: len(of[key].operands)):
        if not _sources(of[key]) & {*allow, *constant}:  # what is computed of it would be its echo
            constant.append(of[key].hint)
    return [
        f"{name}: the same in all of {counted(len(x), 'document')}. Use: the right path, unit and categories; or "
        f"allow=[{name!r}]"
        for name in constant
    ]


def _sources(definition: Definition) -> set[str]:
    """Return the names of the author's predictors that a definition reads, among other names."""
    return {definition.hint}.union(*map(_sources, definition.operands))
