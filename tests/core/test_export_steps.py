"""Steps of pipelines, each against scikit-learn's own numbers on the author's own matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core.exporting import agrees, exported, numbers
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

_rng = np.random.default_rng(4)
X = np.column_stack(
    [_rng.gamma(2, 30, 120), _rng.integers(1, 80, 120), _rng.random(120) + 0.1, _rng.integers(0, 3, 120)]
)
Y = (X[:, 0] + _rng.normal(0, 30, 120) > 60).astype(int)
ONE_HOT = ColumnTransformer([("encode", OneHotEncoder(handle_unknown="ignore"), [3])], remainder="passthrough")
ROTATED = ColumnTransformer([("pca", make_pipeline(StandardScaler(), PCA(2)), [0, 1, 2])], remainder="passthrough")


class Sampler:
    """Like imbalanced-learn's: it changes the rows of a fit, and has no transform."""

    def fit_resample(self, x: Any, y: Any) -> tuple[Any, Any]:
        return x[::2], y[::2]


class ImbalancedPipeline(Pipeline):  # type: ignore[misc]
    """Like imbalanced-learn's: samplers act in the fit alone."""

    def predict(self, x: Any) -> Any:
        return Pipeline(self.steps[1:]).predict(x)

    def predict_proba(self, x: Any) -> Any:
        return Pipeline(self.steps[1:]).predict_proba(x)


@pytest.mark.parametrize(
    "steps",
    [
        [RobustScaler()],
        [RobustScaler(with_centering=False)],
        [RobustScaler(with_scaling=False, unit_variance=True)],
        [MaxAbsScaler()],
        [MaxAbsScaler(), MinMaxScaler((-1, 1), clip=True)],
        [FunctionTransformer(np.sqrt), StandardScaler()],
        [ColumnTransformer([("log", FunctionTransformer(np.log), [0, 2])], remainder=FunctionTransformer(np.sqrt))],
        [ColumnTransformer([("2", FunctionTransformer(np.log2), [0]), ("10", FunctionTransformer(np.log10), [1])])],
        [PCA(2)],
        [StandardScaler(), PCA(3, whiten=True), RobustScaler()],
        [ONE_HOT, StandardScaler(), PCA(3)],
        [PolynomialFeatures(2), StandardScaler(), PCA(5)],
        [PCA(3), PCA(2)],
        [StandardScaler(), TruncatedSVD(2), MinMaxScaler()],
        [VarianceThreshold(0.1), SelectKBest(k=2), StandardScaler()],
        [ROTATED],
    ],
    ids=str,
)
def test_steps_in_front_of_a_logistic_regression(steps: list[Any]) -> None:
    """Scalers, logarithms, roots, rotations and selections: probabilities within 1e-12, predictions equal."""
    fitted = make_pipeline(*steps, LogisticRegression(max_iter=2000)).fit(X, Y)
    predictors = numbers(4, missing=1)  # which has a logarithm
    file = exported(fitted, X, predictors, probabilities=fitted.predict_proba(X), clusters_of=fitted.predict(X))
    assert file.proven_by == ("x", "probabilities", "clusters_of")
    agrees(file, fitted, X)


@pytest.mark.parametrize(
    "steps",
    [
        [PCA(2)],
        [StandardScaler(), PCA()],
        [ONE_HOT, PCA(3)],
        [PCA(3), PCA(2)],
        [StandardScaler(), TruncatedSVD(2)],
        [ROTATED],
        [PolynomialFeatures(2), PCA(3)],
    ],
    ids=str,
)
@pytest.mark.parametrize("final", [KMeans(3, n_init=1, random_state=0), MiniBatchKMeans(3, n_init=1, random_state=0)])
def test_rotations_in_front_of_k_means(steps: list[Any], final: Any) -> None:
    """The nearest centroid in the space of components is the nearest one in the space before."""
    fitted = make_pipeline(*steps, final).fit(X)
    agrees(exported(fitted, X, clusters_of=fitted.predict(X)), fitted, X)


def test_scalers_fitted_in_single_precision() -> None:
    """Their parameters are single precision numbers, taken as they are; the author's own numbers are single, too."""
    single = X.astype(np.float32)
    for scaler in (MinMaxScaler(), MinMaxScaler(clip=True), StandardScaler(), RobustScaler(), MaxAbsScaler(), PCA(2)):
        fitted = make_pipeline(scaler, LogisticRegression()).fit(single, Y)
        p = fitted.predict_proba(single)
        file = exported(fitted, X, x=single, probabilities=p.astype(np.float32), clusters_of=fitted.predict(single))
        assert file.proven_by == ("x", "probabilities", "clusters_of")
        agrees(file, fitted, X)


def test_samplers_do_nothing_when_a_pipeline_predicts() -> None:
    """imbalanced-learn's pipelines: what the sampler did is in the fitted parameters."""
    inner = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[::2], Y[::2])
    fitted = ImbalancedPipeline([("sampler", Sampler()), *inner.steps])
    agrees(exported(fitted, X, probabilities=inner.predict_proba(X)), fitted, X)
