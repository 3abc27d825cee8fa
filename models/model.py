"""A model: predictors, a scorer over their columns, and the clusters it sorts members into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from memberstream.models.predictor import Predictor
from memberstream.models.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as the model's author names it; ids belong to the file and ascend in it."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Example:
    """What the trainer saw for one document at one time; absent values are not compared.

    Attributes:
        predictors: column name → value.
        probability: logistic: of the positive class; multinomial: per cluster, in file order.
        raw: trees: the raw score, or one per cluster in file order.
    """

    document: dict[str, Any]
    at_ms: int
    cluster: int
    predictors: dict[str, float] | None = None
    probability: float | tuple[float, ...] | None = None
    raw: float | tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """One immutable version of a model, as its file defines it (docs/model-file.md).

    Attributes:
        inputs: the columns, in the order of the scorer's coefficients or centroids.
        clusters: as many as the scorer has; ids ascending.
        definition: the file's JSON object, what `publish` stores and hands on.
    """

    name: str
    version: int
    description: str
    predictors: tuple[Predictor, ...]
    inputs: tuple[str, ...]
    scorer: Scorer
    clusters: tuple[Cluster, ...]
    examples: tuple[Example, ...]
    definition: dict[str, Any]

    @cached_property
    def label(self) -> str:
        """`name@version`, the name of its field in Redis."""
        return label(self.name, self.version)

    @cached_property
    def cluster_ids(self) -> npt.NDArray[np.int64]:
        """(n_clusters,) ids in file order, to be indexed with a scorer's `index`."""
        return np.array([cluster.id for cluster in self.clusters], dtype=np.int64)

    @cached_property
    def key(self) -> int:
        """An 8-byte number for the label, how stored states name the model."""
        return key_of(self.label)


def label(name: str, version: int) -> str:
    """Return `name@version`."""
    return f"{name}@{version}"


def key_of(label: str) -> int:
    """Return the number that stands for a label in stored states."""
    return int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "little")
