"""A version's definition, as its author published it: what readers need of it is read once, the body stays raw.

Law: whether a body makes a model is for workers to say (models/model_file.py), and whether it makes a list as well
(models/list_version.py). Here is only what everybody goes by: its type, its clusters, what it is, and its digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

#: The type of an uploaded list; a model file never has it.
LIST = "list"
_CLUSTER_IDS = range(2**31)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def is_name(text: str) -> bool:
    """Return whether a model may be called so."""
    return _NAME.fullmatch(text) is not None


class DefinitionError(ValueError):
    """A body that nobody could use; the text says what was expected, and nothing that stands in it."""


@dataclass(frozen=True, slots=True)
class VersionDefinition:
    """A definition.

    Attributes:
        type: of the model, as its file says it, or `LIST`.
        clusters: id → name, in the file's order.
        description: the author's; "" without one.
        digest: 16 hex digits that two definitions share only if their bodies are equal.
        body: the whole JSON object.
    """

    type: str
    clusters: Mapping[int, str]
    description: str
    digest: str
    body: dict[str, Any]

    @property
    def is_list(self) -> bool:
        """Whether members are in the clusters because a list says so; else the workers compute it."""
        return self.type == LIST


def read_definition(body: dict[str, Any]) -> VersionDefinition:
    """Return the definition of a JSON object. Raises DefinitionError."""
    try:
        data = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError):
        raise DefinitionError("definition: expected JSON with numbers of 64 bits, nested at most 250 deep") from None
    model, clusters, description = body.get("model"), body.get("clusters"), body.get("description")
    if not isinstance(model, dict) or not isinstance(model.get("type"), str):
        raise DefinitionError("definition.model: expected an object with a type")
    if not isinstance(clusters, list) or not all(map(_is_cluster, clusters)):
        raise DefinitionError("definition.clusters: expected objects with id and name")
    return VersionDefinition(
        model["type"],
        {cluster["id"]: cluster["name"] for cluster in clusters},
        description if isinstance(description, str) else "",
        hashlib.blake2b(data, digest_size=8).hexdigest(),
        body,
    )


def _is_cluster(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and type(found.get("id")) is int
        and found["id"] in _CLUSTER_IDS
        and isinstance(found.get("name"), str)
    )
