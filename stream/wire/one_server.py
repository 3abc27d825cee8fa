"""One server, called as a cluster is.

Calls go one at a time (stream/wire/paced.py). Beside a worker at saturation, the p99 of look-ups on Valkey's core was
1,470 µs with whole batches sent at once, 375 µs with two calls under way, 290 µs with one, 105 µs when idle; the
worker's events/s and CPU stayed what they were (`python -m bench.latency`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from .aio import AsyncWire
from .cluster import Address, Piece
from .paced import Paced


class OneServer:
    """The same methods as AsyncCluster, and `drop`. `round_trip_s`: tells how far away it is."""

    def __init__(self, wire: AsyncWire, round_trip_s: Callable[[], float]) -> None:
        self._wire = wire
        self._paced = Paced(wire, round_trip_s)

    async def call(self, pieces: Sequence[Piece]) -> list[list[Any]]:
        """The replies of each piece. Raises as AsyncWire.call."""
        if all(n_replies == 1 for _, _, n_replies in pieces):
            return [[reply] for reply in await self._paced.call([payload for _, payload, _ in pieces])]
        return [await self._wire.call(payload, n_replies) for _, payload, n_replies in pieces]

    async def nodes(self) -> list[Address | None]:
        """Of the cluster: itself."""
        return [None]

    async def at(self, _: Address | None, payload: bytes, n_replies: int) -> list[Any]:
        """One call beside those that take turns."""
        return await self._wire.call(payload, n_replies)

    @property
    def connections(self) -> int:
        """Made so far."""
        return self._wire.connections

    def drop(self) -> None:
        """Gives the connection up; the next call connects anew."""
        self._wire.drop()

    async def close(self) -> None:
        """Drops the connection."""
        await self._wire.close()
