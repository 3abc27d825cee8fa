"""Models of MLflow's registry, with a stand-in for mlflow: it isn't a dependency. The real one was tried by hand."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from core.exporting import documents_of, numbers
from sklearn.linear_model import LogisticRegression

from memberstream import from_mlflow
from memberstream.models.export import ExportError

X = np.random.default_rng(3).normal(size=(40, 2))
FITTED = LogisticRegression().fit(X, X[:, 0] > 0)
GIVEN: dict[str, Any] = {"predictors": numbers(2), "documents": documents_of(X), "x": X}


class MlflowException(Exception):
    """As mlflow's own."""


class Registry:
    """What `from_mlflow` uses of mlflow: version 3 of `buyers`, the champion; trees as version 4; and one run."""

    FLAVORS = {  # noqa: RUF012 (never changed)
        "models:/buyers/3": {"python_function", "sklearn"},
        "models:/buyers/4": {"python_function", "lightgbm"},
        "runs:/1/model": {"sklearn"},
    }
    MlflowException = MlflowException

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.models = SimpleNamespace(get_model_info=self._info)
        self.sklearn = SimpleNamespace(load_model=self._load)

    def MlflowClient(self) -> Any:
        return SimpleNamespace(get_model_version_by_alias=lambda name, alias: SimpleNamespace(version=3))

    def _info(self, uri: str) -> Any:
        if uri not in self.FLAVORS:
            raise MlflowException(f"Model {uri} not found\nand more lines")
        return SimpleNamespace(flavors={key: {} for key in self.FLAVORS[uri]})

    def _load(self, uri: str) -> Any:
        self.loaded.append(uri)
        return FITTED


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setitem(sys.modules, "mlflow", made)
    return made


@pytest.mark.parametrize("uri", ["models:/buyers/3", "models:/buyers@champion"])
def test_a_registered_version(registry: Registry, uri: str) -> None:
    """Name and version come from the registry; an alias is looked up once, and that version is loaded."""
    file = from_mlflow(uri, **GIVEN)
    assert (file.model.name, file.model.version, file.proven_by) == ("buyers", 3, ("x",))
    assert registry.loaded == ["models:/buyers/3"]
    assert from_mlflow(uri, name="other", version=7, **GIVEN).model.label == "other@7"


def test_a_run_needs_a_name(registry: Registry) -> None:
    """What isn't in the registry is exported under the name that the author gives."""
    assert from_mlflow("runs:/1/model", name="buyers", version=1, **GIVEN).model.label == "buyers@1"
    with pytest.raises(ExportError, match=r"isn't one version of the registry. Use: models:/NAME/VERSION, or name=…"):
        from_mlflow("runs:/1/model", **GIVEN)


def test_what_mlflow_has_not(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such model, models of other libraries, no mlflow: each is said with what to do."""
    with pytest.raises(ExportError, match=r"models:/buyers/9: Model models:/buyers/9 not found. Use: models:/NAME"):
        from_mlflow("models:/buyers/9", **GIVEN)
    with pytest.raises(
        ExportError, match=r"models:/buyers/4: logged as lightgbm\. Use: .* memberstream clusters upload"
    ):
        from_mlflow("models:/buyers/4", **GIVEN)
    assert registry.loaded == []
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r"from_mlflow needs mlflow. Next: pip install mlflow"):
        from_mlflow("models:/buyers/3", **GIVEN)
