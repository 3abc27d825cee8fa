"""Real-time member scoring for campaign targeting: what a notebook or a service calls.

    from memberstream import Lookup            # a member's clusters, from Redis
    from memberstream import from_estimator    # a fitted model as a model file
    from memberstream import publish           # and live

Importing this package imports nothing else: each name below loads its module when it is first asked for.
`models/` and `stream/` lie at the top of the repository and are linked into this folder. They are imported by their
full names, `memberstream.models…` and `memberstream.stream…`, and by nothing else: a second name would load them twice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memberstream.models.export import from_estimator, from_mlflow, from_r_glm
    from memberstream.models.training import from_history, training_matrix
    from memberstream.stream.lookup import AsyncLookup, Lookup
    from memberstream.stream.notebook import compare, publish, upload

_MODULES = {
    "from_estimator": "memberstream.models.export",
    "from_mlflow": "memberstream.models.export",
    "from_r_glm": "memberstream.models.export",
    "from_history": "memberstream.models.training",
    "training_matrix": "memberstream.models.training",
    "AsyncLookup": "memberstream.stream.lookup",
    "Lookup": "memberstream.stream.lookup",
    "compare": "memberstream.stream.notebook",
    "publish": "memberstream.stream.notebook",
    "upload": "memberstream.stream.notebook",
}

__all__ = [
    "AsyncLookup",
    "Lookup",
    "compare",
    "from_estimator",
    "from_history",
    "from_mlflow",
    "from_r_glm",
    "publish",
    "training_matrix",
    "upload",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
