"""May this user be a member of a consumer group? Asked beside the member itself.

aiokafka's consumer that may not join waits for ever, in silence: it keeps the broker's refusal for a caller of
`getmany`, whom Faust hasn't. And it doesn't try again when the right is there.
"""

from __future__ import annotations

from typing import Any

from aiokafka.client import CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    KafkaError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest

#: Answers that a broker gives only after it has checked the right.
_ALLOWED = (NoError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
_NOBODY = "memberstream-probe"  # no member has this id, so the heartbeat of it changes nothing


async def check_group(client: Any, group: str) -> bool:
    """Return whether this user may join the group for sure. Raises GroupAuthorizationFailedError: it may not.

    A heartbeat needs the same right as joining (READ). Brokers check that before they look who the member is. An outage
    proves neither, nor does a broker that isn't, or isn't yet, the group's coordinator.
    """
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        code = (await client.send(node, HeartbeatRequest(group, 0, _NOBODY))).error_code
        answer = for_code(code)
    except GroupAuthorizationFailedError:
        answer = GroupAuthorizationFailedError
    except KafkaError:
        return False
    if answer is GroupAuthorizationFailedError:
        raise GroupAuthorizationFailedError(f"READ on the consumer group {group}")
    return answer in _ALLOWED
