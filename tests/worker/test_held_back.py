"""Readers outside of the worker beside transactions: ended ones at the end of a topic, and one that hasn't ended.

Read to their end means: to where the open one began. Nothing waits for it but what may not be taken without it.
"""

from __future__ import annotations

import asyncio
import logging

import pytest
from authored import BY
from e2e.foreign import Transactional
from e2e.system import Sent
from servers import Broker, create_topic, unique

from memberstream.models.log_steps import Retire
from memberstream.stream.files.history import topic_history
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.lists import rows as list_rows
from memberstream.stream.lists.rows import Appender
from memberstream.stream.registry.log import ModelsLog, ModelsLogError

pytestmark = pytest.mark.kafka


async def test_a_history_ends_where_an_open_transaction_began(apache_kafka: Broker) -> None:
    """Without what was aborted, whatever is at the end."""
    topic, kafka = unique("docs"), Kafka((apache_kafka.bootstrap,))
    await create_topic(apache_kafka.bootstrap, topic, partitions=1)
    first, second = (Transactional(apache_kafka.bootstrap, topic) for _ in range(2))

    async def values() -> list[bytes | None]:
        async with asyncio.timeout(60):
            return [
                record.value
                for record in (await topic_history(kafka, topic, {b"m"}, "murmur2", may_be_json=False)).records
            ]

    await first.begin([Sent(b"m", b"aborted")])
    await first.abort()
    assert await values() == []
    await first.begin([Sent(b"m", b"committed")])
    await first.commit()
    await second.begin([Sent(b"m", b"open")])
    await first.begin([Sent(b"m", b"behind")])
    await first.commit()
    assert await values() == [b"committed"]
    await second.commit()
    assert await values() == [b"committed", b"open", b"behind"]


async def test_a_step_that_a_transaction_holds_back_is_told_of(apache_kafka: Broker) -> None:
    """It is in the log and will count: whoever repeats it would take it twice. Ends of transactions hold nobody up."""
    log = ModelsLog(Kafka((apache_kafka.bootstrap,)), topic := unique("models"), 1)
    foreign = Transactional(apache_kafka.bootstrap, topic)

    async def append(version: int) -> int:
        async with asyncio.timeout(60):
            registry, _ = await log.append(Retire("m", version, **BY))
        return registry.offset

    await log.read()
    await foreign.begin([Sent(b"x", b"no step")])
    await foreign.abort()
    async with asyncio.timeout(60):
        assert (await log.read()).offset == -1
    assert await append(1) == 2
    await foreign.begin([Sent(b"x", b"no step")])
    with pytest.raises(ModelsLogError, match=r"offset 4.*transaction.*Next: don't repeat it"):
        await append(2)
    assert (await log.read()).offset == 2
    await foreign.abort()
    assert (await log.read()).offset == 4


async def test_rows_of_lists_are_read_whole(apache_kafka: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Ended transactions hold nobody up. An open one does, because withdrawals may lie behind it; the log says so."""
    topic, prefix, kafka = unique("lists"), b"buyers@1/token", Kafka((apache_kafka.bootstrap,))
    await create_topic(apache_kafka.bootstrap, topic, partitions=1)
    async with Appender(kafka, topic, prefix, [0]) as appender:
        await appender.append([b"a"], [1])
        await appender.flush()

    async def read() -> list[dict[bytes, bytes | None]]:
        return [chunk.rows_of(prefix) async for chunk in list_rows.read(kafka, topic, "", 0, 0, appender.end[0])]

    foreign = Transactional(apache_kafka.bootstrap, topic)
    await foreign.begin([Sent(b"x", b"1")])
    await foreign.abort()
    async with asyncio.timeout(60):
        assert (await read())[0] == {b"a": b"1"}
    await foreign.begin([Sent(b"x", b"1")])
    with caplog.at_level(logging.WARNING):
        reading = asyncio.create_task(read())
        async with asyncio.timeout(60):
            while "Transactions of producers" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    await foreign.abort()
    async with asyncio.timeout(60):
        assert (await reading)[0] == {b"a": b"1"}
