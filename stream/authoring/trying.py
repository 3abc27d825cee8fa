"""A model is tried on members' documents before it is published: does it read what they have, and what does it cost?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from memberstream.models.coverage import Coverage, coverage
from memberstream.models.model import Model
from memberstream.stream.authoring.affordable import cost_on, described, too_expensive
from memberstream.stream.authoring.fitting import members_documents, misfitting, unseen
from memberstream.stream.authoring.steps import refuse_if
from memberstream.stream.settings import Settings


class Tried(NamedTuple):
    """What a model costs on members' documents, in words, and what they hold at the places that it reads; "" and
    nothing if there are no documents yet."""

    cost: str = ""
    coverage: Sequence[Coverage] = ()


async def try_on_members(settings: Settings, model: Model) -> Tried:
    """Return what comes of it.

    Raises:
        PublishError: the model has paths that no member has, or reads values that often don't fit, or costs too much.
    """
    documents, n_members = await members_documents(settings)
    if not documents:
        return Tried()
    found = await asyncio.to_thread(coverage, model.predictors, documents)
    refuse_if(unseen(model.label, found))
    refuse_if(misfitting(model.label, found))
    cost = await asyncio.to_thread(cost_on, model, documents)
    refuse_if(too_expensive(model, cost, n_members))
    return Tried(described(cost, n_members), found)


async def members_coverage(settings: Settings, model: Model) -> list[Coverage]:
    """Return what members' documents hold at the places that a model reads; nothing if there are none yet."""
    documents, _ = await members_documents(settings)
    return await asyncio.to_thread(coverage, model.predictors, documents) if documents else []
