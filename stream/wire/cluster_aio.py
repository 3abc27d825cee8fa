"""A Redis Cluster for asyncio: one connection to each node, pieces sent to the nodes that hold their keys.

Laws:
- If a connection breaks, or the cluster is incomplete, the whole call raises a WireError. Pieces may be repeated.
- The map is read again after a MOVED, after every loss, and when somebody asks for the nodes. Nobody refreshes it in
  the background.
- At most PIPELINE pieces are under way to one node at a time, so that its readers don't wait long.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from .aio import AsyncWire, Link
from .cluster import ASK_SLOTS, Address, Piece, Scatter, SlotMap
from .endpoint import Endpoint
from .once import Once
from .replies import ConnectionLost, ReplyError, WireError

# A guarded write of one member takes the server up to 10 µs: so many stay below 200 µs together.
PIPELINE = 20


class _Node:
    __slots__ = ("turn", "wire")

    def __init__(self, wire: AsyncWire) -> None:
        self.wire = wire
        self.turn = asyncio.Lock()


class AsyncCluster:
    """Connects on first use. `prepare`: like AsyncWire's, for every node."""

    def __init__(
        self, endpoint: Endpoint, client_name: str, timeout_s: float, prepare: tuple[bytes, int] = (b"", 0)
    ) -> None:
        self._endpoint, self._name, self._timeout_s, self._prepare = endpoint, client_name, timeout_s, prepare
        self._nodes: dict[Address, _Node] = {}
        self._slots: SlotMap | None = None
        self._mapping = Once(self._read_map)
        self.connections = 0  # made so far, to all nodes

    async def call(self, pieces: Sequence[Piece]) -> list[list[Any]]:
        """Return the replies to each piece. Raises WireError, or ReplyError if a log-in is refused."""
        try:
            scatter = Scatter(pieces, await self._map())
            while not scatter.is_done:
                await asyncio.gather(*[self._send(scatter, node, parts) for node, parts in scatter.outgoing().items()])
                if scatter.is_moved:
                    self._slots, scatter.is_moved = None, False
        except WireError:
            self._slots = None
            raise
        return scatter.replies()

    async def _send(self, scatter: Scatter, address: Address, parts: Sequence[tuple[int, bytes, int]]) -> None:
        node = self._node(address)
        for start in range(0, len(parts), PIPELINE):
            some = parts[start : start + PIPELINE]
            async with node.turn:
                await self._connected(node)
                replies = await node.wire.call(b"".join([p for _, p, _ in some]), sum([n for _, _, n in some]))
            at = 0
            for i, _, n_replies in some:
                scatter.take(i, replies[at : at + n_replies])
                at += n_replies

    async def _connected(self, node: _Node) -> None:
        if node.wire.link is None:
            await node.wire.connect()
            self.connections += 1

    async def nodes(self) -> list[Address]:
        """Return the nodes that hold keys, as the cluster tells it now. Raises like `call`."""
        self._slots = None
        return (await self._map()).masters

    async def at(self, address: Address | None, payload: bytes, n_replies: int) -> list[Any]:
        """Return the replies of one node of `nodes`. Raises like `call`."""
        assert address is not None  # noqa: S101  (that is one server's; narrows the type)
        node = self._node(address)
        try:
            async with node.turn:
                await self._connected(node)
                return await node.wire.call(payload, n_replies)
        except WireError:
            self._slots = None
            raise

    def links(self) -> list[Link | None]:
        """Return the connections to all nodes."""
        return [node.wire.link for node in self._nodes.values()]

    def _node(self, address: Address) -> _Node:
        if address not in self._nodes:
            wire = AsyncWire(self._endpoint.at(*address), self._name, self._timeout_s, self._prepare)
            self._nodes[address] = _Node(wire)
        return self._nodes[address]

    async def _map(self) -> SlotMap:
        return self._slots or await self._mapping.done()

    async def _read_map(self) -> SlotMap:
        problem: Exception = ConnectionLost("no node of the cluster is known")
        for address in dict.fromkeys([*self._nodes, *self._endpoint.seeds]):
            known = self._nodes.get(address)
            wire = AsyncWire(self._endpoint.at(*address), self._name, self._timeout_s)
            is_open = known is not None and known.wire.link is not None
            if known is not None and is_open:
                wire = known.wire
            try:
                [reply] = await wire.call(ASK_SLOTS, 1)
            except WireError as error:
                problem = error
                continue
            finally:
                if not is_open:
                    await wire.close()
            if isinstance(reply, ReplyError):
                raise reply
            slots = SlotMap(reply, address)
            for gone in self._nodes.keys() - set(slots.masters):
                await self._nodes.pop(gone).wire.close()
            for master in slots.masters:  # to all nodes, so that every connection made later replaces one
                await self._connected(self._node(master))
            self._slots = slots
            return slots
        raise problem

    async def close(self) -> None:
        """Close all connections."""
        self._mapping.cancel()
        for node in self._nodes.values():
            await node.wire.close()
