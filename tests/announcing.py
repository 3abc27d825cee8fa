"""What readers are told of models and campaigns, for tests without a models' log."""

from __future__ import annotations

from collections.abc import Sequence

from memberstream.stream.keyspace.formats import Announcement, PublishedCampaign, PublishedModel


def announcing(
    models: Sequence[PublishedModel], offset: int = 0, campaigns: Sequence[PublishedCampaign] = ()
) -> Announcement:
    """Return the announcement of these models, of each name the highest version live, and of campaigns."""
    live: dict[str, int] = {}
    for model in models:
        live[model.name] = max(model.version, live.get(model.name, 0))
    return Announcement(offset, tuple(models), live, tuple(campaigns))
