"""No client could begin: says why, by knocking at the brokers' doors, and what to do next."""

from __future__ import annotations

import asyncio

from memberstream.stream.kafka.clients import Kafka

_KNOCK_S = 1.0
_SILENT = (
    "start it (to try things out: `memberstream local`), or correct MEMBERSTREAM_KAFKA_BOOTSTRAP (docs/operations.md)"
)
_ANOTHER = (
    "name a listener without TLS and SASL in MEMBERSTREAM_KAFKA_BOOTSTRAP: memberstream has no settings for these "
    "yet; if it is one, see the broker's log"
)


async def unreachable(kafka: Kafka) -> str:
    """Return what happened, with the next action at the end. It takes a second at most."""
    if any(await asyncio.gather(*map(_is_open, kafka.bootstrap))):
        return f"{kafka} takes connections, but doesn't answer as a Kafka broker does. Next: {_ANOTHER}"
    return f"no Kafka broker at {kafka}: nothing listens there. Next: {_SILENT}"


async def _is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_KNOCK_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
