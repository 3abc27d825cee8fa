"""A Redis Cluster for blocking clients: idle connections by node, pieces sent to all nodes before any reply is read."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from .cluster import ASK_SLOTS, Address, Piece, Scatter, SlotMap
from .endpoint import Endpoint
from .replies import ConnectionLost, ReplyError, WireError
from .sync import SyncWire


class SyncCluster:
    """May be shared by threads: each call takes idle connections or makes some.

    Attributes:
        connections: made so far, to all nodes.
    """

    def __init__(self, endpoint: Endpoint, client_name: str, timeout_s: float) -> None:
        self._endpoint, self._name, self._timeout_s = endpoint, client_name, timeout_s
        self._idle: defaultdict[Address, list[SyncWire]] = defaultdict(list)
        self._slots: SlotMap | None = None
        self.connections = 0

    def call(self, pieces: Sequence[Piece]) -> list[list[Any]]:
        """Return the replies to each piece. Raises WireError, or ReplyError if a log-in is refused.

        If a connection breaks, everything is repeated once: repeating a piece must do no harm.
        """
        try:
            return self._exchange(pieces)
        except ConnectionLost:  # idle connections die; nodes fail over
            self.close()
            return self._exchange(pieces)

    def _exchange(self, pieces: Sequence[Piece]) -> list[list[Any]]:
        slots = self._slots = self._slots or self._connect_all()
        scatter = Scatter(pieces, slots)
        while not scatter.is_done:
            outgoing = scatter.outgoing()
            wires: dict[Address, SyncWire] = {}
            try:
                for address, parts in outgoing.items():
                    wires[address] = wire = self._take(address)
                    wire.send(b"".join([payload for _, payload, _ in parts]))
                for address, parts in outgoing.items():
                    replies = wires[address].receive(sum([n for _, _, n in parts]))
                    at = 0
                    for i, _, n_replies in parts:
                        scatter.take(i, replies[at : at + n_replies])
                        at += n_replies
            except BaseException:  # KeyboardInterrupt, too: the next call would take unread replies for its own
                for wire in wires.values():
                    wire.close()
                raise
            for address, wire in wires.items():
                self._idle[address].append(wire)
            if scatter.is_moved:
                self._slots, scatter.is_moved = None, False
        return scatter.replies()

    def _take(self, address: Address) -> SyncWire:
        while self._idle[address]:
            try:
                wire = self._idle[address].pop()
            except IndexError:  # another thread took it
                break
            if wire.pid == os.getpid():
                return wire
            wire.close()
        wire = SyncWire(self._endpoint.at(*address), self._name, self._timeout_s)
        self.connections += 1
        return wire

    def _connect_all(self) -> SlotMap:
        """Connect to all nodes that are there. A connection made later then replaces one, or is one more."""
        slots = self._ask_slots()
        for master in slots.masters:
            with contextlib.suppress(WireError):  # a call that needs this node will raise
                self._idle[master].append(self._take(master))
        return slots

    def _ask_slots(self) -> SlotMap:
        problem: Exception = ConnectionLost("no node of the cluster is known")
        for address in dict.fromkeys([*self._idle, *self._endpoint.seeds]):
            try:
                wire = SyncWire(self._endpoint.at(*address), self._name, self._timeout_s)
            except WireError as error:
                problem = error
                continue
            try:
                [reply] = wire.call(ASK_SLOTS, 1)
            except WireError as error:
                problem = error
                continue
            finally:
                wire.close()
            if isinstance(reply, ReplyError):
                raise reply
            return SlotMap(reply, address)
        raise problem

    def close(self) -> None:
        """Close the idle connections and drop the map."""
        self._slots = None
        for wires in list(self._idle.values()):
            while wires:
                wires.pop().close()
