"""Redis Cluster as rules: which node holds a key, and what a redirection means. Pure: no connection is made here.

Source: the Redis Cluster specification. A key's slot is CRC16 (XMODEM) of the key modulo 16,384. If the key has braces,
only the text between its first { and the next } counts. MOVED: the slot is elsewhere from now on. ASK: only this once,
after ASKING.
"""

from binascii import crc_hqx
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hiredis import pack_command

from .replies import ConnectionLost, ReplyError

SLOTS = 16_384
ASK_SLOTS = pack_command((b"CLUSTER", b"SLOTS"))
_ASKING = pack_command((b"ASKING",))
# A slot that is being moved redirects once, a fail-over or a second move once more. More redirections are an outage.
MAX_ROUNDS = 5

Address = tuple[str, int]


class Piece(NamedTuple):
    """Packed commands for one key's node, and the number of replies that it gives."""

    key: bytes
    payload: bytes
    n_replies: int = 1


def slot_of(key: bytes) -> int:
    """Return the slot of a key."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


class SlotMap:
    """Which node serves which slot, as one node tells it. `masters`: all nodes that serve slots."""

    def __init__(self, reply: Sequence[Any], asked: Address) -> None:
        """`reply`: of CLUSTER SLOTS. A node that doesn't know its own name leaves it empty: then it is `asked`."""
        self._nodes: list[Address | None] = [None] * SLOTS
        for first, last, (host, port, *_), *_ in reply:
            node = (host.decode() or asked[0], int(port))
            self._nodes[first : last + 1] = [node] * (last - first + 1)
        self.masters = sorted({node for node in self._nodes if node is not None})

    def node_of(self, key: bytes) -> Address:
        """Return the node that serves a slot. Raises ConnectionLost: none does."""
        node = self._nodes[slot_of(key)]
        if node is None:
            raise ConnectionLost("the cluster does not cover all slots")
        return node


class Scatter:
    """One exchange with a cluster: pieces out to their nodes, replies back in the order of the pieces.

    Use: until `is_done`, send what `outgoing` says and give the replies to `take`; ask for a new map when `is_moved`.
    """

    def __init__(self, pieces: Sequence[Piece], slots: SlotMap) -> None:
        self._pieces = pieces
        self._replies: list[list[Any] | None] = [None] * len(pieces)
        self._rounds = 0
        self.is_moved = False
        self._where: dict[int, tuple[Address, bool]] = {i: (slots.node_of(p.key), False) for i, p in enumerate(pieces)}

    @property
    def is_done(self) -> bool:
        return not self._where

    def outgoing(self) -> Mapping[Address, Sequence[tuple[int, bytes, int]]]:
        """Return node → (number of the piece, payload, replies to expect). Raises ConnectionLost: in circles."""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise ConnectionLost("the cluster's nodes redirect in circles")
        grouped: defaultdict[Address, list[tuple[int, bytes, int]]] = defaultdict(list)
        for i, (node, is_asked) in self._where.items():
            _, payload, n_replies = self._pieces[i]
            grouped[node].append((i, _ASKING + payload, n_replies + 1) if is_asked else (i, payload, n_replies))
        return grouped

    def take(self, i: int, replies: list[Any]) -> None:
        """Take the replies to piece i, as many as were expected."""
        node, is_asked = self._where.pop(i)
        replies = replies[1:] if is_asked else replies
        for reply in replies:
            if isinstance(reply, ReplyError) and reply.code in ("MOVED", "ASK"):
                host, _, port = str(reply).split(" ")[2].rpartition(":")
                self._where[i] = (host or node[0], int(port)), reply.code == "ASK"
                self.is_moved = self.is_moved or reply.code == "MOVED"
                return
        self._replies[i] = replies

    def replies(self) -> list[list[Any]]:
        """Return the replies to each piece."""
        return [replies for replies in self._replies if replies is not None]
