"""A model is tried on members' documents before it is published: does it read what they have, and what does it cost?"""

from __future__ import annotations

import asyncio

from memberstream.models.coverage import unseen_paths
from memberstream.models.model import Model
from memberstream.models.problems import some_of
from memberstream.stream.authoring.affordable import cost_on, described, too_expensive
from memberstream.stream.authoring.state_reader import sample_documents
from memberstream.stream.authoring.steps import refuse_if
from memberstream.stream.kafka.topic_reader import TopicUnreadable
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings

#: How many members' documents are searched for a model's paths and used to measure its cost; and their bytes at most.
#: A model with a rarer path may be forced.
SAMPLE, SAMPLE_BYTES = 20_000, 256 << 20


async def try_on_members(settings: Settings, model: Model) -> str:
    """Return what a model costs on members' documents, in words; "" if there are no documents yet.

    Raises:
        PublishError: the model has paths that no member has, or costs too much.
    """
    try:
        documents, n_members = await sample_documents(settings.kafka, settings.changelog_topic, SAMPLE, SAMPLE_BYTES)
    except TopicUnreadable:
        return ""  # no worker has run yet: there is nothing to compare with
    if not documents:
        return ""
    if unseen := unseen_paths(model, documents):
        raise PublishError(
            f"{model.label} reads what no member's document has: {some_of(unseen)}. "
            "Next: correct these paths, or --force if such documents are still to come"
        )
    cost = await asyncio.to_thread(cost_on, model, documents)
    refuse_if(too_expensive(model, cost, n_members))
    return described(cost, n_members)
