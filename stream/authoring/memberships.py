"""Who is in which cluster under any version, over all members. `model compare` and the guards of `promote` go by this.

Laws:
- A computed version's memberships are those of the members' states (the changelog). A list's are its rows (the lists'
  topic). Redis isn't asked.
- A member without a membership under a version has None there: it isn't on the list, or it has no document.
- Memory holds one partition at a time. If a list is compared with a computed version, it holds the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import islice

from memberstream.models.list_version import ListVersion, parse_list
from memberstream.models.model import key_of
from memberstream.models.registry import Version
from memberstream.stream.authoring.state_reader import all_members
from memberstream.stream.lists import rows as list_rows
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, unwatched

_SLICE = 10_000

Pair = tuple[bytes, int | None, int | None]  # member id, its cluster under the first and the second version


async def memberships(
    settings: Settings, entry: Version, progress: Meter = unwatched
) -> AsyncIterator[list[tuple[bytes, int]]]:
    """Yield (member id, cluster) of all members that have a cluster under a version, some thousands at a time.

    Args:
        progress: called with (records read, records in all).

    Raises:
        StateUnreadable, ListRowsError: the topic can't be read; the text says what to do.
    """
    if entry.definition.is_list:
        listed = parse_list(entry.definition.body)
        for partition in range(len(listed.first)):
            rows = await _rows(settings, listed, partition)
            progress(sum(listed.end[: partition + 1]), sum(listed.end))
            found = iter(rows.items())
            while part := list(islice(found, _SLICE)):
                yield part
        return
    key = key_of(entry.label)
    async for members in all_members(settings.kafka, settings.changelog_topic, progress):
        yield [(member_id, m.memberships[key][0]) for member_id, m in members if key in m.memberships]


async def sizes(settings: Settings, entry: Version) -> dict[int, int]:
    """Return cluster id → members, as the workers have scored them or as the list's rows say. Raises like the above."""
    counts: Counter[int] = Counter()
    async for part in memberships(settings, entry):
        counts.update([cluster for _, cluster in part])
    return {cluster: counts[cluster] for cluster in entry.definition.clusters}


async def pairs(
    settings: Settings, first: Version, second: Version, progress: Meter = unwatched
) -> AsyncIterator[list[Pair]]:
    """Yield each member that has a cluster under one of two versions, with its clusters. Raises like `memberships`."""
    lists = [entry.definition.is_list for entry in (first, second)]
    if all(lists):
        async for part in _both_lists(settings, parse_list(first.definition.body), parse_list(second.definition.body)):
            yield part
    elif any(lists):
        listed, computed = (first, second) if lists[0] else (second, first)
        rows = {member_id: cluster async for part in memberships(settings, listed) for member_id, cluster in part}
        async for held in memberships(settings, computed, progress):
            yield [_ordered(lists[0], member_id, rows.pop(member_id, None), cluster) for member_id, cluster in held]
        yield [_ordered(lists[0], member_id, cluster, None) for member_id, cluster in rows.items()]
    else:
        old, new = (key_of(entry.label) for entry in (first, second))
        async for members in all_members(settings.kafka, settings.changelog_topic, progress):
            found = [(member_id, m.memberships.get(old), m.memberships.get(new)) for member_id, m in members]
            yield [(i, a and a[0], b and b[0]) for i, a, b in found if a is not None or b is not None]


async def _both_lists(settings: Settings, first: ListVersion, second: ListVersion) -> AsyncIterator[list[Pair]]:
    for partition in range(len(first.first)):
        a, b = [await _rows(settings, listed, partition) for listed in (first, second)]
        yield [(member_id, a.get(member_id), b.get(member_id)) for member_id in a.keys() | b.keys()]


def _ordered(is_listed_first: bool, member_id: bytes, listed: int | None, computed: int | None) -> Pair:
    return (member_id, listed, computed) if is_listed_first else (member_id, computed, listed)


async def _rows(settings: Settings, listed: ListVersion, partition: int) -> dict[bytes, int]:
    """Return one partition's rows of a list: member id → cluster."""
    rows: dict[bytes, int] = {}
    if not listed.has_rows_in(partition):
        return rows
    topic = settings.kafka, settings.lists_topic, listed.topic_id
    chunks = list_rows.read(*topic, partition, listed.first[partition], listed.end[partition])
    async with aclosing(chunks):
        async for chunk in chunks:
            for member_id, cluster in chunk.rows_of(listed.prefix).items():
                if cluster is None:
                    rows.pop(member_id, None)
                else:
                    rows[member_id] = int(cluster)
    return rows
