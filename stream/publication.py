"""The published models of a worker in the forms its parts need: compiled for scoring, named for Redis and state."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from models.model import Model
from models.plan import Plan
from stream.keyspace import PublishedModel, membership_field


@dataclass(frozen=True, slots=True)
class Publication:
    """All published model versions.

    Attributes:
        plan: computes their predictors, each distinct one once.
        fields: fields of a member's hash in Redis, one per model version.
        keys: keys of the same model versions in a member's state.
        fingerprint: 8 bytes as an integer that change with any model's content and with the set of versions.
    """

    plan: Plan
    fields: tuple[bytes, ...]
    keys: tuple[int, ...]
    fingerprint: int

    @property
    def models(self) -> tuple[Model, ...]:
        return self.plan.models

    def for_readers(self) -> list[PublishedModel]:
        """Return what Redis says of the models."""
        return [
            PublishedModel(model.name, model.version, model.scorer.type, {c.id: c.name for c in model.clusters})
            for model in self.models
        ]


def compile_models(models: Sequence[Model]) -> Publication:
    """Return the publication of models."""
    plan = Plan(models)
    fields = tuple(membership_field(model.name, model.version) for model in plan.models)
    keys = tuple(model.key for model in plan.models)
    contents = b"".join(orjson.dumps(model.definition, option=orjson.OPT_SORT_KEYS) for model in plan.models)
    digest = hashlib.blake2b(b"%d" % plan.id + contents, digest_size=8).digest()
    fingerprint = int.from_bytes(digest, "little")
    return Publication(plan, fields, keys, fingerprint)
