"""The published models in the forms the worker's parts need: compiled for scoring, named for Redis and state.

Laws: a publication is made whole and replaced whole, between two batches. A member that was scored under one carries
exactly the memberships of its computed versions. Lists stand beside them: nobody scores them, no state holds them, and
their fields in Redis are written from the lists' topic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from memberstream.models.list_version import ListVersion
from memberstream.models.member import Head, Member
from memberstream.models.model import Model
from memberstream.models.plan import Plan
from memberstream.models.registry import Registry
from memberstream.stream.keyspace.formats import Announcement, PublishedCampaign, PublishedModel, membership_field


@dataclass(frozen=True, slots=True)
class Lists:
    """The uploaded lists.

    Attributes:
        published: candidates and live lists, each with the offset of the step that published it.
        uploading: lists whose rows are being written. Nobody reads them yet, but deleted members leave them, too.
        withdrawn: retired lists and interrupted uploads, with the offsets of the steps that ended them.
    """

    published: tuple[tuple[int, ListVersion], ...] = ()
    uploading: tuple[ListVersion, ...] = ()
    withdrawn: tuple[tuple[int, ListVersion], ...] = ()

    @property
    def prefixes(self) -> list[bytes]:
        """Prefixes of the rows that a deleted member must leave."""
        return [version.prefix for version in (*[version for _, version in self.published], *self.uploading)]

    @property
    def fields(self) -> list[bytes]:
        """Fields in Redis that a deleted member must lose."""
        return [membership_field(version.name, version.version) for _, version in self.published]


@dataclass(frozen=True, slots=True)
class Publication:
    """The model versions that are scored, and the lists.

    Attributes:
        plan: computes their predictors, each distinct one once.
        fields: fields of a member's row in Redis, one per model version.
        keys: keys of the same model versions in a member's state.
        fingerprint: 8 bytes as an integer. They change with any model's content and with the set of versions.
        offset: all steps of the models' log up to here are in it.
        retired: fields of retired computed versions, with the offsets of the steps that retired them.
        refused: offsets of the steps that published versions which this worker can't load.
        members_offset: offset of the last step that changed members' states, that is, which versions are computed.
    """

    plan: Plan
    fields: tuple[bytes, ...]
    keys: tuple[int, ...]
    fingerprint: int
    offset: int = -1
    retired: tuple[tuple[int, bytes], ...] = ()
    members_offset: int = -1
    lists: Lists = field(default_factory=Lists)
    refused: tuple[int, ...] = ()

    @property
    def models(self) -> tuple[Model, ...]:
        return self.plan.models

    def covers(self, member: Member | Head) -> bool:
        """Return whether a member's predictors and memberships are those of this publication."""
        return member.plan_id == self.plan.scoring_id


@dataclass(slots=True)
class Current:
    """What the worker goes by now. All its parts look here."""

    publication: Publication
    announcement: Announcement


def compile_models(
    models: Sequence[Model],
    offset: int = -1,
    retired: Sequence[tuple[int, bytes]] = (),
    members_offset: int = -1,
    lists: Lists | None = None,
    refused: Sequence[int] = (),
) -> Publication:
    """Return the publication of models and lists."""
    plan, lists = Plan(models), lists or Lists()
    fields = tuple(membership_field(model.name, model.version) for model in plan.models)
    keys = tuple(model.key for model in plan.models)
    contents = b"".join(orjson.dumps(model.definition, option=orjson.OPT_SORT_KEYS) for model in plan.models)
    gone = b" ".join(name for _, name in retired)
    listed = b" ".join(version.prefix for _, version in lists.published)
    listed += b"".join(b" %d %s" % (ended_at, version.prefix) for ended_at, version in lists.withdrawn)
    digest = hashlib.blake2b(b"%d" % plan.id + contents + gone + listed, digest_size=8).digest()
    fingerprint = int.from_bytes(digest, "little")
    return Publication(plan, fields, keys, fingerprint, offset, tuple(retired), members_offset, lists, tuple(refused))


def announce(registry: Registry) -> Announcement:
    """Return what readers are told about a registry."""
    return Announcement(
        registry.offset,
        tuple(
            PublishedModel(
                entry.name,
                entry.version,
                entry.definition.type,
                dict(entry.definition.clusters),
            )
            for entry in registry.scored()
        ),
        dict(registry.live),
        tuple(
            PublishedCampaign(
                campaign.id,
                campaign.terms.model,
                campaign.terms.clusters,
                campaign.terms.from_ms,
                campaign.terms.until_ms,
                campaign.terms.holdout,
                campaign.is_paused,
            )
            for campaign in registry.campaigns.values()
        ),
    )
