"""May this user be a member of a consumer group? Asked beside the member itself.

aiokafka's consumer that may not join waits for ever, in silence: it keeps the broker's refusal for a caller of
`getmany`, whom Faust hasn't. And it doesn't try again when the right is there.
"""

from __future__ import annotations

from typing import Any

from aiokafka.client import CoordinationType
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, for_code
from aiokafka.protocol.group import HeartbeatRequest

_NOBODY = "memberstream-probe"  # no member has this id, so the heartbeat of it changes nothing


async def check_group(client: Any, group: str) -> None:
    """Raise GroupAuthorizationFailedError if this user may not join the group.

    A heartbeat needs the same right as joining (READ). Brokers check that before they look who the member is. Any other
    answer, and an outage, says nothing here.
    """
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        code = (await client.send(node, HeartbeatRequest(group, 0, _NOBODY))).error_code
        denied = for_code(code) is GroupAuthorizationFailedError
    except GroupAuthorizationFailedError:
        denied = True
    except KafkaError:
        return
    if denied:
        raise GroupAuthorizationFailedError(f"READ on the consumer group {group}")
