"""What both clients send and how they read the replies: one round trip, whatever is asked. Pure but for the clock.

A request is, in this order:

    GET epoch · [GET known · HGETALL live · HGETALL beacons · [HGETALL models · HGETALL campaigns · GET known]] ·
    HMGET member … · GET epoch

- The first bracket travels when the client's copy is older than META_TTL_S, the inner one when models or campaigns may
  have changed: they may be large, and change only when somebody does something to them.
- `known` grows with each such change. It stands on both sides of what it speaks for: a copy that was read across a
  change is read again. So is one whose `known` or `live` is not what it was; the members are then asked again, too.
- The copy speaks for the epoch under which it was read. Without one, or with two different ones, Redis is being filled
  or was just emptied, and `known` may be the same before and after: only answers that say so (`rebuilding`) go by it.
  As soon as another epoch is there, all is read whole again.
- The epoch stands on both sides of the members: Redis may be emptied and rebuilt between any two commands, and
  only an epoch that was there before and after proves that a missing member is unknown.
- Members are asked for the fields of the live versions that the copy names: fewer bytes and objects than the
  whole hash. If the copy that comes back names other versions (a promotion), the members are asked again; and
  a client's first look-up reads the small keys beforehand, as part of connecting.
"""

import time
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import repeat
from typing import Any

from hiredis import pack_command

from stream import keyspace
from stream.lookup.answer import Answer, Meta, Reading, parse_beacons, parse_meta
from stream.wire import Piece, ReplyError, explain

# How long a promotion, a campaign or a beacon may go unseen. A second is nothing against BEACON_STALE_MS, and saves
# commands in every look-up.
META_TTL_S = 1.0
# How long before models and campaigns are read again although `known` is what it was: after the models' log was made
# anew it may be the same number for something else (docs/operations.md). 500 campaigns are 60 KB, once a minute.
WHOLE_TTL_S = 60.0

_GET_EPOCH = pack_command((b"GET", keyspace.EPOCH))
_GET_KNOWN = pack_command((b"GET", keyspace.KNOWN))
_LIVE, _BEACONS, _MODELS, _CAMPAIGNS = [
    pack_command((b"HGETALL", key)) for key in (keyspace.LIVE, keyspace.BEACONS, keyspace.MODELS, keyspace.CAMPAIGNS)
]
_SMALL = (_GET_KNOWN + _LIVE + _BEACONS, 3)
_WHOLE = (_GET_KNOWN + _LIVE + _BEACONS + _MODELS + _CAMPAIGNS + _GET_KNOWN, 6)
_NOTHING = (b"", 0)
_PREFIX = keyspace.MEMBER_PREFIX.decode()


class LookupUnavailable(Exception):
    """Redis can't be reached or can't answer. The text ends with the next action."""


class Copy:
    """A client's copy of the small keys and when it was read. Never changed, so threads may share it.

    Attributes:
        epoch: that was there, the same, before and after the reading; None: Redis was being filled.
        is_settled: it is of one moment: answers may go by it.
    """

    __slots__ = (
        *("_head", "_known", "_live", "_read_at_s", "_rest", "_tail", "_whole_at_s"),
        *("epoch", "is_settled", "meta"),
    )

    def __init__(self, replies: Sequence[Any], before: "Copy | None", epoch: bytes | None) -> None:
        """Parses only what differs from `before`. Raises KeyspaceError.

        Args:
            replies: those of `_SMALL` or `_WHOLE`.
            epoch: see above.
        """
        self.epoch = epoch
        known, live, beacons, *rest = replies
        self._read_at_s = time.monotonic()
        self._known: bytes | None
        self._live: Sequence[bytes] = live
        if rest:
            *self._rest, known_after = rest
            self._whole_at_s = self._read_at_s
            self.is_settled = known == known_after
        else:
            assert before is not None  # noqa: S101  (only then the rest is left out; narrows the type)
            self._rest, self._whole_at_s = before._rest, before._whole_at_s
            self.is_settled = epoch == before.epoch and known == before._known and live == before._live
        self._known = known if epoch is not None and self.is_settled else None
        models, campaigns = self._rest
        if before is not None and before._live == live and before._rest == self._rest:
            self.meta: Meta = before.meta._replace(beacons=parse_beacons(_as_dict(beacons)))
        else:
            self.meta = parse_meta(_as_dict(live), _as_dict(models), _as_dict(beacons), campaigns)
        fields = self.meta.fields
        self._head = f"*{2 + len(fields)}\r\n$5\r\nHMGET\r\n$"
        self._tail = "\r\n" + "".join(f"${len(field)}\r\n{field.decode()}\r\n" for field in fields)

    def outlived(self) -> "Copy":
        """The same, but nothing goes by it before it is read again: its epoch has ended."""
        other = copy(self)
        other.is_settled, other._known = False, None
        return other

    def lacks(self) -> tuple[bytes, int]:
        """What of the small keys is to be read again, and how many replies that gives."""
        age_s = time.monotonic() - self._read_at_s
        if self.is_settled and age_s <= META_TTL_S:
            return _NOTHING
        is_whole = self._known is not None and self._read_at_s + age_s - self._whole_at_s <= WHOLE_TTL_S
        return _SMALL if is_whole else _WHOLE

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

    __slots__ = ("_small", "copy", "member_ids", "n_replies", "payload")

    def __init__(self, member_ids: Sequence[str], copy: Copy | None) -> None:
        """Without a copy there are no fields to ask for: then only the small keys are read."""
        self.copy = copy
        self.member_ids: Sequence[str] = member_ids if copy is not None else ()
        self._small = small, n_small = _WHOLE if copy is None else copy.lacks()
        members = copy.hmget(member_ids) if copy is not None else b""
        self.payload = b"".join((_GET_EPOCH, small, members, _GET_EPOCH))
        self.n_replies = len(self.member_ids) + n_small + 2

    def pieces(self) -> list[Piece]:
        """The same for a cluster, each key's node asked for itself: replies in the same order.

        The members lie on other nodes than the epoch, so its two readings don't enclose them in time there: a node that
        came back empty is found out when its writer notices (docs/decisions/0009).
        """
        small, n_small = self._small
        pieces = [Piece(keyspace.EPOCH, _GET_EPOCH + small, 1 + n_small)]
        if self.copy is not None:
            for member_id in self.member_ids:
                key = keyspace.member_key(member_id.encode())
                pieces.append(Piece(key, self.copy.hmget((member_id,))))
        pieces.append(Piece(keyspace.EPOCH, _GET_EPOCH))
        return pieces

    def newer_copy(self, replies: Sequence[Any], where: object) -> Copy | None:
        """The copy to keep from now on, None: the same. Raises LookupUnavailable, KeyspaceError."""
        if ReplyError in map(type, replies):
            error = next(reply for reply in replies if isinstance(reply, ReplyError))
            raise LookupUnavailable(explain(error, where)) from error
        epoch = _epoch_of(replies)
        _, n_small = self._small
        if n_small:
            return Copy(replies[1 : 1 + n_small], self.copy, epoch)
        assert self.copy is not None  # noqa: S101  (without one the small keys are read; narrows the type)
        return None if epoch is None or epoch == self.copy.epoch else self.copy.outlived()

    def answers(self, replies: Sequence[Any], newer: Copy | None) -> list[Answer] | None:
        """The answers; None if the members must be asked again: for other fields, or by a copy of one moment."""
        meta = self.copy.meta if self.copy is not None else None
        if newer is not None:
            if meta is None or not newer.is_settled or newer.meta.fields != meta.fields:
                return None
            meta = newer.meta
        assert meta is not None  # noqa: S101  (one of the two copies exists; narrows the type)
        reading = Reading(meta, _epoch_of(replies) is not None, time.time_ns() // 1_000_000)
        return list(map(Answer, self.member_ids, replies[1 + self._small[1] : -1], repeat(reading)))


def _epoch_of(replies: Sequence[Any]) -> bytes | None:
    """The epoch that was there before and after; None: not the same, or none."""
    before, after = replies[0], replies[-1]
    return before if before == after else None
