"""The blocking client. May be shared by threads: each call takes an idle connection or makes one."""

import os
from collections.abc import Iterable, Sequence
from threading import BoundedSemaphore, Lock
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from ..keyspace.keys import DEFAULT_PREFIX, Keys
from ..wire.cluster_sync import SyncCluster
from ..wire.endpoint import parse_url
from ..wire.replies import ConnectionLost, ReplyError, TimedOut, WireError, explain
from ..wire.sync import SyncWire
from .answer import Answer
from .exchange import UNVOUCHED_TTL_S, Commands, Copy, LookupUnavailable, Request, check_id, check_ids
from .observing import OnCall, Outages, timed
from .values import Visible

_forking = Lock()  # of threads that find themselves in a new process


class Lookup:
    """Look-ups in Redis, blocking. Threads may share one.

    Methods raise LookupUnavailable when Redis can't be reached or can't answer. The next call connects again.

    Args:
        url: `redis://USER:PASSWORD@HOST:PORT/DB`. `rediss://` for TLS, `redis+cluster://` and `redis+sentinel://` for
            a cluster and sentinels (docs/operations.md, "Redis").
        prefix: what the installation's keys begin with, `MEMBERSTREAM_REDIS_PREFIX` of its workers.
        timeout_s: longest wait for the connection, and then for the reply. 1 s is a thousand times a look-up's p99: a
            service that shows campaigns has a page to deliver and can't wait for a failover. (In a cluster: for each
            node that must be asked.)
        max_connections: calls under way at a time, and so connections (to each node). Further threads wait for their
            turn, `timeout_s` at most. None: as many as there are threads.
        on_call: is told of each call that asks Redis (observing.py).

    Raises TypeError for a member id that isn't a text; ValueError for a prefix that can't be one.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = 1.0,
        max_connections: int | None = None,
        on_call: OnCall | None = None,
    ) -> None:
        if max_connections is not None and max_connections < 1:
            raise ValueError(f"max_connections: expected 1 or more, found {max_connections}")
        self._endpoint, self._commands = parse_url(url), Commands(Keys(prefix))
        self._timeout_s = timeout_s
        self._copy: Copy | None = None
        self._idle: list[SyncWire] = []  # append and pop are atomic
        self._connections = 0  # made so far
        is_cluster = self._endpoint.is_cluster
        self._cluster = SyncCluster(self._endpoint, "memberstream-lookup", timeout_s) if is_cluster else None
        self._max_connections = max_connections
        self._turns = os.getpid(), BoundedSemaphore(max_connections or 1)  # process, how many more may call
        self._outages = Outages()
        if on_call is not None:
            for name in ("get", "get_many"):
                setattr(self, name, timed(name, getattr(self, name), on_call))

    def get(self, member_id: str) -> Answer:
        """Look up one member in one round trip."""
        if type(member_id) is not str:
            check_id(member_id)
        copy = self._copy
        if copy is not None and self._cluster is None and not copy.lacks(self._connections):
            try:
                [reply] = self._call(self._commands.mget((member_id,)), 1)
            except (WireError, ReplyError) as error:
                raise self._unavailable(error) from error
            if copy.connections == self._connections and (answer := copy.answer(member_id, reply)) is not None:
                return answer
        return self._ask_many((member_id,))[0]

    def get_patiently(self, member_id: str, patience_s: float = 2.5) -> Answer:
        """Like `get`, for a process that makes one look-up: if the answer is `rebuilding`, it asks again for a while.

        A client that has just connected believes that a member doesn't exist only when it has seen a worker's beacon
        move. Beacons move each second.
        """
        give_up_at = monotonic() + patience_s
        while (answer := self.get(member_id)).status == "rebuilding" and monotonic() < give_up_at:
            sleep(UNVOUCHED_TTL_S)
        return answer

    def get_many(self, member_ids: Iterable[str]) -> list[Answer]:
        """Look up many members in one round trip. Answers come in the order asked; a repeated id is answered twice."""
        listed = check_ids(member_ids)
        return self._ask_many(listed) if listed else []

    def _ask_many(self, member_ids: Sequence[str]) -> list[Answer]:
        while True:
            request = Request(self._commands, member_ids, self._copy, self._made, self._cluster is not None)
            try:
                replies = self._exchange(request)
            except (WireError, ReplyError) as error:
                raise self._unavailable(error) from error
            newer, found = request.read(replies, self._endpoint, self._made)
            if newer is not None:
                self._copy = newer
                self._outages.clock(newer.clock_ms)
            if found is not None:
                return found

    def visible(self, member_id: str) -> Visible:
        """Return the campaigns that one member sees, and the status, in one round trip."""
        return self.get(member_id).visible

    def visible_many(self, member_ids: Iterable[str]) -> list[Visible]:
        """Like `visible`, for many members in one round trip."""
        return [answer.visible for answer in self.get_many(member_ids)]

    def is_visible(self, campaign: str, member_id: str) -> bool:
        """Whether a member sees a campaign, by the clusters that are known. One round trip."""
        return campaign in self.visible(member_id).campaigns

    @property
    def _made(self) -> int:
        """Connections made so far."""
        return self._connections if self._cluster is None else self._cluster.connections

    def _exchange(self, request: Request) -> list[Any]:
        if self._cluster is None:
            return self._call(request.payload, request.n_replies)
        turns = self._take_turn() if self._max_connections else None
        try:
            return request.gathered(self._cluster.call(request.pieces()), self._endpoint)
        finally:
            if turns is not None:
                turns.release()

    def _call(self, payload: bytes, n_replies: int) -> list[Any]:
        if not self._max_connections:
            return self._ask_some(payload, n_replies)
        turns = self._take_turn()
        try:
            return self._ask_some(payload, n_replies)
        finally:
            turns.release()

    def _take_turn(self) -> BoundedSemaphore:
        pid, turns = self._turns
        if pid != os.getpid():  # after a fork other threads' turns would never end
            with _forking:
                if self._turns[0] != os.getpid():
                    self._turns = os.getpid(), BoundedSemaphore(self._max_connections or 1)
                turns = self._turns[1]
        if not turns.acquire(timeout=self._timeout_s):
            raise TimedOut(
                f"all {self._max_connections} connections were in use for {self._timeout_s} s",
                "raise max_connections, or ask for many members by one get_many",
            )
        return turns

    def _ask_some(self, payload: bytes, n_replies: int) -> list[Any]:
        """Ask over an idle connection or a new one."""
        while self._idle:
            try:
                wire = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if wire.pid != os.getpid():
                wire.close()
                continue
            try:
                return self._ask(wire, payload, n_replies)
            except ConnectionLost:
                # Idle connections die with a restart or a firewall's timeout. Reading again is harmless.
                continue
        wire = SyncWire(self._endpoint, "memberstream-lookup", self._timeout_s)
        self._connections += 1
        return self._ask(wire, payload, n_replies)

    def _ask(self, wire: SyncWire, payload: bytes, n_replies: int) -> list[Any]:
        try:
            replies = wire.call(payload, n_replies)
        except BaseException:  # KeyboardInterrupt, too: the next call would take unread replies for its own
            wire.close()
            raise
        self._idle.append(wire)
        if self._outages.since is not None:
            self._outages.over()
        return replies

    def _unavailable(self, error: Exception) -> LookupUnavailable:
        unavailable = LookupUnavailable(explain(error, self._endpoint))
        self._outages.failed(unavailable)
        return unavailable

    def close(self) -> None:
        """Close the idle connections. Safe to call twice."""
        if self._cluster is not None:
            self._cluster.close()
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
