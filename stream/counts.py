"""Counts of interactions read from Redis: what the readout is made of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from hiredis import pack_command

from models.counts import Cell, Tally, cell_of, plus, tally_of
from stream import keyspace
from stream.wire import Endpoint, Piece, ReplyError, SyncCluster, SyncWire, WireError, explain, parse_url

_NAME = "memberstream-counts"
# Of one call: what a look-up behind it doesn't feel (stream/projection.py).
FIELDS_PER_CALL = 500


class CountsUnavailable(OSError):
    """Redis can't be reached, or lacks counts. The text ends with the next action."""


def read(url: str, campaigns: Sequence[str], *, timeout_s: float = 5.0) -> dict[Cell, Tally]:
    """Return the counts of campaigns, those of all partitions added up; of one without any there are no cells.

    Raises:
        CountsUnavailable: Redis is away, no worker has ever counted, counts are just being written there again, or they
            are nothing that a worker has written.
    """
    endpoint = parse_url(url)
    try:
        return _read(endpoint, campaigns, timeout_s)
    except ValueError as error:
        raise CountsUnavailable(
            f"Redis holds what isn't a count ({error}). Next: remove the keys ms:counts:* and ms:{{meta}}:counted, and "
            "restart `memberstream interactions worker`, which writes them again"
        ) from None


def _read(endpoint: Endpoint, campaigns: Sequence[str], timeout_s: float) -> dict[Cell, Tally]:
    try:
        with closing(_Connection(endpoint, timeout_s)) as connection:
            _check_whole(connection.fields(keyspace.COUNTED))
            found = {campaign: connection.fields(keyspace.counts_key(campaign)) for campaign in campaigns}
            _check_whole(connection.fields(keyspace.COUNTED))  # again: Redis may have been emptied in between
    except (WireError, ReplyError) as error:
        raise CountsUnavailable(explain(error, endpoint)) from error
    counts: dict[Cell, Tally] = {}
    for campaign, fields in found.items():
        for field, value in fields.items():
            _, space, text = field.decode().partition(" ")
            if space:  # without one it says who has written the partition's
                cell = cell_of(campaign, text)
                counts[cell] = plus(counts.get(cell, Tally()), tally_of(value.decode()))
    return counts


class _Connection:
    """To one server or a cluster. Raises WireError, ReplyError."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._cluster = SyncCluster(endpoint, _NAME, timeout_s) if endpoint.is_cluster else None
        self._wire = None if self._cluster else SyncWire(endpoint, _NAME, timeout_s)

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """Return a hash, asked for in parts: as a whole it could take longer than other readers should wait."""
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
    n_partitions = int(told.pop(keyspace.PARTITIONS, b"0"))
    missing = sorted(set(range(n_partitions)) - set(map(int, told)))
    if not n_partitions:
        raise CountsUnavailable(
            "Redis holds no counts of interactions. Next: see whether `memberstream interactions worker` runs "
            "(docs/interactions.md); after a loss of Redis it writes them again within seconds"
        )
    if missing:
        raise CountsUnavailable(
            f"Redis lacks the counts of {len(missing)} of {n_partitions} partitions. Next: try again in some seconds; "
            "if it lasts, see whether all `memberstream interactions worker` run"
        )
