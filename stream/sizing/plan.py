"""How large an installation has to be: sums of what was measured, and no guess.

Laws:
- A size is a fixed part and a part for each byte of document, column and model. bench/sizing.py measures these
  coefficients on real servers, and checks them on a job that they weren't fitted to.
- Processor time is that of a backlog, on the machine that coefficients.json names. A worker that follows live events in
  small batches uses more for each of them, and less for each as they become more. So a worker is planned for half of
  what it could do at most: what has waited during a stop is then caught up in about the time that the stop took.
- What a size is for isn't added up: Kafka's own replication is told, never multiplied in silence.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

#: A worker follows at half of what a backlog shows, and a topic has room for twice as many workers.
BUSY, SPREAD = 0.5, 2
LEAST_PARTITIONS = 4
#: Of one partition: files that RocksDB has flushed and not compacted yet (stream/faust_batch/disk.py: 8 of 8 MiB).
LEVEL_ZERO_MB = 67
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Linear:
    """A size: fixed + document_byte × bytes of the document + column × columns + model × models."""

    fixed: float
    document_byte: float
    column: float
    model: float

    def of(self, job: Job) -> float:
        """Return the size for a job."""
        return (
            self.fixed + self.document_byte * job.document_bytes + self.column * job.columns + self.model * job.models
        )


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What bench/sizing.py has measured.

    Attributes:
        record_bytes: of a member in the changelog, uncompressed, with its key and its share of a batch.
        redis_bytes: of a member in Redis.
        disk_share: bytes of a member in local state, once compacted, by those in the changelog.
        document_us, patch_us: processor time of a worker for a whole document, and for a patch.
        worker_mb: resident memory of a worker with few members. member_kb: what each of its members adds, until
            RocksDB's bounds are reached.
        yardstick_us: of stream/sizing/yardstick.py on the machine on which the processor time was measured.
        machine: that one.
    """

    record_bytes: Linear
    redis_bytes: Linear
    document_us: Linear
    patch_us: Linear
    disk_share: float
    worker_mb: float
    member_kb: float
    yardstick_us: float
    machine: str


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be handled.

    Attributes:
        document_bytes: of a member's document as JSON.
        columns: of all models together. A one-hot or bins have several.
        patch_share: share of the events that are patches; the others are whole documents.
    """

    members: int
    document_bytes: int
    events_per_s: float
    models: int
    columns: int
    patch_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job takes.

    Attributes:
        cpu_us: of a worker, for one event of a backlog.
        cores: of all workers together, for the events of a second, at that.
        memory_mb_per_worker: resident, at its highest.
        disk_mb_per_worker: of its members' states.
        uncompacted_mb: what a worker's disk may hold beside that until RocksDB has compacted it.
        changelog_mb: of each member's last record; a topic that isn't compacted yet has more. One replica.
        changelog_mb_per_s: that are written at most, one replica: members with several events in a batch are written
            once.
    """

    cpu_us: float
    cores: float
    workers: int
    partitions: int
    memory_mb_per_worker: float
    disk_mb_per_worker: float
    uncompacted_mb: float
    redis_mb: float
    changelog_mb: float
    changelog_mb_per_s: float


def coefficients() -> Coefficients:
    """Return those of this version."""
    raw = json.loads((files(__package__) / "coefficients.json").read_text())
    values: dict[str, Any] = {name: one["value"] for name, one in raw.items()}
    made: dict[str, Any] = {n: Linear(**value) if isinstance(value, dict) else value for n, value in values.items()}
    return Coefficients(**made)


def plan(job: Job, by: Coefficients, speed: float = 1.0) -> Plan:
    """Return what a job takes. `speed`: of this machine's processor, in those of the coefficients' machine."""
    cpu_us = (job.patch_share * by.patch_us.of(job) + (1 - job.patch_share) * by.document_us.of(job)) / speed
    cores = cpu_us * job.events_per_s / 1e6
    workers = max(1, math.ceil(cores / BUSY))
    partitions = max(LEAST_PARTITIONS, SPREAD * workers)
    each = job.members / workers
    return Plan(
        cpu_us=cpu_us,
        cores=cores,
        workers=workers,
        partitions=partitions,
        memory_mb_per_worker=by.worker_mb + by.member_kb * each / 1000,
        uncompacted_mb=LEVEL_ZERO_MB * math.ceil(partitions / workers),
        disk_mb_per_worker=by.disk_share * by.record_bytes.of(job) * each / _MB,
        redis_mb=by.redis_bytes.of(job) * job.members / _MB,
        changelog_mb=by.record_bytes.of(job) * job.members / _MB,
        changelog_mb_per_s=by.record_bytes.of(job) * job.events_per_s / _MB,
    )
