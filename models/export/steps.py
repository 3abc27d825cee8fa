"""Fitted scikit-learn transformers, each as what it makes of columns.

Attributes and formulas are those of scikit-learn 1.7 and later. A step gets the columns of its input in their order and
returns those of its output in theirs; what it can't do exactly it notes as a problem, and goes on.

Law: what the step would refuse (a category never seen, a missing value) must have an answer that the author gave, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler

from models.export.columns import Column, product

Columns = list[Column]


def through(step: Any, columns: Columns, where: str, problems: list[str]) -> Columns:
    """Return the columns behind a fitted transformer.

    Args:
        where: the step's place in the pipeline, for problems.
    """
    if step is None or step in ("passthrough", "drop"):
        return [] if step == "drop" else columns
    n_in = getattr(step, "n_features_in_", len(columns))
    if n_in != len(columns):  # the echo of a step before it that can't be represented
        return columns
    for kind, handler in _HANDLERS.items():
        if isinstance(step, kind):
            return handler(step, columns, where, problems)
    supported = ", ".join(kind.__name__ for kind in _HANDLERS)
    problems.append(f"{where}: {type(step).__name__} can't be represented. Use: {supported}")
    return columns


def _pipeline(step: Pipeline, columns: Columns, where: str, problems: list[str]) -> Columns:
    for name, part in step.steps:
        columns = through(part, columns, f"{where}.{name}" if where else name, problems)
    return columns


def _column_transformer(step: ColumnTransformer, columns: Columns, where: str, problems: list[str]) -> Columns:
    names = list(getattr(step, "feature_names_in_", ()))
    if step.transformer_weights:
        problems.append(f"{where}: transformer_weights. Use: no weights, a model's parameters take them in")
    result: Columns = []
    for name, part, chosen in step.transformers_:
        indices = _indices(chosen, names, len(columns))
        result += through(part, [columns[i] for i in indices], f"{where}.{name}", problems)
    return result


def _indices(chosen: Any, names: list[str], n: int) -> list[int]:
    """Return the positions that a ColumnTransformer's choice means: positions, names, a mask or a slice of either."""
    if isinstance(chosen, slice):
        start, stop = chosen.start, chosen.stop
        if isinstance(start, str) or isinstance(stop, str):  # by names both ends count
            start = None if start is None else names.index(start)
            stop = None if stop is None else names.index(stop) + 1
        return list(range(n))[slice(start, stop, chosen.step)]
    listed = list(chosen)
    if listed and all(isinstance(c, (bool, np.bool_)) for c in listed):
        return [i for i, is_chosen in enumerate(listed) if is_chosen]
    return [names.index(c) if isinstance(c, str) else int(c) % n for c in listed]


def _affine(columns: Columns, means: Any, sds: Any, where: str, problems: list[str]) -> Columns:
    """Return the columns as (v - mean) / sd."""
    result: Columns = []
    for column, mean, sd in zip(columns, map(float, means), map(float, sds), strict=True):
        if column.definition is not None and column.definition.is_text and column.category is None:
            problems.append(f"{where}: {column.definition.hint} is a text. Use: a OneHotEncoder before it")
            result.append(column)
        elif column.is_plain and column.definition is not None:
            if (mean, sd) != (0.0, 1.0):
                column = Column(column.definition.then({"scale": {"mean": mean, "sd": sd}}))
            result.append(column)
        else:
            result.append(replace(column, mean=column.mean + column.sd * mean, sd=column.sd * sd))
    return result


def _standard_scaler(step: StandardScaler, columns: Columns, where: str, problems: list[str]) -> Columns:
    n = len(columns)
    means = step.mean_ if step.with_mean and step.mean_ is not None else np.zeros(n)
    sds = step.scale_ if step.with_std and step.scale_ is not None else np.ones(n)
    return _affine(columns, means, sds, where, problems)


def _min_max_scaler(step: MinMaxScaler, columns: Columns, where: str, problems: list[str]) -> Columns:
    """Return X * scale_ + min_ as (X - mean) / sd, with sd = 1 / scale_ and mean = -min_ / scale_."""
    result = _affine(columns, -step.min_ / step.scale_, 1.0 / step.scale_, where, problems)
    if not step.clip:
        return result
    low, high = map(float, step.feature_range)
    if not all(column.is_plain for column in result):
        problems.append(f"{where}: clip of encoded columns. Use: clip=False")
        return result
    return [
        Column(column.definition.then({"clip": {"min": low, "max": high}})) for column in result if column.definition
    ]


def _simple_imputer(step: SimpleImputer, columns: Columns, where: str, problems: list[str]) -> Columns:
    if step.add_indicator:
        problems.append(f"{where}: add_indicator. Use: add_indicator=False")
    if not _is_missing(step.missing_values):
        problems.append(
            f"{where}: missing_values={step.missing_values!r}. Use: documents where what is unknown is absent"
        )
    result: Columns = []
    for column, value in zip(columns, step.statistics_.tolist(), strict=True):
        definition = column.definition
        if definition is not None and definition.missing is not None:
            result.append(column)  # there never is a missing value to impute
        elif definition is None or column.category is not None or definition.transforms or definition.operands:
            problems.append(
                f"{where}: imputes {column.hint}, which isn't as the document has it. Use: a SimpleImputer before all "
                "other steps, or `missing` in the predictor"
            )
            result.append(column)
        elif _is_missing(value):
            problems.append(f"{where}: {definition.hint} had no value to learn from. Use: `missing` in its predictor")
            result.append(column)
        else:
            result.append(Column(replace(definition, missing=value)))
    return result


def _function(step: FunctionTransformer, columns: Columns, where: str, problems: list[str]) -> Columns:
    if step.func is None:
        return columns
    if step.func is not np.log1p or step.kw_args:
        problems.append(f"{where}: {getattr(step.func, '__name__', step.func)} can't be represented. Use: np.log1p")
        return columns
    if not all(column.is_plain for column in columns):
        problems.append(f"{where}: log1p of encoded columns. Use: log1p of numbers alone, in a ColumnTransformer")
        return columns
    return [Column(column.definition.then("log1p")) for column in columns if column.definition]


def _one_hot(step: OneHotEncoder, columns: Columns, where: str, problems: list[str]) -> Columns:
    result: Columns = []
    if step.handle_unknown == "error":
        problems.append(
            f'{where}: handle_unknown="error" leaves open what a category becomes that training has not seen. Use: '
            '.set_params(handle_unknown="ignore"), all its columns are 0 then; no new fit is needed'
        )
    infrequent = getattr(step, "infrequent_categories_", None)  # raises where they aren't asked for
    for i, (column, categories) in enumerate(zip(columns, step.categories_, strict=True)):
        definition = column.definition
        if definition is None or column.category is not None:
            problems.append(f"{where}: encodes what is encoded already. Use: one OneHotEncoder")
            continue
        if infrequent is not None and infrequent[i] is not None:
            problems.append(
                f"{where}: {definition.hint} has infrequent categories. Use: no min_frequency and max_categories"
            )
        names = categories.tolist()
        if any(map(_is_missing, names)):
            problems.append(
                f"{where}: {definition.hint} was missing in training, as a category. Use: a SimpleImputer before it"
            )
            continue
        is_text = isinstance(names[0], str)
        if is_text != definition.is_text:
            kind, hint = (
                ("texts", '"type": "text" in its predictor') if is_text else ("numbers", "no type in its predictor")
            )
            problems.append(f"{where}: {definition.hint} was fitted on {kind}. Use: {hint}")
            continue
        dropped = None if step.drop_idx_ is None else step.drop_idx_[i]
        kept = [c if is_text else float(c) for j, c in enumerate(names) if j != dropped]
        if kept:
            encoded = replace(definition.then({"one_hot": kept}), is_text=False)
            result += [Column(encoded, category) for category in kept]
    return result


def _polynomial(step: PolynomialFeatures, columns: Columns, where: str, problems: list[str]) -> Columns:
    result: Columns = []
    for powers in step.powers_.tolist():
        factors = [columns[i] for i, power in enumerate(powers) for _ in range(power)]
        if len(factors) > 2:
            problems.append(f"{where}: degree {len(factors)}. Use: degree 2 at most")
            return columns
        if not factors:
            result.append(Column(None))
        elif len(factors) == 1:
            result += factors
        elif not all(factor.is_plain for factor in factors):
            problems.append(
                f"{where}: products of encoded columns. Use: polynomials of numbers, in a ColumnTransformer"
            )
            return columns
        else:
            a, b = (factor.definition for factor in factors if factor.definition)
            result.append(Column(product(a, b)))
    return result


def _is_missing(value: Any) -> bool:
    """Return whether it is None, NaN or pandas.NA, which isn't even unequal to itself."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value))


_HANDLERS: dict[type, Callable[[Any, Columns, str, list[str]], Columns]] = {
    Pipeline: _pipeline,
    ColumnTransformer: _column_transformer,
    StandardScaler: _standard_scaler,
    MinMaxScaler: _min_max_scaler,
    OneHotEncoder: _one_hot,
    SimpleImputer: _simple_imputer,
    FunctionTransformer: _function,
    PolynomialFeatures: _polynomial,
}
