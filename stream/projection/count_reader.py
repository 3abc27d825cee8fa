"""Counts of interactions read from Redis, for the readout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, cast

from hiredis import pack_command

from memberstream.models.counts import AnyCell, AnyTally, Cell, Changes, Tally, add, cell_of, tally_of
from memberstream.models.old_counts import OldCell, OldTally, old_cell_of, old_tally_of
from memberstream.models.wording import counted
from memberstream.stream.keyspace.formats import PARTITIONS
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.wire.cluster import Piece
from memberstream.stream.wire.cluster_sync import SyncCluster
from memberstream.stream.wire.endpoint import Endpoint, parse_url
from memberstream.stream.wire.replies import ReplyError, WireError, explain
from memberstream.stream.wire.sync import SyncWire

_NAME = "memberstream-counts"
_TIMEOUT_S = 5.0  # as of the writers (stream/projection/calls.py)
# Fields in one call: so few that a look-up behind it doesn't wait (stream/projection/calls.py).
FIELDS_PER_CALL = 500


class CountsUnavailable(OSError):
    """Redis can't be reached, or lacks counts. The text ends with the next action."""


def read(url: str, keys: Keys, campaigns: Sequence[str]) -> dict[Cell, Tally]:
    """Return the counts of campaigns, added up over all partitions. A campaign without counts has no cells.

    Raises:
        CountsUnavailable: Redis is away; no worker has ever counted; counts are being written again just now; or a
            value isn't one that a worker writes.
    """
    return cast(dict[Cell, Tally], _read(url, keys, campaigns, keys.cells, cell_of, tally_of))


def read_old(url: str, keys: Keys, campaigns: Sequence[str]) -> dict[OldCell, OldTally]:
    """Return what was counted by the rules before (models/old_counts.py). Raises CountsUnavailable, like `read`."""
    return cast(dict[OldCell, OldTally], _read(url, keys, campaigns, keys.counts, old_cell_of, old_tally_of))


def _read(
    url: str,
    keys: Keys,
    campaigns: Sequence[str],
    key_of: Callable[[str], bytes],
    to_cell: Callable[[str, str], AnyCell],
    to_tally: Callable[[str], AnyTally],
) -> Changes:
    endpoint = parse_url(url)
    try:
        counts: Changes = {}
        for campaign, fields in _fields(endpoint, keys.counted, campaigns, key_of).items():
            for field, value in fields.items():
                _, space, text = field.decode().partition(" ")
                if space:  # a field without a space is the term of the partition's owner
                    add(counts, to_cell(campaign, text), to_tally(value.decode()))
        return {cell: tally for cell, tally in counts.items() if any(tally)}
    except ValueError as error:
        raise CountsUnavailable(
            f"Redis holds what isn't a count ({error}). Next: remove the keys {keys.cells('*').decode()}, "
            f"{keys.counts('*').decode()} and {keys.counted.decode()}, and restart `memberstream interactions worker`, "
            "which writes them again"
        ) from None


def _fields(
    endpoint: Endpoint, counted_key: bytes, campaigns: Sequence[str], key_of: Callable[[str], bytes]
) -> dict[str, dict[bytes, bytes]]:
    """Return campaign → the hash at its key."""
    try:
        with closing(_Connection(endpoint)) as connection:
            _check_whole(connection.fields(counted_key))
            found = {campaign: connection.fields(key_of(campaign)) for campaign in campaigns}
            _check_whole(connection.fields(counted_key))  # once more: Redis may have been emptied in between
    except (WireError, ReplyError) as error:
        raise CountsUnavailable(explain(error, endpoint)) from error
    return found


class _Connection:
    """To one server or a cluster. Raises WireError, ReplyError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._cluster = SyncCluster(endpoint, _NAME, _TIMEOUT_S) if endpoint.is_cluster else None
        self._wire = None if self._cluster else SyncWire(endpoint, _NAME, _TIMEOUT_S)

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """Return a hash, read in parts: read as a whole, other readers might wait too long."""
        found: dict[bytes, bytes] = {}
        cursor = b"0"
        while True:
            cursor, flat = self._ask(Piece(key, pack_command((b"HSCAN", key, cursor, b"COUNT", FIELDS_PER_CALL))))
            found |= zip(flat[::2], flat[1::2], strict=True)
            if cursor == b"0":
                return found

    def _ask(self, piece: Piece) -> Any:
        if self._cluster is not None:
            [[reply]] = self._cluster.call([piece])
        else:
            assert self._wire is not None  # noqa: S101  (one of the two is there; narrows the type)
            [reply] = self._wire.call(piece.payload, 1)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        for connection in (self._cluster, self._wire):
            if connection is not None:
                connection.close()


def _check_whole(told: dict[bytes, bytes]) -> None:
    n_partitions = int(told.pop(PARTITIONS, b"0"))
    missing = sorted(set(range(n_partitions)) - set(map(int, told)))
    if not n_partitions:
        raise CountsUnavailable(
            "Redis holds no counts of interactions. Next: see whether `memberstream interactions worker` runs "
            "(docs/interactions.md); after a loss of Redis it writes them again within seconds"
        )
    if missing:
        raise CountsUnavailable(
            f"Redis lacks the counts of {len(missing)} of {counted(n_partitions, 'partition')}. Next: try again in "
            "some seconds; if it lasts, see whether all `memberstream interactions worker` run"
        )
