"""A producer at a steady rate, in a process of its own: what bench/latency.py measures freshness against.

    python -m bench.steady BOOTSTRAP TOPIC PARTITIONS MEMBERS RATE SECONDS LINGER_MS

Laws:
- An event's Kafka timestamp is the moment at which it was due, not when it was sent: a producer, broker or worker that
  falls behind is seen in the figures, and so is the wait of the linger.
- Per partition one request is under way; what falls due meanwhile, and within the linger, travels in the next one.
- Every hundredth of a second's event is a probe: it changes one of PROBES members. The last line of the output is JSON:
  all probes with the offset they got and when they were due, and how late the sending was.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

from aiokafka import AIOKafkaProducer

from bench import job
from bench.rig import partition_of
from bench.scaling import pool

PROBES = 20
PROBES_PER_S = 100
KAFKA_LINGER_MS = 5.0  # what producers of Kafka 4 have by default


def probe_id(i: int) -> bytes:
    """A member whose changes are watched."""
    return b"probe-%018d" % (i % PROBES)


async def produce(
    bootstrap: str, topic: str, partitions: int, members: int, rate: int, seconds: float, linger_ms: float
) -> dict[str, object]:
    """Send rate × seconds patches; returns the probes and how late the sending was, ms."""
    linger_s = linger_ms / 1000
    rng, patches, total = random.Random(7), pool("patch"), int(rate * seconds)
    every = max(1, rate // PROBES_PER_S)
    queues: list[list[tuple[int, bytes, bytes, bool]]] = [[] for _ in range(partitions)]
    for i in range(total):
        is_probe = i % every == 0
        key = probe_id(i // every) if is_probe else job.member_id(rng.randrange(members))
        queues[partition_of(key, partitions)].append((i, key, patches[i % len(patches)], is_probe))
    probes: list[tuple[str, int, float]] = []
    late_ms: list[float] = []
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=900_000) as producer:
        start_s = time.time() + 0.5

        async def run(partition: int, queue: list[tuple[int, bytes, bytes, bool]]) -> None:
            taken = 0
            while taken < len(queue):
                wait_s = start_s + queue[taken][0] / rate + linger_s - time.time()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                first, batch, now_s = taken, producer.create_batch(), time.time()
                late_ms.append(1000 * (now_s - linger_s - start_s - queue[first][0] / rate))
                while taken < len(queue) and (due_s := start_s + queue[taken][0] / rate) <= now_s:
                    _, key, value, _ = queue[taken]
                    if batch.append(timestamp=int(1000 * due_s), key=key, value=value) is None:
                        break
                    taken += 1
                acked = await (await producer.send_batch(batch, topic, partition=partition))
                for n, (i, key, _, is_probe) in enumerate(queue[first:taken]):
                    if is_probe:
                        probes.append((key.decode(), acked.offset + n, start_s + i / rate))

        await asyncio.gather(*[run(partition, queue) for partition, queue in enumerate(queues)])
    late_ms.sort()
    return {"probes": probes, "start_s": start_s, "late_p99_ms": late_ms[int(0.99 * len(late_ms))]}


if __name__ == "__main__":
    bootstrap, topic, *numbers = sys.argv[1:]
    partitions, members, rate = map(int, numbers[:3])
    seconds, linger_ms = map(float, numbers[3:])
    print(json.dumps(asyncio.run(produce(bootstrap, topic, partitions, members, rate, seconds, linger_ms))))
