"""Fitted models as model files, by one call: scikit-learn, statsmodels, R (docs/export.md).

Laws:
- What is exported computes what the fitted object computes: probabilities within 1e-12, clusters equal. Example
  documents carry the fitted object's own outputs, and an export that doesn't reproduce them is refused.
- Whether it is what the author means, only the author's own numbers can tell. A file without them says so.
- What can't be represented exactly is refused, with the name of the part and what to use instead; never approximated.
- Nothing is pickled. This package needs the libraries that made the model, the worker never does.
"""

from memberstream.models.export.columns import ExportError
from memberstream.models.export.estimator import from_estimator
from memberstream.models.export.file import ModelFile
from memberstream.models.export.from_mlflow import from_mlflow
from memberstream.models.export.from_r import from_r_glm

__all__ = ["ExportError", "ModelFile", "from_estimator", "from_mlflow", "from_r_glm"]
