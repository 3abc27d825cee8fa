"""Definitions and steps of the models' log, as tests need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memberstream.models.definition import VersionDefinition, read_definition
from memberstream.models.log_steps import Authorship

#: Done by somebody, at the beginning of time.
BY: Authorship = {"at_ms": 1, "actor": "somebody", "reason": "", "forced": False}


def defined(
    name: str, version: int, clusters: Mapping[int, str] | None = None, *, type_: str = "logistic", **more: Any
) -> VersionDefinition:
    """Return the definition of a model of these clusters; `more`: whatever else stands in it."""
    named = {1: "low"} if clusters is None else clusters
    return read_definition(
        {
            "name": name,
            "version": version,
            "model": {"type": type_},
            "clusters": [{"id": cluster, "name": name} for cluster, name in named.items()],
            **more,
        }
    )
