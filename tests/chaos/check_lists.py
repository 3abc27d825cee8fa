"""Uploaded lists, compared: what Redis says of each member against the rows that lie in the lists' topic.

Laws (docs/lists.md): a list's rows are what its topic holds, whole, and nobody else is on it; who is deleted leaves all
lists; who never was is still on those that named him. Call it when all is applied and nothing is being sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chaos.check import fail_with, last_values, read_whole, replay
from e2e.system import System
from keys import KEYS

from memberstream.models.list_version import parse_list
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.keyspace.formats import parse_membership, parse_row
from memberstream.stream.lists.rows import SEPARATOR

#: label of a list → member → cluster
Lists = Mapping[str, Mapping[bytes, int]]


async def check_lists(system: System, uploaded: Lists) -> int:
    """Compare the lists that aren't retired; returns how many rows there are. `uploaded`: as it was given."""
    registry = await Publishing(system.settings, "").registry()
    entries = [entry.definition.body for entry in registry.scored() if entry.definition.is_list]
    listed = {one.label: one.prefix for one in map(parse_list, entries)}
    rows = last_values(await read_whole(system, system.settings.lists_topic))
    told: dict[str, dict[bytes, int]] = {
        name: {key[len(prefix) + 1 :]: int(v) for (_, key), v in rows.items() if key.startswith(prefix + SEPARATOR)}
        for name, prefix in listed.items()
    }
    records = await read_whole(system, system.settings.topic)
    truths, _, _ = replay(records)
    deleted = {record.key for record in records if record.value is None or b'"delete"' in record.value}
    problems = [
        *_wrong_rows(told, uploaded, {key for key, truth in truths.items() if truth.document is None}, deleted),
        *_wrong_in_redis(told, _held(system)),
    ]
    n = sum(map(len, told.values()))
    fail_with(problems, f"{n} rows of {len(told)} lists")
    return n


def _held(system: System) -> dict[str, dict[bytes, int]]:
    """Return label → member → cluster of the parts of rows that are of lists."""
    held: dict[str, dict[bytes, int]] = {}
    keys: list[Any] = list(system.redis.scan_iter(KEYS.member_prefix + b"*", count=5_000))
    for key, row in zip(keys, system.redis.mget(keys) if keys else [], strict=True):
        behind = (row or b"").partition(b"||")[2]
        for field, value in parse_row(b"|" + behind).items() if behind else ():
            held.setdefault(field.decode(), {})[key.removeprefix(KEYS.member_prefix)] = parse_membership(value)[0]
    return held


def _wrong_rows(told: Lists, uploaded: Lists, gone: set[bytes], deleted: set[bytes]) -> Iterator[str]:
    if told.keys() != uploaded.keys():
        yield f"lists {sorted(told)} are published, {sorted(uploaded)} were uploaded"
    for name, rows in told.items():
        for member, cluster in rows.items():
            if member in gone:
                yield f"{name}: {member!r} was deleted and is on it"
            if uploaded.get(name, {}).get(member) != cluster:
                yield f"{name}: {member!r} is in {cluster}, was uploaded in {uploaded.get(name, {}).get(member)}"
        for member in uploaded.get(name, {}).keys() - rows.keys() - deleted:
            yield f"{name}: {member!r} was never deleted and isn't on it"


def _wrong_in_redis(told: Lists, held: Lists) -> Iterator[str]:
    for name in sorted(told.keys() | held.keys()):
        rows, found = told.get(name, {}), held.get(name, {})
        for member in sorted(rows.keys() | found.keys()):
            if rows.get(member) != found.get(member):
                yield f"Redis: {member!r} on {name}: {found.get(member)}, the topic says {rows.get(member)}"
