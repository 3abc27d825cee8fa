"""Steps that scale, shift or rotate columns: scikit-learn's scalers, PCA and TruncatedSVD.

Laws:
- A scaling of a number is a transform of its predictor. Any other one stands in the column, and the final estimator
  takes it into its parameters.
- Parameters are taken in double precision, whatever the step was fitted in: that is how it computes with documents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from memberstream.models.export.columns import Column

Columns = list[Column]


def standard_scaler(step: StandardScaler, columns: Columns, where: str, problems: list[str]) -> Columns:
    means = step.mean_ if step.with_mean else None
    return _affine(columns, means, step.scale_ if step.with_std else None, where, problems)


def robust_scaler(step: RobustScaler, columns: Columns, where: str, problems: list[str]) -> Columns:
    means = step.center_ if step.with_centering else None
    return _affine(columns, means, step.scale_ if step.with_scaling else None, where, problems)


def max_abs_scaler(step: MaxAbsScaler, columns: Columns, where: str, problems: list[str]) -> Columns:
    scaled = _affine(columns, None, step.scale_, where, problems)
    return _clipped(scaled, -1.0, 1.0, where, problems) if getattr(step, "clip", False) else scaled


def min_max_scaler(step: MinMaxScaler, columns: Columns, where: str, problems: list[str]) -> Columns:
    """Return X * scale_ + min_ as (X - mean) / sd, with sd = 1 / scale_ and mean = -min_ / scale_."""
    scale, start = np.asarray(step.scale_, dtype=np.float64), np.asarray(step.min_, dtype=np.float64)
    scaled = _affine(columns, -start / scale, 1.0 / scale, where, problems)
    low, high = map(float, step.feature_range)
    return _clipped(scaled, low, high, where, problems) if step.clip else scaled


def rotation(step: PCA | TruncatedSVD, columns: Columns, where: str, problems: list[str]) -> Columns:
    """Return the components: weighted sums of the columns, centred and (whitened) scaled."""
    for column in columns:
        _note_text(column, where, problems)
    weights = np.asarray(step.components_, dtype=np.float64)
    means, sds = np.zeros(len(weights)), np.ones(len(weights))
    if isinstance(step, PCA):
        means = step.components_ @ step.mean_  # in the precision of the fit, as PCA.transform does
        if step.whiten:
            least = np.finfo(step.explained_variance_.dtype).eps
            sds = np.maximum(np.sqrt(step.explained_variance_), least)
    rows = zip(weights.tolist(), means.tolist(), sds.tolist(), strict=True)
    return [Column(None, None, mean, sd, tuple(zip(columns, row, strict=True))) for row, mean, sd in rows]


def _affine(columns: Columns, means: Any, sds: Any, where: str, problems: list[str]) -> Columns:
    """Return the columns as (v - mean) / sd; None stands for zeros or ones."""
    means = np.zeros(len(columns)) if means is None else np.asarray(means, dtype=np.float64)
    sds = np.ones(len(columns)) if sds is None else np.asarray(sds, dtype=np.float64)
    result: Columns = []
    for column, mean, sd in zip(columns, means.tolist(), sds.tolist(), strict=True):
        _note_text(column, where, problems)
        if column.is_plain and column.definition is not None:
            if (mean, sd) != (0.0, 1.0):
                column = Column(column.definition.then({"scale": {"mean": mean, "sd": sd}}))
            result.append(column)
        else:
            result.append(replace(column, mean=column.mean + column.sd * mean, sd=column.sd * sd))
    return result


def _note_text(column: Column, where: str, problems: list[str]) -> None:
    if column.definition is not None and column.definition.is_text and column.category is None:
        problems.append(f"{where}: {column.definition.hint} is a text. Use: a OneHotEncoder before it")


def _clipped(columns: Columns, low: float, high: float, where: str, problems: list[str]) -> Columns:
    if not all(column.is_plain for column in columns):
        problems.append(f"{where}: clip of columns that aren't plain numbers. Use: clip=False")
        return columns
    return [
        Column(column.definition.then({"clip": {"min": low, "max": high}})) for column in columns if column.definition
    ]
