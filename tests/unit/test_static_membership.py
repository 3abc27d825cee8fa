"""A worker with a name of its own: it never takes the name back from a process that has it now."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    NoError,
    NotCoordinatorError,
    UnknownMemberIdError,
)

from memberstream.stream.faust_batch.errors import NameTaken
from memberstream.stream.faust_batch.static_membership import FENCED_INSTANCE_ID, KeptName


class Coordinator:
    """aiokafka's, as far as KeptName knows it. `answers`: codes to heartbeats; None: no connection."""

    group_id, _group_instance_id, _retry_backoff_ms = "group", "memberstream-0", 0

    def __init__(self, *answers: int | None) -> None:
        self._answers: Iterator[int | None] = iter(answers)
        self.generation, self.member_id = -1, ""
        self.asked: list[tuple[Any, ...]] = []
        self.joins = self.looks = 0
        self.is_joining_answered = True

    async def _send_req(self, request: Any) -> Any:
        self.asked.append(request._fields)
        if (code := next(self._answers)) is None:
            raise KafkaConnectionError()
        return SimpleNamespace(error_code=code)

    async def _do_rejoin_group(self, subscription: Any) -> bool:
        self.joins += 1
        if self.is_joining_answered:
            self.generation, self.member_id = self.joins, f"member-{self.joins}"
        return self.is_joining_answered

    def coordinator_dead(self) -> None:
        self.looks += 1

    def reset_generation(self) -> None:
        self.generation, self.member_id = -1, ""


def kept(*answers: int | None) -> tuple[Any, list[NameTaken]]:
    coordinator, taken = Coordinator(*answers), list[NameTaken]()
    KeptName(coordinator, taken.append)
    return coordinator, taken


async def test_the_first_join_asks_nothing() -> None:
    """A process that wasn't a member takes the name, whoever has it: that is what a restart needs."""
    coordinator, _ = kept()
    assert await coordinator._do_rejoin_group(None)
    assert coordinator.asked == []


async def test_a_name_that_another_process_has_ends_the_joins() -> None:
    """The broker is asked as who it was; the answer ends it with what to do, before a join."""
    coordinator, taken = kept(FENCED_INSTANCE_ID)
    await coordinator._do_rejoin_group(None)
    coordinator.reset_generation()
    coordinator.reset_generation()  # a commit and a heartbeat may both have been refused
    with pytest.raises(NameTaken, match="Next: stop the supervisor of one of the two, because a restart takes"):
        await coordinator._do_rejoin_group(None)
    assert coordinator.asked == [("group", 1, "member-1", "memberstream-0")]
    assert (coordinator.joins, len(taken)) == (1, 1)
    assert str(taken[0]).startswith("another process has joined group group as memberstream-0")


@pytest.mark.parametrize("is_lost", [True, False])
async def test_who_is_a_member_or_nobody_joins_again(is_lost: bool) -> None:
    """After a session that ended, and in a rebalance, nobody else has the name."""
    coordinator, taken = kept(UnknownMemberIdError.errno if is_lost else NoError.errno)
    await coordinator._do_rejoin_group(None)
    if is_lost:
        coordinator.reset_generation()
    assert await coordinator._do_rejoin_group(None)
    assert (coordinator.joins, taken) == (2, [])


async def test_its_own_join_whose_answer_got_lost_isnt_another_process() -> None:
    """The broker may have given the name to this very process: it isn't asked as who it was before."""
    coordinator, taken = kept(UnknownMemberIdError.errno)
    await coordinator._do_rejoin_group(None)
    coordinator.reset_generation()
    coordinator.is_joining_answered = False
    assert not await coordinator._do_rejoin_group(None)
    coordinator.is_joining_answered = True
    assert await coordinator._do_rejoin_group(None)
    assert (len(coordinator.asked), coordinator.joins, taken) == (1, 3, [])


async def test_without_a_connection_it_asks_again() -> None:
    """It joins when the broker has said whose the name is."""
    coordinator, _ = kept(None, NoError.errno)
    await coordinator._do_rejoin_group(None)
    assert not await coordinator._do_rejoin_group(None)
    assert await coordinator._do_rejoin_group(None)
    assert (len(coordinator.asked), coordinator.joins) == (2, 2)


@pytest.mark.parametrize(
    ("error", "looks"),
    [(NotCoordinatorError, 1), (CoordinatorNotAvailableError, 1), (CoordinatorLoadInProgressError, 0)],
)
async def test_while_the_coordinator_moves_it_joins_nothing(error: Any, looks: int) -> None:
    """A join then could take the name from another process; and lost, it would make this process take it for another.

    Once the coordinator is there it is asked as before.
    """
    coordinator, taken = kept(error.errno, UnknownMemberIdError.errno)
    await coordinator._do_rejoin_group(None)
    coordinator.reset_generation()
    assert not await coordinator._do_rejoin_group(None)
    assert (coordinator.joins, coordinator.looks) == (1, looks)
    assert await coordinator._do_rejoin_group(None)
    assert len(set(coordinator.asked)) == 1
    assert (len(coordinator.asked), coordinator.joins, taken) == (2, 2, [])
