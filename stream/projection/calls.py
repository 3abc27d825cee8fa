"""Calls to Redis: scripts and commands out, replies back, errors as the faults they are.

Laws:
- An outage is one exception, RedisUnavailable. Nothing here waits or retries; patience.py does.
- A script that Redis has forgotten is loaded again, and only its calls are repeated. So repeating a call must do no
  harm.
- A writer has its installation's id. In Redis stands whose the keys are (owner.lua). A writer of another installation
  is refused: by each connection as it is made; in a cluster before its first call; and by each script that writes small
  keys. Once refused, it asks again before each call. (Members' rows say nothing of it: in a cluster they lie in other
  slots.)
- All writers over one connection share one `Calls`: their calls take turns (stream/wire/one_server.py).
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from time import perf_counter
from typing import Any

from hiredis import pack_command

from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.wire.aio import AsyncWire
from memberstream.stream.wire.cluster import Address, Piece
from memberstream.stream.wire.cluster_aio import PIPELINE, AsyncCluster
from memberstream.stream.wire.endpoint import Endpoint, parse_url
from memberstream.stream.wire.one_server import OneServer
from memberstream.stream.wire.paced import most_per_second
from memberstream.stream.wire.replies import ReplyError, WireError, explain
from memberstream.stream.wire.round_trip import PING, RoundTrip
from memberstream.stream.wire.script import Script

# Members in one call: so few that a look-up behind it hardly waits. A member costs the server 4 to 5 µs, hardly more
# with many versions. Beside a busy worker the p99 of look-ups was 2.2 to 2.3 times the idle one with 10 members in a
# call, and 2.7 to 3.1 times with 20. With 12 the worker was 2 to 3% slower than with 20. Method and numbers:
# `bench/redis_contract.py`, docs/redis.md, "What it costs", `bench/latency.py`.
MEMBERS_PER_CALL = 14
DELETIONS_PER_CALL = 20
# Rows of lists are lighter: no position is compared, one field is written.
ROWS_PER_CALL = 50
# Keys of one SCAN, and rows of one MGET: each takes the server about 100 µs (docs/decisions/0027).
SCANNED_PER_CALL = 100
# Fields of a campaign's counts: as many as keep a call under 200 µs.
COUNTS_PER_CALL = 50
_NAME = "memberstream-worker"


class RedisUnavailable(Exception):
    """Redis can't be reached or can't serve. Nothing is lost: repeat the call. The text ends with the next action."""


class NotPermitted(RedisUnavailable):
    """The ACL user lacks a right."""


class NotOurs(RedisUnavailable):
    """These keys are another installation's. Nothing is written."""


class RedisFault(Exception):
    """Redis answered with an error that waiting won't cure, such as WRONGTYPE: a bug, or somebody else's key."""


def meta(command: bytes, key: bytes, *args: bytes | int) -> Piece:
    """Return a command that reads a small key."""
    return Piece(key, pack_command((command, key, *args)))


def members_per_second(endpoint: Endpoint, round_trip_s: float) -> float:
    """Return how many members a worker can write in a second at most; in a cluster, those of one node."""
    return PIPELINE / round_trip_s if endpoint.is_cluster else MEMBERS_PER_CALL * most_per_second(round_trip_s)


def next_of_another(owner: str) -> str:
    """Return what to do when another installation has these keys."""
    return (
        "Next: give this one a MEMBERSTREAM_REDIS_PREFIX of its own, or another database in MEMBERSTREAM_REDIS_URL. If "
        f"{owner} is no more (a new group, or Kafka was set up anew): memberstream rebuild --take-over"
    )


def is_unknown(reply: Any) -> bool:
    """Whether a reply says that Redis doesn't know the script."""
    return isinstance(reply, ReplyError) and reply.code == "NOSCRIPT"


class Calls:
    """Calls to one server or a cluster. Connects on first use. Calls may run concurrently; they share one connection.

    `url`: see stream.wire.endpoint. `keys`: the installation's. `timeout_s`: longest wait for an answer. It is 5 s: a
    failover or a save that takes longer is an outage to be reported, and shorter pauses aren't worth a new connection.
    `owner`: the id of the installation that calls; empty: it reads what anybody may read, and nothing is compared.
    Every awaited method raises RedisUnavailable in an outage. The next call connects again.
    """

    def __init__(self, url: str, keys: Keys, owner: str = "", timeout_s: float = 5.0) -> None:
        self.endpoint, self.keys, self.owner = parse_url(url), keys, owner
        self._timeout_s = timeout_s
        self._scripts: list[Script] = []
        self._connections = 0
        self.round_trip = RoundTrip(partial(members_per_second, self.endpoint))
        self._own, self._command = self.script("owner"), self.script("owner", "command")
        self._is_admitted = not owner

    def script(self, *names: str) -> Script:
        """Return a script that each connection loads when it is made. Ask for it before the first call."""
        script = Script(*names)
        self._scripts.append(script)
        return script

    @cached_property
    def loads(self) -> tuple[bytes, int]:
        """Return the commands that load the scripts, and how many they are."""
        loads = b"".join([script.load() for script in self._scripts])
        if self.owner and not self.endpoint.is_cluster:
            return loads + self.small(self._own, (), ()).payload, len(self._scripts) + 1
        return loads, len(self._scripts)

    @cached_property
    def _server(self) -> OneServer | AsyncCluster:
        if self.endpoint.is_cluster:
            return AsyncCluster(self.endpoint, _NAME, self._timeout_s, self.loads)
        return OneServer(AsyncWire(self.endpoint, _NAME, self._timeout_s, self.loads), lambda: self.round_trip.known_s)

    def keys_per_call(self, most: int) -> int:
        """How many keys one call may have: in a cluster they must share a slot."""
        return 1 if self.endpoint.is_cluster else most

    def small(self, script: Script, keys: Sequence[bytes], args: Iterable[bytes | int]) -> Piece:
        """Return a call of a script that writes small keys. It begins with owner.lua."""
        return script.pack((*keys, self.keys.installation), (*args, self.owner.encode()))

    def write(self, command: bytes, key: bytes, *args: bytes | int) -> Piece:
        """Return a command that writes small keys."""
        return self.small(self._command, (key,), (command, key, *args))

    async def admit(self) -> None:
        """Check that these keys are this installation's, or nobody's: then they become its own. Raises NotOurs."""
        if self.owner:
            key, asked, _ = self.small(self._own, (), ())
            [[_, reply]] = await self.ask([Piece(key, self._own.load() + asked, 2)])
            self.check([reply])
        self._is_admitted = True

    async def call(self, calls: Sequence[Piece]) -> list[Any]:
        """Run calls of one reply each. Raises RedisFault: an error that is no outage."""
        if not calls:
            return []
        if not self._is_admitted:
            await self.admit()
        replies = [reply for [reply] in await self.ask(calls)]
        lost = [i for i, reply in enumerate(replies) if is_unknown(reply)]
        if lost:
            loads, n_loads = self.loads
            again = [Piece(calls[i].key, loads + calls[i].payload, n_loads + 1) for i in lost]
            for i, found in zip(lost, await self.ask(again), strict=True):
                replies[i] = found[-1]
        return self.check(replies)

    async def ask(self, pieces: Sequence[Piece]) -> list[list[Any]]:
        """Return the replies to each piece, errors included."""
        try:
            return await self._server.call(pieces)
        except (WireError, ReplyError) as error:  # a ReplyError: the log-in was refused
            raise self._unavailable(error) from error

    async def nodes(self) -> list[Address | None]:
        """Return the servers on which rows lie; None if there is only one."""
        try:
            return [*await self._server.nodes()]
        except (WireError, ReplyError) as error:
            raise self._unavailable(error) from error

    async def at(self, node: Address | None, payload: bytes, n_replies: int = 1) -> Any:
        """Return the last reply of one node; it may be an error."""
        try:
            return (await self._server.at(node, payload, n_replies))[-1]
        except (WireError, ReplyError) as error:
            raise self._unavailable(error) from error

    async def ping(self) -> None:
        """Measure the round trip."""
        times = []
        for node in await self.nodes():
            start = perf_counter()
            self.check([await self.at(node, PING)])
            times.append(perf_counter() - start)
        self.round_trip.see(max(times))  # in a cluster a batch waits for the farthest node

    def reconnected(self) -> bool:
        """Whether a connection was made since the last question. Then earlier writes may be lost."""
        before, self._connections = self._connections, self._server.connections
        return before != self._connections

    def check(self, replies: list[Any]) -> list[Any]:
        """Return the replies, if none is an error. Raises RedisUnavailable, RedisFault."""
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise self._fault(reply) from reply
        return replies

    def _unavailable(self, error: WireError | ReplyError) -> Exception:
        return self._fault(error) if isinstance(error, ReplyError) else RedisUnavailable(explain(error, self.endpoint))

    def _fault(self, error: ReplyError) -> Exception:
        text = explain(error, self.endpoint)
        if error.code == "READONLY" and isinstance(self._server, OneServer):
            self._server.drop()  # it was the primary once: ask the sentinels, or the name service, for today's
        if error.code == "OTHERS":
            self._is_admitted = False
            return NotOurs(self._refusal(str(error).partition(" ")[2]))
        if error.code == "NOPERM":
            return NotPermitted(text)
        return RedisUnavailable(text) if error.is_outage else RedisFault(text)

    def _refusal(self, owner: str) -> str:
        return (
            f"the keys {self.keys.prefix}:* in Redis at {self.endpoint} are those of the installation {owner}, this is "
            f"{self.owner}: nothing is written. {next_of_another(owner)}"
        )

    async def close(self) -> None:
        """Close the connection. Safe to call twice."""
        await self._server.close()


class ReadingCalls(Calls):
    """Calls that only read. They load no script, so a user who may only read can connect."""

    @cached_property
    def loads(self) -> tuple[bytes, int]:
        return b"", 0
