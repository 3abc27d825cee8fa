"""MLflow: a model of its registry, or of a run, as a model file by one call, where mlflow is installed.

MLflow loads what it stored, which for most models is a pickle: the code in it runs here, on the author's machine. A
worker gets the file and never sees MLflow.
"""

from __future__ import annotations

import re
from typing import Any

from memberstream.models.export.columns import ExportError
from memberstream.models.export.estimator import from_estimator
from memberstream.models.export.file import ModelFile

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")
_FLAVORS = ("sklearn", "statsmodels")  # what from_estimator reads


def from_mlflow(uri: str, *, name: str | None = None, version: int | None = None, **arguments: Any) -> ModelFile:
    """Return a model that MLflow keeps as a model file. What isn't listed here is as for `from_estimator`.

    Args:
        uri: models:/NAME/VERSION or models:/NAME@ALIAS of the registry; or any that mlflow loads, such as
            runs:/RUN/model. Where the registry is: MLFLOW_TRACKING_URI, or mlflow.set_tracking_uri.
        name, version: of the file. Default: the registry's own.

    Raises:
        ModuleNotFoundError: mlflow isn't installed.
        ExportError: MLflow has no such model, or none that scikit-learn or statsmodels fitted; or as `from_estimator`.
    """
    try:
        import mlflow
    except ModuleNotFoundError:
        raise ModuleNotFoundError("from_mlflow needs mlflow. Next: pip install mlflow") from None
    try:
        found = _REGISTERED.fullmatch(uri)
        if found and found["alias"]:
            by_alias = mlflow.MlflowClient().get_model_version_by_alias(found["name"], found["alias"])
            registered: str | None = str(by_alias.version)
            uri = f"models:/{found['name']}/{registered}"  # the alias may move meanwhile
        else:
            registered = found["version"] if found else None
        flavors = mlflow.models.get_model_info(uri).flavors
    except mlflow.MlflowException as error:
        said = str(error).splitlines()[0].rstrip(". ")
        raise ExportError([f"{uri}: {said}. Use: models:/NAME/VERSION, and MLFLOW_TRACKING_URI"]) from error
    flavor = next((flavor for flavor in _FLAVORS if flavor in flavors), None)
    problems = []
    if flavor is None:
        known = ", ".join(sorted(set(flavors) - {"python_function"})) or "none"
        problems.append(
            f"{uri}: logged as {known}. Use: a model logged by mlflow.sklearn or mlflow.statsmodels; or its "
            "predictions as a list: memberstream clusters upload"
        )
    name = name or (found["name"] if found else None)
    version = version or (int(registered) if registered else None)
    if name is None or version is None:
        problems.append(f"{uri}: isn't one version of the registry. Use: models:/NAME/VERSION, or name=… and version=…")
    if flavor is None or name is None or version is None:
        raise ExportError(problems)
    return from_estimator(getattr(mlflow, flavor).load_model(uri), name=name, version=version, **arguments)
