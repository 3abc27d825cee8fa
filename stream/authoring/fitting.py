"""Does a model read what members' documents have? The rule by which it is refused, and the sample it is judged on.

The rule, which the author is told: at each place that the model reads some document has something. And at no place more
than MAX_MISFITS of the values are of the wrong type or times that can't be meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memberstream.models.coverage import MAX_MISFITS, Coverage, unseen_paths
from memberstream.models.problems import some_of
from memberstream.models.wording import counted
from memberstream.stream.authoring.state_reader import sample_documents
from memberstream.stream.kafka.topic_reader import TopicUnreadable
from memberstream.stream.settings import Settings

#: How many members' documents are searched for a model's paths and used to measure its cost; and their bytes at most.
#: A model with a rarer path may be forced.
SAMPLE, SAMPLE_BYTES = 20_000, 256 << 20
_SHOWN = 5  # places in a message


async def members_documents(settings: Settings) -> tuple[list[dict[str, Any]], int]:
    """Return documents of members, and about how many members there are. None, if no worker has run yet."""
    try:
        return await sample_documents(settings.kafka, settings.changelog_topic, SAMPLE, SAMPLE_BYTES)
    except TopicUnreadable:
        return [], 0


def unseen(label: str, found: Sequence[Coverage]) -> str:
    """Return why a model can't be right that reads what nobody has, with what to do; "" if it doesn't."""
    if not (paths := unseen_paths(found)):
        return ""
    return (
        f"{label} reads what no member's document has: {some_of(paths)}. "
        "Next: correct these paths, or --force if such documents are still to come"
    )


def misfitting(label: str, found: Sequence[Coverage]) -> str:
    """Return why a model shouldn't read values that don't fit, with what to do; "" if there are few."""
    often = list({one.place: one for one in found if one.misfits_often}.values())
    if not often:
        return ""
    listed = [f"{one.predictor}: {one.told}; {one.remedy}" for one in often[:_SHOWN]]
    more = f"\n  and {counted(len(often) - _SHOWN, 'more place')}" if len(often) > _SHOWN else ""
    return (
        f"{label} reads values that don't fit, at more than {MAX_MISFITS:.0%} of the documents that have any:\n  "
        + "\n  ".join(listed)
        + f"{more}\nNext: correct the model file, or the producer; or --force"
    )
