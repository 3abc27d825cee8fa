"""Fitted scikit-learn transformers: what each makes of columns.

Attributes and formulas are those of scikit-learn 1.7 and later. A step gets the columns of its input and returns those
of its output, each in their order. What it can't represent exactly it notes as a problem, and goes on.

Law: if the step would refuse a value (a category never seen, a missing value), the author must have said what happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from memberstream.models.export.columns import Column, product
from memberstream.models.export.instead import STEPS as INSTEAD
from memberstream.models.export.scalers import (
    Columns,
    max_abs_scaler,
    min_max_scaler,
    robust_scaler,
    rotation,
    standard_scaler,
)

#: NumPy's functions, and the transforms that compute the same.
_FUNCTIONS: dict[Any, tuple[Any, ...]] = {
    np.log1p: ("log1p",),
    np.log: ("log",),
    np.sqrt: ("sqrt",),
    np.log2: ("log", {"scale": {"mean": 0.0, "sd": math.log(2)}}),
    np.log10: ("log", {"scale": {"mean": 0.0, "sd": math.log(10)}}),
}


def through(step: Any, columns: Columns, where: str, problems: list[str]) -> Columns:
    """Return the columns behind a fitted transformer.

    Args:
        where: the step's place in the pipeline, for problems.
    """
    if step is None or step in ("passthrough", "drop"):
        return [] if step == "drop" else columns
    if hasattr(step, "fit_resample") and not hasattr(step, "transform"):
        return columns  # imbalanced-learn's samplers act when the pipeline is fitted, not when it predicts
    n_in = getattr(step, "n_features_in_", len(columns))
    if n_in != len(columns):  # the echo of a step before it that can't be represented
        return columns
    encoded = [c.hint for c in columns if c.definition is not None and c.definition.is_encoded]
    if encoded and not isinstance(step, (Pipeline, ColumnTransformer, SelectorMixin)):
        problems.append(f"{where}: {encoded[0]} has codes already. Use: no step for it behind an OrdinalEncoder")
        return columns
    for kind, handler in _HANDLERS.items():
        if isinstance(step, kind):
            return handler(step, columns, where, problems)
    name = type(step).__name__
    why, instead = INSTEAD.get(name, ("a model file has no such transform", ", ".join(k.__name__ for k in _HANDLERS)))
    problems.append(f"{where}: {name} can't be represented: {why}. Use: {instead}")
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
    """Return the positions that a ColumnTransformer has chosen by positions, names, a mask or a slice of either."""
    if isinstance(chosen, slice):
        start, stop = chosen.start, chosen.stop
        if isinstance(start, str) or isinstance(stop, str):  # a slice by names includes both ends
            start = None if start is None else names.index(start)
            stop = None if stop is None else names.index(stop) + 1
        return list(range(n))[slice(start, stop, chosen.step)]
    listed = [chosen] if np.ndim(chosen) == 0 else list(chosen)  # one by itself: its transformer gets one dimension
    if listed and all(isinstance(c, (bool, np.bool_)) for c in listed):
        return [i for i, is_chosen in enumerate(listed) if is_chosen]
    return [names.index(c) if isinstance(c, str) else int(c) % n for c in listed]


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
        if _is_missing(value):
            problems.append(f"{where}: {column.hint} had no value to learn from. Use: `missing` in its predictor")
            result.append(column)
        elif definition is not None and definition.is_never_missing:
            result.append(replace(column, definition=replace(definition, unfilled=(where, value))))
        elif definition is None or column.category is not None or definition.transforms or definition.operands:
            problems.append(
                f"{where}: imputes {column.hint}, which isn't as the document has it. Use: a SimpleImputer before all "
                "other steps, or `missing` in the predictor"
            )
            result.append(column)
        else:
            result.append(Column(replace(definition, missing=value)))
    return result


def _function(step: FunctionTransformer, columns: Columns, where: str, problems: list[str]) -> Columns:
    if step.func is None:
        return columns
    name = getattr(step.func, "__name__", str(step.func))
    transforms = None if step.kw_args else next((t for f, t in _FUNCTIONS.items() if f is step.func), None)
    if transforms is None:
        known = ", ".join(f"np.{function.__name__}" for function in _FUNCTIONS)
        problems.append(
            f"{where}: {name} can't be represented: what a function computes can't be read from it. Use: {known}; or "
            "documents that hold the result"
        )
        return columns
    if not all(column.is_plain for column in columns):
        problems.append(f"{where}: {name} of encoded columns. Use: {name} of numbers alone, in a ColumnTransformer")
        return columns
    result = [column.definition for column in columns if column.definition]
    for transform in transforms:
        result = [definition.then(transform) for definition in result]
    return [Column(definition) for definition in result]


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
            problems.append(f"{where}: {definition.hint} was fitted on {_meant(is_text)}")
            continue
        dropped = None if step.drop_idx_ is None else step.drop_idx_[i]
        kept = [c if is_text else float(c) for j, c in enumerate(names) if j != dropped]
        if kept:
            encoded = replace(definition.then({"one_hot": kept}), is_text=False)
            result += [Column(encoded, category) for category in kept]
    return result


def _ordinal(step: OrdinalEncoder, columns: Columns, where: str, problems: list[str]) -> Columns:
    """Codes of categories, for trees that ask for them: -1 is what is missing or unknown, where the encoder has NaN."""
    result: Columns = []
    others = (step.unknown_value, step.encoded_missing_value)
    if step.handle_unknown == "error" or not all(map(_is_missing, others)):
        problems.append(
            f"{where}: a category that training has not seen, or none, must be NaN. Use: OrdinalEncoder(handle_unknown="
            '"use_encoded_value", unknown_value=np.nan)'
        )
    if getattr(step, "infrequent_categories_", None) is not None:
        problems.append(f"{where}: has infrequent categories. Use: no min_frequency and max_categories")
    for column, categories in zip(columns, step.categories_, strict=True):
        definition = column.definition
        names = [name for name in categories.tolist() if not _is_missing(name)]
        if definition is None or column.category is not None or not names:
            problems.append(f"{where}: {column.hint} has no categories. Use: an OrdinalEncoder of categories alone")
            continue
        is_text = isinstance(names[0], str)
        if is_text != definition.is_text:
            problems.append(f"{where}: {definition.hint} was fitted on {_meant(is_text)}")
            continue
        codes = definition.then({"codes": names if is_text else list(map(float, names))})
        result.append(Column(replace(codes, is_text=False, is_encoded=True)))
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


def _selection(step: Any, columns: Columns, where: str, problems: list[str]) -> Columns:
    return [columns[i] for i in step.get_support(indices=True)]


def _is_missing(value: Any) -> bool:
    """Return whether it is None, NaN or pandas.NA, which isn't even unequal to itself."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value))


_HANDLERS: dict[type, Callable[[Any, Columns, str, list[str]], Columns]] = {
    Pipeline: _pipeline,
    ColumnTransformer: _column_transformer,
    StandardScaler: standard_scaler,
    MinMaxScaler: min_max_scaler,
    RobustScaler: robust_scaler,
    MaxAbsScaler: max_abs_scaler,
    PCA: rotation,
    TruncatedSVD: rotation,
    OneHotEncoder: _one_hot,
    OrdinalEncoder: _ordinal,
    SimpleImputer: _simple_imputer,
    FunctionTransformer: _function,
    PolynomialFeatures: _polynomial,
    SelectorMixin: _selection,
}


def _meant(is_text: bool) -> str:
    """Return of what kind categories are, and what their predictor needs."""
    return 'texts. Use: "type": "text" in its predictor' if is_text else "numbers. Use: no type in its predictor"
