"""Bytewax with recovery: a stateful step per member, snapshots in SQLite every second, Redis written batch by batch.

Guarantees: at least once from the last snapshot, which is on this machine's disk alone (no changelog).
Form: docs "Kafka", "Recovery", "Performance", "Custom Connectors" (docs.bytewax.io); `bytewax.run`'s own entry point.
"""

import os
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
import redis
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.job import change
from bench.peers.redis_batch import write

SNAPSHOT = timedelta(seconds=1)  # as often as the others make their state durable; longer costs less
Row = tuple[dict[str, Any], str]  # document, position
Keyed = tuple[str, Row]


class Member(StatefulBatchLogic[KafkaSourceMessage, Row, bytes]):
    """One member's document."""

    def __init__(self, snapshot: bytes | None) -> None:
        self._document: dict[str, Any] | None = orjson.loads(snapshot) if snapshot else None

    def on_batch(self, values: list[KafkaSourceMessage]) -> tuple[Iterable[Row], bool]:
        for message in values:
            event = orjson.loads(message.value)
            self._document = document = change(self._document, event)
        return [(document, f"{message.partition}:{message.offset}:{event['at']}")], self.RETAIN

    def snapshot(self) -> bytes:
        return orjson.dumps(self._document)


class ClustersPartition(StatelessSinkPartition[Keyed]):
    """Scores the members of a batch and writes them in one pipeline."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(os.environ["REDIS_URL"])

    def write_batch(self, items: list[Keyed]) -> None:
        write(self._client, dict(items))


class Clusters(DynamicSink[Keyed]):
    """One partition per worker."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> ClustersPartition:
        return ClustersPartition()


started = False


def member_of(message: KafkaSourceMessage) -> str:
    global started
    if not started:
        started = True
        print(f"FIRST {time.time_ns()}", flush=True)
    return str(message.key.decode())


def dataflow() -> Dataflow:
    flow = Dataflow("clusters")
    source = KafkaSource([os.environ["BOOTSTRAP"]], [os.environ["TOPIC"]])
    keyed = op.key_on("member", op.input("changes", flow, source), member_of)
    op.output("redis", op.stateful_batch("documents", keyed, Member), Clusters())
    return flow


def main(recovery: bool = True) -> None:
    if not recovery:
        cli_main(dataflow())
        return
    snapshots = Path(os.environ["STATE_DIR"]) / "snapshots"
    if not snapshots.exists():
        snapshots.mkdir()
        init_db_dir(snapshots, 1)
    cli_main(dataflow(), epoch_interval=SNAPSHOT, recovery_config=RecoveryConfig(snapshots, SNAPSHOT))


if __name__ == "__main__":
    main()
