"""What both clients send and how they read the replies: one round trip, whatever is asked. Pure but for the clock.

A request is, in this order:

    [GET epoch · GET known · HGETALL live · HGETALL beacons · [HGETALL models · HGETALL campaigns · GET known]] ·
    MGET epoch member … (again for each MEMBERS_PER_CALL members)

- The outer bracket travels when the client's copy is older than META_TTL_S, the inner one when models or campaigns may
  have changed: they may be large, and change only when somebody does something to them.
- `known` grows with each such change. It stands on both sides of what it speaks for: a copy that was read across a
  change is read again. So is one whose `known` or `live` is not what it was; the members are then asked again, too.
- The epoch is read in one step with the members: Redis may be emptied and rebuilt at any time, and only an epoch that
  was there when a member was not proves that the member is unknown.
- The copy speaks for the epoch under which it was read. Without one, or with two different ones, Redis is being filled
  or was just emptied, and `known` may be the same before and after: only answers that say so (`rebuilding`) go by it.
  As soon as another epoch is there, all is read whole again.
- A member's row holds every version, so the same row answers before and after a promotion; the copy says which counts.
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

# More travel in several calls: a call of so many takes the server about 150 µs, and others wait for it.
MEMBERS_PER_CALL = 500

_GET_EPOCH = pack_command((b"GET", keyspace.EPOCH))
_GET_KNOWN = pack_command((b"GET", keyspace.KNOWN))
_LIVE, _BEACONS, _MODELS, _CAMPAIGNS = [
    pack_command((b"HGETALL", key)) for key in (keyspace.LIVE, keyspace.BEACONS, keyspace.MODELS, keyspace.CAMPAIGNS)
]
_SMALL = (_GET_EPOCH + _GET_KNOWN + _LIVE + _BEACONS, 4)
_WHOLE = (_GET_EPOCH + _GET_KNOWN + _LIVE + _BEACONS + _MODELS + _CAMPAIGNS + _GET_KNOWN, 7)
NOTHING = (b"", 0)
_PREFIX = keyspace.MEMBER_PREFIX.decode()
_MGET = f"$4\r\nMGET\r\n${len(keyspace.EPOCH)}\r\n{keyspace.EPOCH.decode()}\r\n"
_MGET_ONE = b"*3\r\n" + _MGET.encode() + b"$%d\r\n" + keyspace.MEMBER_PREFIX + b"%b\r\n"


class LookupUnavailable(Exception):
    """Redis can't be reached or can't answer. The text ends with the next action."""


class Copy:
    """A client's copy of the small keys and when it was read. Never changed, so threads may share it.

    Attributes:
        epoch: that was there, the same, before and after the reading; None: Redis was being filled.
        is_settled: it is of one moment: answers may go by it.
    """

    __slots__ = (
        *("_known", "_live", "_read_at_s", "_rest", "_whole_at_s"),
        *("epoch", "is_settled", "meta"),
    )

    def __init__(self, replies: Sequence[Any], before: "Copy | None", epoch: bytes | None) -> None:
        """Parses only what differs from `before`. Raises KeyspaceError.

        Args:
            replies: those of `_SMALL` or `_WHOLE` after the epoch.
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

    def answer(self, member_id: str, reply: Any) -> Answer | None:
        """The usual case of `Request.read`: the reply to one member's `mget`, by this copy; None: not to be read so."""
        if type(reply) is not list or reply[0] is None or reply[0] != self.epoch:
            return None
        return Answer(member_id, reply[1], Reading(self.meta, True, time.time_ns() // 1_000_000))

    def outlived(self) -> "Copy":
        """The same, but nothing goes by it before it is read again: its epoch has ended."""
        other = copy(self)
        other.is_settled, other._known = False, None
        return other

    def lacks(self) -> tuple[bytes, int]:
        """What of the small keys is to be read again, and how many replies that gives."""
        age_s = time.monotonic() - self._read_at_s
        if self.is_settled and age_s <= META_TTL_S:
            return NOTHING
        is_whole = self._known is not None and self._read_at_s + age_s - self._whole_at_s <= WHOLE_TTL_S
        return _SMALL if is_whole else _WHOLE


def mget(member_ids: Sequence[str]) -> bytes:
    """MGET of the epoch and the members, packed, by hand: hiredis takes longer.

    Ids of one length, as most are, have the same bytes in between: then all are packed by one join.
    """
    if len(member_ids) == 1:
        raw = member_ids[0].encode()
        return _MGET_ONE % (len(_PREFIX) + len(raw), raw)
    sizes = set(map(len, member_ids))
    if len(sizes) == 1 and "".join(member_ids).isascii():  # in ASCII a character is a byte
        start = f"${len(_PREFIX) + sizes.pop()}\r\n{_PREFIX}"
        keys = start + ("\r\n" + start).join(member_ids) + "\r\n"
    else:
        keys = "".join([
            f"${len(_PREFIX) + len(member_id.encode())}\r\n{_PREFIX}{member_id}\r\n" for member_id in member_ids
        ])  # fmt: skip
    return f"*{2 + len(member_ids)}\r\n{_MGET}{keys}".encode()


def _as_dict(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Request:
    """One round trip for some members, as packed commands."""

    __slots__ = ("_copy", "_member_ids", "_n_small", "_small", "n_replies", "payload")

    def __init__(self, member_ids: Sequence[str], copy: Copy | None) -> None:
        small, n_small = _WHOLE if copy is None else copy.lacks()
        n, size = len(member_ids), MEMBERS_PER_CALL
        if n <= size:
            self.payload, self.n_replies = small + mget(member_ids), n_small + 1
        else:
            calls = [mget(member_ids[start : start + size]) for start in range(0, n, size)]
            self.payload, self.n_replies = b"".join((small, *calls)), n_small + len(calls)
        self._copy, self._member_ids = copy, member_ids
        self._small, self._n_small = small, n_small

    def pieces(self) -> list[Piece]:
        """The same for a cluster, each key's node asked for itself; `gathered` reads the replies.

        The members lie on other nodes than the epoch, which is read before and after them there. That doesn't enclose
        them: a node that came back empty is found out when its writer notices (docs/decisions/0009).
        """
        first = Piece(keyspace.EPOCH, self._small, self._n_small) if self._n_small else _EPOCH
        keys = [keyspace.member_key(member_id.encode()) for member_id in self._member_ids]
        return [first, *[Piece(key, pack_command((b"GET", key))) for key in keys], _EPOCH]

    def gathered(self, found: Sequence[Sequence[Any]], where: object) -> list[Any]:
        """The replies to `pieces` as a single server gives them. Raises LookupUnavailable."""
        first, *members, [after] = found
        rows = [row for [row] in members]
        _check([*first, *rows, after], where)
        return [*(first if self._n_small else ()), [after if first[0] == after else None, *rows]]

    def read(self, replies: Sequence[Any], where: object) -> tuple[Copy | None, list[Answer] | None]:
        """The copy to keep from now on, None: the same; and the answers, None: ask again, by that copy.

        Raises LookupUnavailable, KeyspaceError.
        """
        _check(replies, where)
        copy, n_small, newer = self._copy, self._n_small, None
        epoch, *rows = replies[n_small]
        for call in replies[n_small + 1 :]:
            epoch = epoch if call[0] == epoch else None
            rows += call[1:]
        if n_small:
            epoch = epoch if replies[0] == epoch else None
            newer = copy = Copy(replies[1:n_small], copy, epoch)
        elif epoch is not None and copy is not None and epoch != copy.epoch:
            newer = copy = copy.outlived()
        assert copy is not None  # noqa: S101  (without one the small keys are read; narrows the type)
        if newer is not None and not newer.is_settled:
            return newer, None
        reading = Reading(copy.meta, epoch is not None, time.time_ns() // 1_000_000)
        return newer, list(map(Answer, self._member_ids, rows, repeat(reading)))


_EPOCH = Piece(keyspace.EPOCH, _GET_EPOCH)


def _check(replies: Sequence[Any], where: object) -> None:
    if ReplyError in map(type, replies):
        error = next(reply for reply in replies if isinstance(reply, ReplyError))
        raise LookupUnavailable(explain(error, where)) from error
