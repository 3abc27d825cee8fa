"""Members' rows into Redis, guarded by position.

Laws:
- What Redis holds of a member never goes back to a lower (epoch, offset, as_of). The comparison is made inside Redis
  (stream/lua/write.lua, forget.lua). So it holds among any number of workers, even those that wake up late.
- Writing the same again changes nothing. So if it isn't known whether a write arrived, it is repeated.
- Each call is a script over a bounded number of members (calls.py).
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain
from typing import NamedTuple

from memberstream.models.position import split_position
from memberstream.models.wording import counted
from memberstream.stream.keyspace import formats as keyspace
from memberstream.stream.keyspace.formats import Position
from memberstream.stream.projection.calls import DELETIONS_PER_CALL, MEMBERS_PER_CALL, Calls
from memberstream.stream.wire.cluster import Piece


class PartitionMismatch(Exception):
    """Members in Redis were last written from another partition of the topic, whose offsets can't be compared.

    Those rows stay as they are, all others are written. Either producers don't agree on a partitioner, or the topic's
    partition count changed, or two installations share these keys (docs/operations.md).

    Attributes:
        refused: writes that came too late.
        foreign: members of another partition.
    """

    def __init__(self, text: str, refused: int, foreign: int) -> None:
        super().__init__(text)
        self.refused, self.foreign = refused, foreign


class Update(NamedTuple):
    """A member's memberships at a position (models/position.py). Times in ms.

    `fields`: of the member's row, one for each membership. `memberships`: (cluster, since_ms) of each. `past`: what was
    before, of some fields, the latest first.
    """

    member_id: bytes
    position: int
    as_of_ms: int
    valid_until_ms: int | None
    fields: tuple[bytes, ...]
    memberships: Sequence[tuple[int, int]]
    past: Sequence[tuple[bytes, Sequence[tuple[int, int]]]] = ()


class Deletion(NamedTuple):
    """A deleted member, at a position.

    `only_if_held`: the delete may be old. A member that Redis doesn't hold by a document gets no tombstone.
    """

    member_id: bytes
    position: int
    as_of_ms: int
    only_if_held: bool = False


class Release(NamedTuple):
    """A member that doesn't belong to a partition: a row that this partition wrote is removed, without a tombstone."""

    member_id: bytes


Write = Update | Deletion | Release


class Members:
    """Writes the rows of one partition's members. Raises like Calls.

    Attributes:
        per_call: members in one call.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls, self._keys = calls, calls.keys
        self.per_call = calls.keys_per_call(MEMBERS_PER_CALL)
        self._deletions_per_call = calls.keys_per_call(DELETIONS_PER_CALL)
        self._write, self._forget = calls.script("guard", "write"), calls.script("guard", "forget")
        self._release = calls.script("release")

    async def write(self, partition: int, updates: Sequence[Write]) -> int:
        """Write what is new in one partition. Returns how many writes the guard refused as too old.

        Raises PartitionMismatch if a member was last written from another partition. The others are written.
        """
        calls = [
            *self._pack_updates(partition, updates),
            *self._pack_deletions(partition, updates),
            *self._pack_releases(partition, updates),
        ]
        refused = foreign = 0
        first = b""
        for counts in await self._calls.call(calls):
            refused += counts[0]
            foreign += counts[1]
            first = first or b"".join(counts[2:])
        if foreign:
            which = _described(first.removeprefix(self._keys.member_prefix), updates)
            raise PartitionMismatch(
                f"{foreign:,} of {counted(len(updates), 'member')} of partition {partition} "
                f"{'was' if foreign == 1 else 'were'} last written from another partition to Redis at "
                f"{self._calls.endpoint}: these rows stay as they are. {which}. "
                "Next: `memberstream members misplaced` shows "
                "whether they lie in two partitions; if the topic's partitions were changed, follow "
                'docs/operations.md, "A topic re-created or re-partitioned"; if two installations share these keys, '
                "give each a MEMBERSTREAM_REDIS_PREFIX of its own.",
                refused,
                foreign,
            )
        return refused

    def _pack_updates(self, partition: int, updates: Sequence[Write]) -> Iterator[Piece]:
        size = self.per_call
        fields: tuple[bytes, ...] | None = None
        row_format, prefix, flat = b"", self._keys.member_prefix, chain.from_iterable
        keys: list[bytes] = []
        rows: list[bytes] = []
        for update in updates:
            if type(update) is not Update:
                continue
            member_id, position, as_of_ms, valid_until_ms, its_fields, memberships, past = update
            if its_fields is not fields:
                fields, row_format = its_fields, keyspace.row_format(its_fields)
            epoch, offset = split_position(position)
            until = b"" if valid_until_ms is None else b"%d" % valid_until_ms
            keys.append(prefix + member_id)
            row = row_format % (epoch, partition, offset, as_of_ms, until, *flat(memberships))
            rows.append(row + keyspace.format_past(past) if past else row)
            if len(keys) == size:
                yield self._write.pack(keys, rows)
                keys, rows = [], []
        if keys:
            yield self._write.pack(keys, rows)

    def _pack_deletions(self, partition: int, updates: Sequence[Write]) -> Iterator[Piece]:
        gone = [update for update in updates if isinstance(update, Deletion)]
        size = self._deletions_per_call
        kinds = [[d for d in gone if d.only_if_held is only] for only in (False, True)]
        for part in [kind[start : start + size] for kind in kinds for start in range(0, len(kind), size)]:
            keys = [self._keys.member(deletion.member_id) for deletion in part]
            positions = [
                keyspace.format_tombstone(Position(epoch, partition, offset, deletion.as_of_ms, None))
                for deletion in part
                for epoch, offset in [split_position(deletion.position)]
            ]
            yield self._forget.pack(keys, (keyspace.TOMBSTONE_TTL_S, int(part[0].only_if_held), *positions))

    def _pack_releases(self, partition: int, updates: Sequence[Write]) -> Iterator[Piece]:
        keys = [self._keys.member(update.member_id) for update in updates if isinstance(update, Release)]
        size = self._deletions_per_call
        for start in range(0, len(keys), size):
            yield self._release.pack(keys[start : start + size], (partition,))


def _described(first: bytes, updates: Sequence[Write]) -> str:
    """Name one of the members, by its id's digest, with both offsets. `first`: its id, a space and `pos` in Redis."""
    member_id, _, pos = first.rpartition(b" ")
    try:
        there = keyspace.parse_position(pos)
    except keyspace.KeyspaceError:
        return "The first of them has a position that no worker has written"
    written = [one for one in updates if not isinstance(one, Release)]
    here = next(split_position(one.position)[1] for one in written if one.member_id == member_id)
    return (
        f"The first of them, whose id has the SHA-256 {sha256(member_id).hexdigest()[:16]}…, is at partition "
        f"{there.partition}, offset {there.offset} there, and at offset {here} here"
    )
