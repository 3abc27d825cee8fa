"""A worker process for the tests: keeps, per key, the sum of the integers that arrive, applied once by source offset.

Usage: python toy_worker.py JSON, the JSON holding BatchApp's arguments and the toy's own ("slow_s", "poison",
"held_until": partition 0 is held until this file is there).
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memberstream.stream.faust_batch import BatchApp, run
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.partition.holds import Hold, Kind
from memberstream.stream.partition.source_topic import Record

BIG, BIG_BYTES = 1_000_003, 2_500_000  # a key with this sum has a state of this size: more than a batch or a fetch
_STATE = struct.Struct("<Bqqqq")  # schema number, write position, source offset, sum, count


class Summing:
    """Adds up; a replayed record changes nothing, because the state knows the last offset applied."""

    def __init__(self, app: BatchApp, slow_s: float, poison: int | None, held_until: Path | None) -> None:
        self.app, self.slow_s, self.poison, self.held_until = app, slow_s, poison, held_until
        self.n_records = 0  # handled
        self.log = logging.getLogger("toy")

    async def report_lag(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            if self.held_until is not None and self.held_until.exists():
                self.app.owned.holds.release([0])
            if self.n_records:
                self.log.info("LAG %d AFTER %d", sum(self.app.source.lag().values()), self.n_records)

    async def assigned(self, partitions: Mapping[int, int]) -> Mapping[int, int]:
        state = self.app.partition_state
        members = {partition: sum(1 for _ in state.scan(partition)) for partition in sorted(partitions)}
        self.log.info("ASSIGNED %s", json.dumps(members))
        if self.held_until is not None and 0 in partitions and not self.held_until.exists():
            self.app.owned.holds.hold(0, Hold(Kind.STUCK, "a test holds it", "make the file", 0))
        return {partition: self._applied(partition) + 1 for partition in partitions}

    def _applied(self, partition: int) -> int:
        [value] = self.app.partition_state.get_many(partition, [b"\0applied"])
        return -1 if value is None else int(_STATE.unpack_from(value)[2])

    async def revoked(self, partitions: frozenset[int]) -> None:
        self.log.info("REVOKED %s", sorted(partitions))

    async def handle(self, partition: int, records: Sequence[Record], next_offset: int) -> None:
        state = self.app.partition_state
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        keys = list({record.key or b"" for record in records})
        sums: dict[bytes, tuple[int, int, int]] = {}
        for key, value in zip(keys, state.get_many(partition, keys), strict=True):
            sums[key] = _STATE.unpack_from(value)[2:] if value is not None else (-1, 0, 0)
        for record in records:
            number = int(record.value or b"")
            if number == self.poison:
                raise RuntimeError(f"poison at {partition}/{record.offset}")
            offset, total, count = sums[record.key or b""]
            if record.offset > offset:
                sums[record.key or b""] = (record.offset, total + number, count + 1)
        applied = max(self._applied(partition), next_offset - 1)
        written_at = max(applied, state.written_at(partition))
        items: list[tuple[bytes, bytes | None]] = [
            (key, _STATE.pack(2, written_at, *found) + (b" " * BIG_BYTES if found[1] == BIG else b""))
            for key, found in sums.items()
        ]
        items.append((b"\0applied", _STATE.pack(2, written_at, applied, 0, 0)))
        state.write(partition, items, await state.publish(partition, items, written_at), written_at)
        self.n_records += len(records)


def main(arguments: dict[str, Any]) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)d %(name)s %(message)s")
    slow_s, poison = arguments.pop("slow_s", 0.0), arguments.pop("poison", None)
    held_until = arguments.pop("held_until", None)
    kafka, data_dir = Kafka(tuple(arguments.pop("bootstrap"))), Path(arguments.pop("data_dir"))
    app = BatchApp(kafka=kafka, data_dir=data_dir, **arguments)
    toy = Summing(app, slow_s, poison, held_until and Path(held_until))
    app.serve(toy, toy.handle)
    app.add_background(app.probe.run)
    app.add_background(toy.report_lag)
    return run(app)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
