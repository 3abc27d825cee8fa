"""The blocking client. May be shared by threads: each call takes an idle connection or makes one."""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from stream.lookup.answer import Answer
from stream.lookup.exchange import NOTHING, Copy, LookupUnavailable, Request, mget
from stream.lookup.values import Visible
from stream.wire import ConnectionLost, ReplyError, SyncCluster, SyncWire, WireError, explain, parse_url


class Lookup:
    """Look-ups in Redis. `url`: see stream.wire.endpoint.

    `timeout_s`: longest wait for the network at any one point; 1 s, a thousand times a look-up's p99, because
    who shows campaigns has a page to deliver and can't wait for a failover.
    Methods raise LookupUnavailable when Redis can't be reached or can't answer; the next call connects again.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._endpoint = parse_url(url)
        self._timeout_s = timeout_s
        self._copy: Copy | None = None
        self._idle: list[SyncWire] = []  # append and pop are atomic
        is_cluster = self._endpoint.is_cluster
        self._cluster = SyncCluster(self._endpoint, "memberstream-lookup", timeout_s) if is_cluster else None

    def get(self, member_id: str) -> Answer:
        """One member, one round trip."""
        copy = self._copy
        if copy is not None and self._cluster is None and copy.lacks() is NOTHING:
            try:
                [reply] = self._call(mget((member_id,)), 1)
            except (WireError, ReplyError) as error:
                raise LookupUnavailable(explain(error, self._endpoint)) from error
            if (answer := copy.answer(member_id, reply)) is not None:
                return answer
        return self.get_many((member_id,))[0]

    def get_many(self, member_ids: Sequence[str]) -> list[Answer]:
        """Many members, one round trip; answers in the order asked, an id asked twice is answered twice."""
        if not member_ids:
            return []
        while True:
            request = Request(member_ids, self._copy)
            try:
                replies = self._exchange(request)
            except (WireError, ReplyError) as error:
                raise LookupUnavailable(explain(error, self._endpoint)) from error
            newer, found = request.read(replies, self._endpoint)
            if newer is not None:
                self._copy = newer
            if found is not None:
                return found

    def visible(self, member_id: str) -> Visible:
        """The campaigns that one member sees, and the status; one round trip."""
        return self.get(member_id).visible

    def visible_many(self, member_ids: Sequence[str]) -> list[Visible]:
        """As `visible`, for many members; one round trip."""
        return [answer.visible for answer in self.get_many(member_ids)]

    def is_visible(self, campaign: str, member_id: str) -> bool:
        """Whether a member sees a campaign, by the clusters that are known; one round trip."""
        return campaign in self.visible(member_id).campaigns

    def _exchange(self, request: Request) -> list[Any]:
        if self._cluster is not None:
            return request.gathered(self._cluster.call(request.pieces()), self._endpoint)
        return self._call(request.payload, request.n_replies)

    def _call(self, payload: bytes, n_replies: int) -> list[Any]:
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
        return self._ask(SyncWire(self._endpoint, "memberstream-lookup", self._timeout_s), payload, n_replies)

    def _ask(self, wire: SyncWire, payload: bytes, n_replies: int) -> list[Any]:
        try:
            replies = wire.call(payload, n_replies)
        except BaseException:  # also KeyboardInterrupt: unread replies would be taken for the next call's
            wire.close()
            raise
        self._idle.append(wire)
        return replies

    def close(self) -> None:
        """Drops the idle connections. Safe to call twice."""
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
