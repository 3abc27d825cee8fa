"""The identity of a Kafka cluster: the id that it was given when its storage was made. Brokers tell it to everybody."""

from __future__ import annotations

import asyncio

from memberstream.stream.kafka.clients import Kafka, closed_is_outage

#: Of a broker that tells no id.
UNTOLD = "-"
_WAIT_S = 30.0


class ClusterUnknown(OSError):
    """No broker says which cluster it belongs to. The text ends with the next action."""


async def cluster_id(kafka: Kafka) -> str:
    """Return the id; UNTOLD if the brokers have none. Raises ClusterUnknown."""
    admin = kafka.admin(client_id="memberstream")
    try:
        async with asyncio.timeout(_WAIT_S):
            with kafka.explained(ClusterUnknown), closed_is_outage():
                await admin.start()
                return (await admin.describe_cluster()).get("cluster_id") or UNTOLD
    except TimeoutError:
        raise ClusterUnknown(f"no answer from {kafka} within {_WAIT_S:g} s. Next: check the brokers") from None
    finally:
        await admin.close()
