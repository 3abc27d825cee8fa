"""Memberships into Redis: guarded by position, in calls short enough not to be felt by readers.

Laws:
- What Redis holds of a member never goes back to a lower (epoch, offset, as_of): the comparison is made inside Redis
  (stream/lua/write.lua, forget.lua), so it holds between any number of workers, also ones that wake up late.
- Writing the same again changes nothing, so whoever is unsure whether a write arrived repeats it.
- An outage is one exception, RedisUnavailable. Nothing here waits or retries; the pipeline does.
- Only members are written with many keys per call; each call is a script over a bounded number of fields.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, cast

from hiredis import pack_command

from models.position import split_position
from stream import keyspace
from stream.keyspace import Announcement, Beacon, Position, Scored
from stream.wire import AsyncCluster, AsyncWire, Paced, Piece, ReplyError, WireError, explain, parse_url

# A look-up may have to wait for a call. A member costs the server 4 to 5 µs, hardly more with many versions. Beside a
# busy worker the p99 of look-ups was 2.2 to 2.3 times the idle one with 10 members in a call, 2.7 to 3.1 with 20; with
# 12 the worker was 2 to 3% slower than with 20. Method and numbers: `bench/redis_contract.py`, docs/redis.md, "What it
# costs", `bench/latency.py`.
MEMBERS_PER_CALL = 14
# Calls go one at a time (stream.wire.Paced). Beside a worker at saturation, the p99 of look-ups on Valkey's core was
# 1,470 µs with whole batches sent at once, 375 µs with two calls under way, 290 µs with one, 105 µs when idle; the
# worker's events/s and CPU stayed what they were (`python -m bench.latency`).
DELETIONS_PER_CALL = 20
# Rows of lists are lighter: no position is compared, one field is written.
ROWS_PER_CALL = 50

FinishState = Literal["restart", "waiting", "complete"]


class RedisUnavailable(Exception):
    """Redis can't be reached or can't serve. Nothing was lost: repeat the call. The text ends with the next action."""


class RedisFault(Exception):
    """Redis answered a call with an error that waiting won't cure, such as WRONGTYPE: a bug, or a foreign key."""


class PartitionMismatch(Exception):
    """Members in Redis were last written from another partition of the topic, whose offsets can't be compared.

    Either the topic's partition count changed, or two installations share this Redis database. Operator: give each
    installation its own database; after a change of the topic, raise the epoch (docs/operations.md).
    """


class Update(NamedTuple):
    """A member's memberships at a position (models/position.py). Times in ms.

    `fields`: of the member's row, one per membership; `memberships`: (cluster, since_ms) of each.
    """

    member_id: bytes
    position: int
    as_of_ms: int
    valid_until_ms: int | None
    fields: tuple[bytes, ...]
    memberships: Sequence[tuple[int, int]]


class Deletion(NamedTuple):
    """A member that is no more, at a position.

    `only_if_held`: a delete of long ago, perhaps: a member that Redis doesn't hold by a document gets no tombstone.
    """

    member_id: bytes
    position: int
    as_of_ms: int
    only_if_held: bool = False


class BuiltMark(NamedTuple):
    """Who builds a partition, and whether it is done."""

    token: bytes
    done: bool


class BeaconReply(NamedTuple):
    """`epoch`: whether the projection is complete. `built`: partition → mark, None when nobody began.

    `last`: partition → the beacon that Redis held before this one.
    """

    epoch: bool
    built: dict[int, BuiltMark | None]
    last: dict[int, Beacon | None]


class Look(NamedTuple):
    """`epoch`: whether the projection is complete; `done`: partitions finished by a build under way."""

    epoch: bool
    done: int
    beacons: dict[int, Beacon]


class Script:
    """One or several Lua files as one script: its text, and the digest Redis knows it by."""

    def __init__(self, *names: str) -> None:
        self.text = b"".join(files("stream").joinpath("lua", name + ".lua").read_bytes() for name in names)
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()

    def pack(self, keys: Sequence[bytes], args: Iterable[bytes | int]) -> Piece:
        return Piece(keys[0], pack_command((b"EVALSHA", self.sha, len(keys), *keys, *args)))


def meta(*command: bytes | int) -> Piece:
    """A command on the small keys; they share a slot."""
    return Piece(keyspace.EPOCH, pack_command(command))


class _Server:
    """One server, called as a cluster is: one call at a time under way."""

    def __init__(self, wire: AsyncWire) -> None:
        self._wire = wire
        self._paced = Paced(wire)

    async def call(self, pieces: Sequence[Piece]) -> list[list[Any]]:
        if all(n_replies == 1 for _, _, n_replies in pieces):
            return [[reply] for reply in await self._paced.call([payload for _, payload, _ in pieces])]
        return [await self._wire.call(payload, n_replies) for _, payload, n_replies in pieces]

    def drop(self) -> None:
        self._wire.drop()

    async def close(self) -> None:
        await self._wire.close()


class Projection:
    """The writer. Connects on first use; calls may run concurrently, they share one connection.

    `url`: see stream.wire.endpoint. `more`: scripts of a derived class. `timeout_s`: longest wait
    for an answer; 5 s, because a failover or a save that takes longer is an outage to be reported, and shorter pauses
    are not worth a reconnect.
    Every method raises RedisUnavailable on an outage; the next call connects again.
    """

    def __init__(self, url: str, *more: Script, timeout_s: float = 5.0) -> None:
        self._endpoint = parse_url(url)
        self._write, self._forget = Script("guard", "write"), Script("guard", "forget")
        self._beacon, self._finish, self._models = Script("beacon"), Script("finish"), Script("models")
        self._list, self._drop = Script("row", "list"), Script("row", "drop")
        self._scripts = (
            *(self._write, self._forget, self._beacon, self._finish, self._models),
            *(self._list, self._drop, *more),
        )
        loads = b"".join(pack_command((b"SCRIPT", b"LOAD", script.text)) for script in self._scripts)
        self._loads = (loads, len(self._scripts))
        self._server: _Server | AsyncCluster
        if self._endpoint.is_cluster:
            self._server = AsyncCluster(self._endpoint, "memberstream-worker", timeout_s, self._loads)
        else:
            self._server = _Server(AsyncWire(self._endpoint, "memberstream-worker", timeout_s, self._loads))
        self.announcement: Announcement | None = None

    async def write(self, partition: int, updates: Sequence[Update | Deletion]) -> int:
        """Writes updates and deletions of one partition; returns how many the guard refused as too old.

        Raises PartitionMismatch if a member was last written from another partition; the others are written.
        """
        calls = [*self._pack_updates(partition, updates), *self._pack_deletions(partition, updates)]
        refused = foreign = 0
        for counts in await self._call(calls):
            refused += counts[0]
            foreign += counts[1]
        if foreign:
            raise PartitionMismatch(
                f"{foreign} of {len(updates)} members of partition {partition} were last written from another "
                f"partition to Redis at {self._endpoint}. Next: if the topic's partitions were changed, follow "
                'docs/operations.md, "A topic re-created or re-partitioned"; if two installations share this database, '
                "give each its own."
            )
        return refused

    def _pack_updates(self, partition: int, updates: Sequence[Update | Deletion]) -> Iterator[Piece]:
        size = 1 if self._endpoint.is_cluster else MEMBERS_PER_CALL  # there the keys of one call must share a slot
        fields: tuple[bytes, ...] | None = None
        row_format, prefix, flat = b"", keyspace.MEMBER_PREFIX, chain.from_iterable
        keys: list[bytes] = []
        rows: list[bytes] = []
        for update in updates:
            if isinstance(update, Deletion):
                continue
            member_id, position, as_of_ms, valid_until_ms, its_fields, memberships = update
            if its_fields is not fields:
                fields, row_format = its_fields, keyspace.row_format(its_fields)
            epoch, offset = split_position(position)
            until = b"" if valid_until_ms is None else b"%d" % valid_until_ms
            keys.append(prefix + member_id)
            rows.append(row_format % (epoch, partition, offset, as_of_ms, until, *flat(memberships)))
            if len(keys) == size:
                yield self._write.pack(keys, rows)
                keys, rows = [], []
        if keys:
            yield self._write.pack(keys, rows)

    def _pack_deletions(self, partition: int, updates: Sequence[Update | Deletion]) -> Iterator[Piece]:
        gone = [update for update in updates if isinstance(update, Deletion)]
        size = 1 if self._endpoint.is_cluster else DELETIONS_PER_CALL
        kinds = [[d for d in gone if d.only_if_held is only] for only in (False, True)]
        for part in [kind[start : start + size] for kind in kinds for start in range(0, len(kind), size)]:
            keys = [keyspace.member_key(deletion.member_id) for deletion in part]
            positions = [
                keyspace.format_tombstone(Position(epoch, partition, offset, deletion.as_of_ms, None))
                for deletion in part
                for epoch, offset in [split_position(deletion.position)]
            ]
            yield self._forget.pack(keys, (keyspace.TOMBSTONE_TTL_S, int(part[0].only_if_held), *positions))

    async def beacon(self, beacons: Mapping[int, Beacon], key: bytes = keyspace.BEACONS) -> BeaconReply:
        """Says how far own partitions are, and learns whether Redis still holds everything. `key`: of which topic."""
        args: list[int] = []
        for partition, beacon in beacons.items():
            args += (partition, beacon.next_offset, beacon.clock_ms, beacon.written_ms)
        keys = (key, keyspace.EPOCH, keyspace.BUILT)
        [[epoch, *found]] = await self._call([self._beacon.pack(keys, args)])
        built: dict[int, BuiltMark | None] = {}
        for partition, mark in zip(beacons, found[::2], strict=True):
            built[partition] = None if mark is None else BuiltMark(mark.removeprefix(b"done:"), mark[:5] == b"done:")
        last = {p: old and keyspace.parse_beacon(old) for p, old in zip(beacons, found[1::2], strict=True)}
        return BeaconReply(epoch is not None, built, last)

    async def reset_beacon(self, partition: int, key: bytes = keyspace.BEACONS) -> None:
        """Forgets how far a partition was: in a new epoch its offsets begin at 0."""
        await self._call([meta(b"HDEL", key, partition)])

    def reconnected(self) -> bool:
        """Whether a node of the cluster was connected to anew since the last question; False of a single server.

        Asked once a second it notices also a node that nothing is written to.

        What it holds may be older than what was written there: a beacon can't tell, it lies on one node only.
        """
        return isinstance(self._server, AsyncCluster) and self._server.came_back()

    async def begin(self, partition: int) -> bytes:
        """Begins to build a partition: returns the token to finish with, and writes the models again.

        Whatever emptied Redis took the models, too. Then write all members of the partition, then `finish`.
        """
        token = secrets.token_hex(8).encode()
        mark = meta(b"HSET", keyspace.BUILT, partition, token)
        models = [self._pack_announcement(self.announcement)] if self.announcement else []
        await self._call([*models, mark])
        return token

    async def finish(self, partition: int, token: bytes, n_partitions: int, now_ms: int) -> FinishState:
        """Says that all members of a partition are written.

        `restart`: Redis was emptied since `begin`, or another worker began; begin again if the partition is still
        own. `waiting`: other partitions of the topic are not done. `complete`: the epoch is set, to `now_ms`.
        """
        keys = (keyspace.BUILT, keyspace.EPOCH)
        [state] = await self._call([self._finish.pack(keys, (partition, token, n_partitions, now_ms))])
        return cast(FinishState, state.decode())

    async def forget(self) -> None:
        """Says that nothing in the projection counts as complete: workers write every member again."""
        await self._call([meta(b"DEL", keyspace.EPOCH, keyspace.BUILT)])

    async def look(self) -> Look:
        """Returns how far a build is, and how far the workers are."""
        calls = ((b"GET", keyspace.EPOCH), (b"HGETALL", keyspace.BUILT), (b"HGETALL", keyspace.BEACONS))
        epoch, built, beacons = await self._call([meta(*call) for call in calls])
        marks = dict(zip(built[::2], built[1::2], strict=True))
        return Look(
            epoch is not None,
            sum(mark.startswith(b"done:") for mark in marks.values()),
            {int(p): keyspace.parse_beacon(b) for p, b in zip(beacons[::2], beacons[1::2], strict=True)},
        )

    async def announce(self, announcement: Announcement) -> bool:
        """Tells readers of models and campaigns; returns False if they know something newer."""
        self.announcement = announcement
        [taken] = await self._call([self._pack_announcement(announcement)])
        return bool(taken)

    def _pack_announcement(self, announcement: Announcement) -> Piece:
        args: list[bytes | int] = [announcement.offset, len(announcement.models)]
        for model in announcement.models:
            args += (keyspace.membership_field(model.name, model.version), keyspace.format_model(model))
        args.append(len(announcement.live))
        for name, version in announcement.live.items():
            args += (name.encode(), version)
        for campaign in announcement.campaigns:
            args += (campaign.id.encode(), keyspace.format_campaign(campaign))
        return self._models.pack((keyspace.MODELS, keyspace.LIVE, keyspace.CAMPAIGNS, keyspace.KNOWN), args)

    async def tell_scored(self, scored: Mapping[int, Scored]) -> None:
        """Says how far own partitions are scored with the published models."""
        args: list[bytes | int] = []
        for partition, how_far in scored.items():
            args += (partition, keyspace.format_scored(how_far))
        await self._call([meta(b"HSET", keyspace.SCORED, *args)])

    async def scored(self) -> dict[int, Scored]:
        """Returns how far each partition is scored with the published models."""
        [flat] = await self._call([meta(b"HGETALL", keyspace.SCORED)])
        return {int(p): keyspace.parse_scored(value) for p, value in zip(flat[::2], flat[1::2], strict=True)}

    async def drop(self, member_ids: Sequence[bytes], fields: Sequence[bytes]) -> None:
        """Removes fields from members; those of retired versions, which nobody writes any more."""
        keys = [keyspace.member_key(member_id) for member_id in member_ids]
        size = 1 if self._endpoint.is_cluster else ROWS_PER_CALL
        await self._call([self._drop.pack(keys[start : start + size], fields) for start in range(0, len(keys), size)])

    async def enlist(self, field: bytes, rows: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Writes one list's field of members, (member id, value) each; returns those who were deleted: it was refused.

        A list has no positions: whoever writes its field writes the same.
        """
        size = 1 if self._endpoint.is_cluster else ROWS_PER_CALL
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        prefix = keyspace.MEMBER_PREFIX
        calls = [self._list.pack([prefix + m for m, _ in part], [field, *[v for _, v in part]]) for part in parts]
        replies = await self._call(calls)
        return [part[i - 1][0] for part, refused in zip(parts, replies, strict=True) for i in refused]

    async def ping(self) -> None:
        """Raises RedisUnavailable when Redis doesn't answer."""
        await self._call([meta(b"PING")])

    async def _call(self, calls: Sequence[Piece]) -> list[Any]:
        """Runs calls of one reply each. Forgotten scripts are loaded and only their calls repeated."""
        if not calls:
            return []
        try:
            replies = [reply for [reply] in await self._server.call(calls)]
            lost = [i for i, r in enumerate(replies) if isinstance(r, ReplyError) and r.code == "NOSCRIPT"]
            if lost:
                loads, n_loads = self._loads
                again = [Piece(calls[i].key, loads + calls[i].payload, n_loads + 1) for i in lost]
                for i, found in zip(lost, await self._server.call(again), strict=True):
                    replies[i] = found[-1]
        except WireError as error:
            raise RedisUnavailable(explain(error, self._endpoint)) from error
        except ReplyError as error:  # the log-in was refused
            raise self._fault(error) from error
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise self._fault(reply) from reply
        return replies

    def _fault(self, error: ReplyError) -> Exception:
        text = explain(error, self._endpoint)
        if error.code == "READONLY" and isinstance(self._server, _Server):
            self._server.drop()  # it was the primary once: ask the sentinels, or the name service, who is now
        return RedisUnavailable(text) if error.is_outage else RedisFault(text)

    async def close(self) -> None:
        """Drops the connection. Safe to call twice."""
        await self._server.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
