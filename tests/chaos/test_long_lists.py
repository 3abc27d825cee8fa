"""Members with long lists, kept by their workers, while workers are killed (-9): nobody is wrong afterwards.

Some 30 s on an idle machine, on Apache Kafka and redis-server.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chaos.check import check, check_disk
from chaos.conftest import CrewOn
from chaos.load import Load, models
from chaos.traffic import Traffic
from chaos.vitals import share
from e2e.system import Pair, Sent
from servers import Broker, RedisServer

from memberstream.models.member import document_size
from memberstream.models.packed_list import LONG_BYTES

pytestmark = [pytest.mark.long, pytest.mark.kafka, pytest.mark.redis_server]

N_PARTITIONS, N_MEMBERS, PER_S = 2, 30, 150
ELEMENTS = 600


class Buyers(Load):
    """Members who have bought much, and hardly ever leave."""

    def _made(self, member_id: bytes, op: str) -> Sent:
        stays = op in ("delete", "null") and self.chance.random() < 0.8
        return super()._made(member_id, "append" if stays else op)

    def _document(self) -> dict[str, Any]:
        return super()._document() | {"purchases": [self._purchase() for _ in range(ELEMENTS)]}


async def test_killed_amid_appends_to_long_lists(
    apache_kafka: Broker, redis_server: RedisServer, crew_on: CrewOn
) -> None:
    """State, changelog and Redis are as replayed from scratch: on a disk that stayed, on one that was lost, and where
    a partition went to the other worker and came back to one that had kept its members."""
    load = Buyers(60, N_MEMBERS)
    assert document_size({"purchases": load._document()["purchases"]}) > 2 * LONG_BYTES
    crew = await crew_on(Pair(apache_kafka, redis_server), models(), n_partitions=N_PARTITIONS)
    crew.system.set(session_timeout_s=2.0)
    await crew.system.send(load.everyone())
    first, second = crew.hire(), crew.hire()
    first.start()
    second.start()
    await share(crew, [first, second])
    async with Traffic(crew.system, load, per_s=PER_S) as traffic:
        for worker, is_disk_lost in ((first, False), (second, True), (first, False)):
            await asyncio.sleep(2.0)
            worker.kill()
            await asyncio.sleep(1.0)  # a session is 2 s: now and then the other one takes over
            if is_disk_lost:
                worker.lose_disk()
            worker.start()
            await share(crew, [first, second])
    await crew.applied()
    checked = await check(crew.system)
    await traffic.nothing_is_lost()
    print(checked, len(traffic.acknowledged))
    second.stop()
    await share(crew, [first])
    first.stop()
    await check_disk(crew.system, first.data_dir)
