"""What the probe concludes from a broker's answers about the right to join."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    KafkaConnectionError,
    NoError,
    NotCoordinatorError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from memberstream.stream.faust_batch.errors import Readmitted
from memberstream.stream.faust_batch.probe import KafkaProbe

DENIED, AWAY, UNKNOWN_CODE = GroupAuthorizationFailedError.errno, None, 999


class Client:
    """aiokafka's. `answers`: codes to heartbeats; None: no connection."""

    def __init__(self, *answers: int | None) -> None:
        self._answers = iter(answers)

    async def coordinator_lookup(self, kind: int, group: str) -> int:
        return 0

    async def send(self, node: int, request: Any) -> Any:
        if (code := next(self._answers)) is None:
            raise KafkaConnectionError()
        return SimpleNamespace(error_code=code)


async def stopped_after(*answers: int | None) -> list[Exception]:
    """Return what stops a worker that is denied the group, and then gets these answers."""
    stopped: list[Exception] = []

    async def stop(error: Exception) -> None:
        stopped.append(error)

    none = cast(Any, None)
    probe = KafkaProbe(none, "group", none, none, none, none, stop)
    probe._client = SimpleNamespace(_client=Client(DENIED, *answers))
    with pytest.raises(GroupAuthorizationFailedError):
        await probe._check_group()
    for _ in answers:
        await probe._check_group()
    return stopped


@pytest.mark.parametrize("proof", [NoError, UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError])
async def test_only_an_answer_that_proves_the_right_ends_the_worker_to_join_again(proof: Any) -> None:
    """A broker that is away, or isn't the coordinator, hasn't looked at rights: a restart would be denied again."""
    unproven = (AWAY, NotCoordinatorError.errno, CoordinatorLoadInProgressError.errno, UNKNOWN_CODE)
    assert await stopped_after(*unproven) == []
    [error] = await stopped_after(*unproven, proof.errno)
    assert isinstance(error, Readmitted)
