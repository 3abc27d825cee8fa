"""A worker with a name of its own in its group (static membership, KIP-345): its restart is no rebalance.

aiokafka joins under the name and doesn't leave at a stop. The broker keeps the partitions for whoever comes back under
that name. It gives the name to the last who asks for it.

Laws:
1. A worker whose name another process has taken ends. aiokafka's heartbeats and commits don't carry the name, so the
   broker answers them with "unknown member", as after a session that has ended. aiokafka would then join again, and two
   processes would take the name from one another for ever.
2. So a worker that was a member asks under its name before it joins again. Only that answer tells the two cases apart.
   Without it there is no join.
3. A process that starts takes the name, whoever has it: that is what a restart needs. So under two supervisors two
   processes go on taking it from one another, until one supervisor is stopped. They do so slowly (process/service.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka.errors import (
    CoordinatorNotAvailableError,
    IllegalGenerationError,
    KafkaError,
    NoError,
    NotCoordinatorError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Int16, Int32, Schema, String

from memberstream.stream.faust_batch.errors import NameTaken

#: Kafka's code for "another member has this group instance id". aiokafka doesn't know it.
FENCED_INSTANCE_ID = 82
#: Answers that say for sure that nobody else has the name.
_OURS = {one.errno for one in (NoError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)}
#: Answers of a broker that isn't the group's coordinator.
_MOVED = (CoordinatorNotAvailableError.errno, NotCoordinatorError.errno)
_UNKNOWN = ""


class _Response(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY, API_VERSION = 12, 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _Struct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = 12, 3, _Response
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _Heartbeat(Request[_Struct]):  # type: ignore[misc]
    """A heartbeat with the name: version 3 of it, which aiokafka lacks. Format: Kafka's HeartbeatRequest.json."""

    API_KEY = 12

    def __init__(self, *fields: Any) -> None:
        self._fields = fields

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        return request_struct_class(*self._fields)


class KeptName:
    """Puts the laws above between aiokafka's coordinator of a group and its joins. Lives in aiokafka's loop.

    Args:
        coordinator: of a consumer with a group instance id; it hasn't joined yet.
        on_taken: called once another process has the name. The coordinator then joins no more.
    """

    def __init__(self, coordinator: Any, on_taken: Callable[[NameTaken], None]) -> None:
        self._coordinator, self._on_taken = coordinator, on_taken
        self._join, self._reset = coordinator._do_rejoin_group, coordinator.reset_generation
        coordinator._do_rejoin_group, coordinator.reset_generation = self._join_if_ours, self._reset_noting
        self._was: tuple[int, str] | None = None  # generation and member id that aiokafka has given up

    def _reset_noting(self) -> None:
        if self._coordinator.member_id != _UNKNOWN:
            self._was = self._coordinator.generation, self._coordinator.member_id
        self._reset()

    async def _join_if_ours(self, subscription: Any) -> bool:
        coordinator = self._coordinator
        if coordinator.member_id != _UNKNOWN:
            self._was = coordinator.generation, coordinator.member_id
        if self._was is not None:
            group, name = coordinator.group_id, coordinator._group_instance_id
            try:
                code = (await coordinator._send_req(_Heartbeat(group, *self._was, name))).error_code
            except KafkaError:  # no connection: aiokafka looks for the coordinator, and calls this again
                await asyncio.sleep(coordinator._retry_backoff_ms / 1000)
                return False
            if code == FENCED_INSTANCE_ID:
                taken = NameTaken(
                    f"another process has joined group {group} as {name}, this worker's group instance id, and has its "
                    "partitions now. Next: stop the supervisor of one of the two, because a restart takes the name "
                    "back; if both are wanted, give each process its own MEMBERSTREAM_KAFKA_GROUP_INSTANCE_ID"
                )
                self._on_taken(taken)
                raise taken  # aiokafka waits until somebody has seen it
            if code not in _OURS:  # nobody knows whose the name is: most likely the coordinator is moving
                if code in _MOVED:
                    coordinator.coordinator_dead()  # aiokafka then looks where it is
                await asyncio.sleep(coordinator._retry_backoff_ms / 1000)
                return False
            self._was = None  # from now on whoever has the name may be this process: the join's answer may get lost
        return bool(await self._join(subscription))
