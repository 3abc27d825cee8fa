"""What both clients send and how they read the replies: one round trip, whatever is asked. Pure except for the clock.

A request is, in this order:

    [TIME · GET epoch · GET known · HGETALL live · HGETALL beacons · [HGETALL models · HGETALL campaigns · GET known]] ·
    MGET epoch member … (again for each MEMBERS_PER_CALL members)

- The outer bracket is sent when the client's copy is older than META_TTL_S. The inner one is sent when models or
  campaigns may have changed: they may be large, and change only when somebody changes them.
- `known` grows with each such change. It is read before and after what it speaks for, so a copy that was read across a
  change is read again. A copy whose `known` or `live` isn't what it was is read again, too, and the members with it.
- The epoch is read in one step with the members. Redis may be emptied and rebuilt at any time. A member is proven to be
  unknown only if the epoch was there when the member wasn't.
- The copy speaks for the epoch under which it was read. If there was none, or two different ones, Redis is being filled
  or was just emptied, and `known` may be the same before and after. Then only answers that say `rebuilding` go by the
  copy. As soon as another epoch is there, all is read whole again.
- A Redis that was restarted with an older dump, or the replica that took its place, says that all is complete until a
  worker notices. No worker writes a beacon there before it has noticed (stream/projection/witness.py). So after each
  new connection the small keys are read again, and a miss is believed only when a beacon has moved since: within a
  second if a worker lives. In a cluster two beacons must move, because a worker asks the nodes one after another.
- A beacon that this client has seen for 30 s is old, whatever the clocks say: a service whose clock is behind would
  take a dead worker for one that lives. TIME says how far the clock is off; a user that may not ask it does without.
- A member's row holds every version, so the same row answers before and after a promotion. The copy says which version
  counts.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from hiredis import pack_command

from ..keyspace.formats import Beacon
from ..keyspace.keys import Keys
from ..wire.cluster import Piece
from ..wire.replies import ReplyError, explain
from .answer import Answer, Meta, Reading, parse_beacons, parse_meta

# How long a promotion, a campaign or a beacon may go unseen. A second is little beside BEACON_STALE_MS, and it saves
# commands in every look-up.
META_TTL_S = 1.0
# When models and campaigns are read again although `known` is what it was: after the models' log was made anew, the
# same number may stand for something else (docs/operations.md). 500 campaigns are 60 KB, once a minute.
WHOLE_TTL_S = 60.0
# How often beacons are read while a miss can't be believed.
UNVOUCHED_TTL_S = 0.1

# More members travel in several calls: a call of this size takes the server about 150 µs, and others wait for it.
MEMBERS_PER_CALL = 500

# How many small keys must be read again: as many replies come. TIME, epoch and five in a row are SMALL.
NOTHING, SMALL, WHOLE = 0, 5, 8
_AS_TEXT = "Next: str(...) of it, written as the producer of the events writes the member's id"


class LookupUnavailable(Exception):
    """Redis can't be reached or can't answer. The text ends with the next action."""


class Copy:
    """A client's copy of the small keys and when it was read. Never changed, so threads may share it.

    Attributes:
        clock_ms: how far this host's clock was ahead of Redis'; None: the user may not ask.
        seen: partition → since when this client has seen the beacon that it has now (monotonic clock).
        epoch: the same before and after the reading; None: Redis was being filled.
        is_settled: all of it is of one moment, so answers may go by it.
        connections: how many its client had made by then. Answers over a later connection don't go by it.
        is_older: this client has seen later beacons.
        is_vouched: since the last connection was made, a worker has written to the Redis that answers.
    """

    __slots__ = (
        *("_beats", "_known", "_latest_ms", "_live", "_newest_ms", "_read_at_s", "_rest", "_whole_at_s"),
        *("clock_ms", "connections", "epoch", "is_older", "is_settled", "is_vouched", "meta", "seen"),
    )

    def __init__(
        self,
        replies: Sequence[Any],
        before: "Copy | None",
        epoch: bytes | None,
        connections: int,
        is_cluster: bool,
        clock_ms: int | None = None,
    ) -> None:
        """Parses only what differs from `before`. Raises KeyspaceError.

        Args:
            replies: those of SMALL or WHOLE after the epoch.
            epoch, connections, clock_ms: see above.
        """
        self.epoch, self.connections = epoch, connections
        known, live, beacons, *rest = replies
        self._read_at_s = time.monotonic()
        self.clock_ms = clock_ms
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
        if self.meta.known != (told := -1 if self._known is None else int(self._known)):
            self.meta = self.meta._replace(known=told)
        self.seen = {
            partition: self._since(partition, beacon, before) for partition, beacon in self.meta.beacons.items()
        }
        self._latest_ms = max([beacon.written_ms for beacon in self.meta.beacons.values()], default=0)
        self._beats, self._newest_ms = 0, self._latest_ms
        if before is not None:
            self._newest_ms = max(self._latest_ms, before._newest_ms)
            if before.connections == connections:
                self._beats = before._beats + (self._latest_ms > before._latest_ms)
        self.is_older = self._latest_ms < self._newest_ms
        self.is_vouched = self._beats >= (2 if is_cluster else 1)

    def _since(self, partition: bytes, beacon: Beacon, before: "Copy | None") -> float:
        """Since when this client has seen a partition's beacon."""
        if before is None or before.meta.beacons.get(partition) != beacon:
            return self._read_at_s
        return before.seen[partition]

    def reading(self, is_complete: bool) -> Reading:
        """What the answers that are read now share."""
        now_ms, at_s = time.time_ns() // 1_000_000, time.monotonic()
        return Reading(self.meta, is_complete, now_ms, self.is_vouched, self.seen, at_s, self.clock_ms)

    def answer(self, member_id: str, reply: Any) -> Answer | None:
        """The usual case of `Request.read`: the reply to one member's `mget`, by this copy. None: another case."""
        if type(reply) is not list or reply[0] is None or reply[0] != self.epoch:
            return None
        return Answer(member_id, reply[1], self.reading(not self.is_older))

    def outlived(self) -> "Copy":
        """The same copy, but nothing goes by it before it is read again: its epoch has ended."""
        other = Copy.__new__(Copy)
        for name in Copy.__slots__:
            setattr(other, name, getattr(self, name))
        other.is_settled, other._known = False, None
        return other

    def lacks(self, connections: int) -> int:
        """Return how many small keys must be read again: NOTHING, SMALL or WHOLE.

        `connections`: made by now.
        """
        age_s = time.monotonic() - self._read_at_s
        ttl_s = META_TTL_S if self.is_vouched else min(META_TTL_S, UNVOUCHED_TTL_S)
        if self.is_settled and age_s <= ttl_s and connections == self.connections:
            return NOTHING
        is_whole = self._known is not None and self._read_at_s + age_s - self._whole_at_s <= WHOLE_TTL_S
        return SMALL if is_whole else WHOLE


def check_id(member_id: object) -> None:
    """Raise TypeError unless it is a text, UnicodeEncodeError (a ValueError) if that has no UTF-8."""
    if not isinstance(member_id, str):
        raise TypeError(f"member_id: expected a text, found {type(member_id).__name__} {member_id!r:.60}. {_AS_TEXT}")
    if not member_id.isascii():
        member_id.encode()


def check_ids(member_ids: Iterable[str]) -> Sequence[str]:
    """Return the ids as a sequence that can be gone through twice. Raises like `check_id`, which see.

    Any iterable of texts is taken, such as a generator or a column of a data frame. One text alone isn't: as an
    iterable it would be its characters.
    """
    if isinstance(member_ids, str | bytes) or not isinstance(member_ids, Iterable):
        kind = type(member_ids).__name__
        raise TypeError(f"member_ids: expected a list of texts, found {kind} {member_ids!r:.60}. Next: [member_id]")
    listed = member_ids if type(member_ids) in (list, tuple) else list(member_ids)
    try:
        joined = "".join(listed)
    except TypeError:
        i, found = next((i, one) for i, one in enumerate(listed) if not isinstance(one, str))
        kind = type(found).__name__
        raise TypeError(f"member_ids[{i}]: expected a text, found {kind} {found!r:.60}. {_AS_TEXT}") from None
    if not joined.isascii():
        joined.encode()
    return listed  # type: ignore[return-value]  # a list or a tuple


class Commands:
    """What a client asks of one installation's keys, packed once.

    Attributes:
        small: how many small keys → the commands that read them.
        epoch: the command that reads the epoch, for a cluster.
    """

    __slots__ = ("_epoch_key", "_length", "_many", "_member", "_one", "_prefix", "epoch", "small")

    def __init__(self, keys: Keys) -> None:
        self._epoch_key, self._member = keys.epoch, keys.member
        self._prefix, self._length = keys.member_prefix.decode(), len(keys.member_prefix)
        get_epoch, get_known = [pack_command((b"GET", key)) for key in (keys.epoch, keys.known)]
        live, beacons, models, campaigns = [
            pack_command((b"HGETALL", key)) for key in (keys.live, keys.beacons, keys.models, keys.campaigns)
        ]
        small = pack_command((b"TIME",)) + get_epoch + get_known + live + beacons
        self.small = {NOTHING: b"", SMALL: small, WHOLE: small + models + campaigns + get_known}
        self.epoch = Piece(keys.epoch, get_epoch)
        self._many = f"$4\r\nMGET\r\n${len(keys.epoch)}\r\n{keys.epoch.decode()}\r\n"
        self._one = b"*3\r\n" + self._many.encode() + b"$%d\r\n" + keys.member_prefix + b"%b\r\n"

    def mget(self, member_ids: Sequence[str]) -> bytes:
        """MGET of the epoch and the members, packed by hand: hiredis takes longer.

        Ids of equal length, as most are, have the same bytes in between. Then one join packs them all.
        """
        if len(member_ids) == 1:
            raw = member_ids[0].encode()
            return self._one % (self._length + len(raw), raw)
        prefix, length = self._prefix, self._length
        sizes = set(map(len, member_ids))
        if not "".join(member_ids).isascii():
            packed = "".join([
                f"${length + len(member_id.encode())}\r\n{prefix}{member_id}\r\n" for member_id in member_ids
            ])  # fmt: skip
        elif len(sizes) == 1:  # in ASCII a character is a byte
            start = f"${length + sizes.pop()}\r\n{prefix}"
            packed = start + ("\r\n" + start).join(member_ids) + "\r\n"
        else:
            starts = {size: f"${length + size}\r\n{prefix}" for size in sizes}
            packed = "".join([f"{starts[len(member_id)]}{member_id}\r\n" for member_id in member_ids])
        return f"*{2 + len(member_ids)}\r\n{self._many}{packed}".encode()

    def small_of(self, n_replies: int) -> Piece:
        """The commands that read small keys, for a cluster."""
        return Piece(self._epoch_key, self.small[n_replies], n_replies)

    def get(self, member_id: str) -> Piece:
        """The command that reads one member, for a cluster."""
        key = self._member(member_id.encode())
        return Piece(key, pack_command((b"GET", key)))


def _as_dict(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Request:
    """One round trip for some members, as packed commands."""

    __slots__ = ("_commands", "_copy", "_is_cluster", "_member_ids", "_n_small", "n_replies", "payload")

    def __init__(
        self, commands: Commands, member_ids: Sequence[str], copy: Copy | None, connections: int, is_cluster: bool
    ) -> None:
        """`connections`: that the client has made so far."""
        n_small = WHOLE if copy is None else copy.lacks(connections)
        small, mget = commands.small[n_small], commands.mget
        n, size = len(member_ids), MEMBERS_PER_CALL
        if n <= size:
            self.payload, self.n_replies = small + mget(member_ids), n_small + 1
        else:
            calls = [mget(member_ids[start : start + size]) for start in range(0, n, size)]
            self.payload, self.n_replies = b"".join((small, *calls)), n_small + len(calls)
        self._commands, self._copy, self._member_ids = commands, copy, member_ids
        self._n_small, self._is_cluster = n_small, is_cluster

    def pieces(self) -> list[Piece]:
        """The same for a cluster: each key's node is asked by itself. `gathered` reads the replies.

        Members lie on other nodes than the epoch, which is read before and after them. That doesn't enclose the reading
        of a member: that a node came back empty is known only when its writer notices (docs/decisions/0009).
        """
        commands = self._commands
        first = commands.small_of(self._n_small) if self._n_small else commands.epoch
        return [first, *map(commands.get, self._member_ids), commands.epoch]

    def gathered(self, found: Sequence[Sequence[Any]], where: object) -> list[Any]:
        """Return the replies to `pieces` as a single server would give them. Raises LookupUnavailable."""
        first, *members, [after] = found
        rows = [row for [row] in members]
        _check([*first[self._n_small > 0 :], *rows, after], where)
        before = first[1] if self._n_small else first[0]
        return [*(first if self._n_small else ()), [after if before == after else None, *rows]]

    def read(self, replies: Sequence[Any], where: object, connections: int) -> tuple[Copy | None, list[Answer] | None]:
        """Return the copy to keep from now on (None: the same) and the answers (None: ask again, by that copy).

        `connections`: how many the client has made by the time the replies are there.

        Raises LookupUnavailable, KeyspaceError.
        """
        copy, n_small, newer = self._copy, self._n_small, None
        _check(replies[1:] if n_small else replies, where)  # not TIME's
        epoch, *rows = replies[n_small]
        for call in replies[n_small + 1 :]:
            epoch = epoch if call[0] == epoch else None
            rows += call[1:]
        if n_small:
            epoch = epoch if replies[1] == epoch else None
            newer = copy = Copy(replies[2:n_small], copy, epoch, connections, self._is_cluster, _ahead_ms(replies[0]))
        elif epoch is not None and copy is not None and epoch != copy.epoch:
            newer = copy = copy.outlived()
        assert copy is not None  # noqa: S101  (without one the small keys are read; narrows the type)
        if (newer is not None and not newer.is_settled) or copy.connections != connections:
            return newer, None
        is_complete = epoch is not None and not copy.is_older
        return newer, list(map(Answer, self._member_ids, rows, repeat(copy.reading(is_complete))))


def _ahead_ms(clock: Any) -> int | None:
    """Return how far this host's clock is ahead of TIME's reply."""
    if isinstance(clock, ReplyError):
        return None
    seconds, microseconds = map(int, clock)
    return time.time_ns() // 1_000_000 - (1_000 * seconds + microseconds // 1_000)


def _check(replies: Sequence[Any], where: object) -> None:
    if ReplyError in map(type, replies):
        error = next(reply for reply in replies if isinstance(reply, ReplyError))
        raise LookupUnavailable(explain(error, where)) from error
