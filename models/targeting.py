"""Do campaigns and models fit? Which clusters does a campaign name that the live version doesn't have?

A campaign goes by cluster ids, whatever the version. So a new version keeps the ids' meaning, or campaigns are changed
with it.
"""

from __future__ import annotations

from collections.abc import Collection

from memberstream.models.model import label
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms


def clusters_of(registry: Registry, name: str, version: int | None) -> dict[int, str]:
    """Return cluster id → name of a published version; empty without one."""
    entry = None if version is None else registry.versions.get(label(name, version))
    return {} if entry is None else dict(entry.definition.clusters)


def misfit(registry: Registry, campaign_id: str, terms: Terms) -> str:
    """Return why nobody can now be in some or all of a campaign's clusters; "" if campaign and model fit."""
    live = registry.live.get(terms.model)
    if live is None:
        known = ", ".join(registry.live) or "none yet"
        return (
            f"{campaign_id}: {terms.model} has no live version; models that have one: {known}. "
            "Next: memberstream model promote"
        )
    clusters = clusters_of(registry, terms.model, live)
    missing = [str(cluster) for cluster in terms.clusters if cluster not in clusters]
    if not missing:
        return ""
    return (
        f"{campaign_id}: {label(terms.model, live)} has no cluster {', '.join(missing)}; it has {listed(clusters)}. "
        "Next: memberstream campaign set with some of these"
    )


def listed(clusters: dict[int, str]) -> str:
    """Return clusters as text for a message."""
    return ", ".join(f"{cluster} {name}" for cluster, name in clusters.items())


def stranded(registry: Registry, name: str, version: int) -> list[str]:
    """Return the campaigns that would lose clusters: the live version of a model has them, another version hasn't."""
    return stranded_by(registry, name, clusters_of(registry, name, version))


def stranded_by(registry: Registry, name: str, clusters: Collection[int]) -> list[str]:
    """The same of a version that isn't published yet, by its clusters' ids."""
    lost = clusters_of(registry, name, registry.live.get(name)).keys() - set(clusters)
    return sorted(
        campaign.id
        for campaign in registry.campaigns.values()
        if campaign.terms.model == name and not lost.isdisjoint(campaign.terms.clusters)
    )
