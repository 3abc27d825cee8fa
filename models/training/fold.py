"""One member's change events → the member's documents as of several times.

Law: the document as of T is what a worker holds that has consumed, in the order of the topic, exactly the events that
count at T, and no other. So a late event (its time before that of an event that stands earlier in the topic) counts
from its own time on, in its own place: versions, creations and deletes meet in the topic's order, as on the stream.

Documents share what they have in common (models/document.py), so one for each as-of time costs little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from models.apply import apply_one
from models.event import BadEvent, ChangeEvent
from models.member import Member


class Happened(NamedTuple):
    """A change event in its place.

    Attributes:
        counts_from_ms: the first as-of time at which it is known.
        position: grows along the topic; of two events with the same one only the first counts.
        size_bytes: of its record.
        number: in the history, for who asks what became of it.
    """

    counts_from_ms: int
    position: int
    event: ChangeEvent
    size_bytes: int
    number: int


def documents_at(
    events: Sequence[Happened], times_ms: Sequence[int], refused: dict[int, BadEvent]
) -> Iterator[dict[str, Any] | None]:
    """Yield the document as of each of the ascending times; None: the stream doesn't know the member then.

    Args:
        events: of one member, by ascending position.
        refused: gets the events that can't be applied as of the last time that they count at, by their number.
    """
    by_time = sorted(range(len(events)), key=lambda i: events[i].counts_from_ms)
    member, n_known, last = Member(), 0, -1
    for at_ms in times_ms:
        n_before = n_known
        while n_known < len(by_time) and events[by_time[n_known]].counts_from_ms <= at_ms:
            n_known += 1
        new = sorted(by_time[n_before:n_known])
        if new and new[0] < last:  # a late one: what stands behind it in the topic has to meet it there
            member, new = Member(), sorted(by_time[:n_known])
        for i in new:
            happened = events[i]
            try:
                apply_one(member, happened.position, happened.event, happened.size_bytes)
                refused.pop(happened.number, None)  # without a late one it couldn't be
            except BadEvent as error:
                refused[happened.number] = error
        last = new[-1] if new else last
        yield member.document
