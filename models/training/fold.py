"""One member's change events → the member's documents as of several times.

Law: the document as of T is what a worker holds that has consumed exactly the events that count at T, in the order of
the topic. An event is late if an event before it in the topic has a later time. A late event counts from its own time
on, in its own place. So versions, creations and deletes meet in the topic's order, as on the stream.

Documents share what they have in common (models/document.py), so one document for each as-of time costs little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from memberstream.models.apply import apply_one
from memberstream.models.event import BadEvent, ChangeEvent
from memberstream.models.member import Member


class Happened(NamedTuple):
    """A change event in its place.

    Attributes:
        counts_from_ms: the first as-of time at which it is known.
        position: grows along the topic. Of two events with the same position only the first counts.
        size_bytes: of its record.
        number: its number in the history, to tell what became of it.
    """

    counts_from_ms: int
    position: int
    event: ChangeEvent
    size_bytes: int
    number: int


def documents_at(
    events: Sequence[Happened], times_ms: Sequence[int], refused: dict[int, BadEvent]
) -> Iterator[dict[str, Any] | None]:
    """Yield the document as of each of the ascending times. None: the stream doesn't know the member then.

    Args:
        events: of one member, by ascending position.
        refused: gets, by number, the events that can't be applied, as of the last time at which they count.
    """
    by_time = sorted(range(len(events)), key=lambda i: events[i].counts_from_ms)
    member, n_known, last = Member(), 0, -1
    for at_ms in times_ms:
        n_before = n_known
        while n_known < len(by_time) and events[by_time[n_known]].counts_from_ms <= at_ms:
            n_known += 1
        new = sorted(by_time[n_before:n_known])
        if new and new[0] < last:  # a late event: those behind it in the topic must be applied after it
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
