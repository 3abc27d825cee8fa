"""What both clients send and how they read the replies: one round trip, whatever is asked. Pure but for the clock.

A request is, in this order:

    GET epoch · [HGETALL live · HGETALL models · HGETALL beacons] · HMGET member … · GET epoch

- The middle part travels when the client's copy is older than META_TTL_S.
- The epoch stands on both sides of the members: Redis may be emptied and rebuilt between any two commands, and
  only an epoch that was there before and after proves that a missing member is unknown.
- Members are asked for the fields of the live versions that the copy names: fewer bytes and objects than the
  whole hash. If the copy that comes back names other versions (a promotion), the members are asked again; and
  a client's first look-up reads the small keys beforehand, as part of connecting.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from hiredis import pack_command

from stream import keyspace
from stream.lookup.answer import Answer, Meta, Reading, parse_meta
from stream.wire import Piece, ReplyError, explain

# How long a promotion or a beacon may go unseen. A second is nothing against BEACON_STALE_MS, and saves three
# commands per look-up.
META_TTL_S = 1.0

_GET_EPOCH = pack_command((b"GET", keyspace.EPOCH))
_HASHES = b"".join(pack_command((b"HGETALL", key)) for key in (keyspace.LIVE, keyspace.MODELS, keyspace.BEACONS))
_N_HASHES = 3
_PREFIX = keyspace.MEMBER_PREFIX.decode()


class LookupUnavailable(Exception):
    """Redis can't be reached or can't answer. The text ends with the next action."""


class Copy:
    """A client's copy of the small keys and when it was read. Never changed, so threads may share it."""

    __slots__ = ("_hashes", "_head", "_read_at_s", "_tail", "meta")

    def __init__(self, hashes: Sequence[Sequence[bytes]], before: "Copy | None") -> None:
        """Parses `hashes` only if they differ from those of `before`. Raises KeyspaceError."""
        self._read_at_s = time.monotonic()
        self._hashes = hashes
        if before is not None and before._hashes == hashes:
            self.meta: Meta = before.meta
        else:
            self.meta = parse_meta(*[_as_dict(flat) for flat in hashes])
        fields = self.meta.fields
        self._head = f"*{2 + len(fields)}\r\n$5\r\nHMGET\r\n$"
        self._tail = "\r\n" + "".join(f"${len(field)}\r\n{field.decode()}\r\n" for field in fields)

    def is_old(self) -> bool:
        """Whether the small keys are to be read again."""
        return time.monotonic() - self._read_at_s > META_TTL_S

    def hmget(self, member_ids: Sequence[str]) -> bytes:
        """The packed commands, by hand: hiredis would pack every field again.

        Ids of one length, as most are, have the same bytes in between: then all are packed by one join.
        """
        if not member_ids:
            return b""
        head, tail = self._head, self._tail
        sizes = set(map(len, member_ids))
        if len(sizes) == 1 and "".join(member_ids).isascii():  # in ASCII a character is a byte
            start = f"{head}{len(_PREFIX) + sizes.pop()}\r\n{_PREFIX}"
            packed = start + (tail + start).join(member_ids) + tail
        else:
            packed = "".join(
                [
                    f"{head}{len(_PREFIX) + len(member_id.encode())}\r\n{_PREFIX}{member_id}{tail}"
                    for member_id in member_ids
                ]
            )
        return packed.encode()


def _as_dict(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Request:
    """One round trip for some members, as packed commands."""

    __slots__ = ("copy", "member_ids", "n_replies", "payload", "reads_copy")

    def __init__(self, member_ids: Sequence[str], copy: Copy | None) -> None:
        """Without a copy there are no fields to ask for: then only the small keys are read."""
        self.copy = copy
        self.reads_copy = copy is None or copy.is_old()
        self.member_ids: Sequence[str] = member_ids if copy is not None else ()
        middle = _HASHES if self.reads_copy else b""
        members = copy.hmget(member_ids) if copy is not None else b""
        self.payload = b"".join((_GET_EPOCH, middle, members, _GET_EPOCH))
        self.n_replies = len(self.member_ids) + (2 + _N_HASHES if self.reads_copy else 2)

    def pieces(self) -> list[Piece]:
        """The same for a cluster, each key's node asked for itself: replies in the same order.

        The members lie on other nodes than the epoch, so its two readings don't enclose them in time there: a node that
        came back empty is found out when its writer notices (docs/decisions/0009).
        """
        middle, n_middle = (_HASHES, _N_HASHES) if self.reads_copy else (b"", 0)
        pieces = [Piece(keyspace.EPOCH, _GET_EPOCH + middle, 1 + n_middle)]
        if self.copy is not None:
            for member_id in self.member_ids:
                key = keyspace.member_key(member_id.encode())
                pieces.append(Piece(key, self.copy.hmget((member_id,))))
        pieces.append(Piece(keyspace.EPOCH, _GET_EPOCH))
        return pieces

    def newer_copy(self, replies: Sequence[Any], where: object) -> Copy | None:
        """The copy to keep from now on, None if it was not read. Raises LookupUnavailable, KeyspaceError."""
        if ReplyError in map(type, replies):
            error = next(reply for reply in replies if isinstance(reply, ReplyError))
            raise LookupUnavailable(explain(error, where)) from error
        return Copy(replies[1 : 1 + _N_HASHES], self.copy) if self.reads_copy else None

    def answers(self, replies: Sequence[Any], newer: Copy | None) -> list[Answer] | None:
        """The answers; None if the members must be asked again, for other fields."""
        meta = self.copy.meta if self.copy is not None else None
        if newer is not None:
            if meta is None or newer.meta.fields != meta.fields:
                return None
            meta = newer.meta
        assert meta is not None  # noqa: S101  (one of the two copies exists; narrows the type)
        first = 1 + _N_HASHES if self.reads_copy else 1
        complete = replies[0] is not None and replies[0] == replies[-1]
        reading = Reading(meta, complete, time.time_ns() // 1_000_000)
        return list(map(Answer, self.member_ids, replies[first:-1], repeat(reading)))
