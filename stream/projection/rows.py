"""Rows in Redis, whatever their positions: put in fields of lists, take out fields, go through rows.

Law: none of these needs the guard. A list's field, and a field that nobody writes any more, are the same whoever writes
or removes them. A part of a row is cut only if it still stands there as it was read.
"""

from collections.abc import Sequence
from itertools import chain

from hiredis import pack_command

from memberstream.stream.projection.calls import ROWS_PER_CALL, SCANNED_PER_CALL, Calls
from memberstream.stream.wire.cluster import Address, Piece


class Rows:
    """Works on rows. Raises like Calls."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self._keys = calls, calls.keys
        self._list, self._drop = calls.script("row", "list"), calls.script("row", "drop")
        self._cut = calls.script("cut")
        self._size = calls.keys_per_call(ROWS_PER_CALL)

    async def enlist(
        self, field: bytes, rows: Sequence[tuple[bytes, bytes]], over_tombstones: bool = False
    ) -> list[bytes]:
        """Write one list's field of members, (member id, value) each. Returns the members that were refused: deleted
        ones.

        A list has no positions: whoever writes its field writes the same. `over_tombstones`: nobody is refused.
        """
        parts = [rows[start : start + self._size] for start in range(0, len(rows), self._size)]
        prefix = self._keys.member_prefix
        first = (int(over_tombstones), field)
        calls = [self._list.pack([prefix + m for m, _ in part], (*first, *[v for _, v in part])) for part in parts]
        replies = await self._calls.call(calls)
        return [part[i - 1][0] for part, refused in zip(parts, replies, strict=True) for i in refused]

    async def drop(self, member_ids: Sequence[bytes], fields: Sequence[bytes]) -> None:
        """Remove fields from members: those of retired versions, which nobody writes any more."""
        keys, size = [self._keys.member(member_id) for member_id in member_ids], self._size
        await self._calls.call([self._drop.pack(keys[at : at + size], fields) for at in range(0, len(keys), size)])

    async def scan(self, node: Address | None, cursor: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
        """Return some of a node's rows, (member id, row) each, and the cursor to go on from; `0` at the end.

        As with SCAN, rows that are there all the time are found, some of them twice. None: the node has left the
        cluster. Raises NotPermitted: the user lacks `scan` or `mget`.
        """
        if node not in await self._calls.nodes():
            return None
        match = (b"MATCH", self._keys.member_prefix + b"*", b"COUNT", SCANNED_PER_CALL, b"TYPE", b"string")
        [reply] = self._calls.check([await self._calls.at(node, pack_command((b"SCAN", cursor, *match)))])
        cursor, keys = reply
        if self._calls.endpoint.is_cluster:
            rows = await self._calls.call([Piece(key, pack_command((b"GET", key))) for key in keys])
        else:
            parts = [keys[start : start + SCANNED_PER_CALL] for start in range(0, len(keys), SCANNED_PER_CALL)]
            found = await self._calls.call([Piece(part[0], pack_command((b"MGET", *part))) for part in parts])
            rows = list(chain.from_iterable(found))
        start = len(self._keys.member_prefix)
        return cursor, [(key[start:], row) for key, row in zip(keys, rows, strict=True) if row is not None]

    async def cut(self, parts: Sequence[tuple[bytes, bytes]]) -> int:
        """Remove parts of rows, (member id, part as it was read) each. Returns how many were still there.

        A part is what stands before a member's lists, or the lists.
        """
        prefix = self._keys.member_prefix
        calls = [parts[start : start + self._size] for start in range(0, len(parts), self._size)]
        packed = [self._cut.pack([prefix + m for m, _ in call], [part for _, part in call]) for call in calls]
        return sum(await self._calls.call(packed))
