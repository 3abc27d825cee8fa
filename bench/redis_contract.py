"""What the writer's calls cost Redis.

    python bench/redis_contract.py [URL]       (URL: a server of its own; it is emptied)

Method. 10,000 members with 24-character ids, 2, 6 or 20 model versions, one partition, overwritten 9 times in writes of
1,000; microseconds per call are the server's own (INFO commandstats), and the best round counts: other processes on the
cores can only add. One machine, noisy: read the ratios. Look-ups: bench/lookups.py.
"""

import asyncio
import sys
import time

import redis

from memberstream.stream.keyspace.formats import membership_field
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import Projection

KEYS = Keys()

MEMBERS = 10_000
WRITE = 1_000
ROUNDS = 9


def _ids(n: int) -> list[str]:
    return [f"member-{i:017d}" for i in range(n)]


def _updates(fields: list[bytes], offset: int, ids: list[str]) -> list[Update]:
    now = 1_700_000_000_000
    return [
        Update(
            m.encode(), offset + i, now, now + 86_400_000, tuple(fields), [(1 + i % 3, now - 60_000) for _ in fields]
        )
        for i, m in enumerate(ids)
    ]


async def writes(url: str) -> None:
    admin = redis.Redis.from_url(url, decode_responses=True)
    print("versions  members/call  µs/call  µs/member  members/s")
    for n_fields in (2, 6, 20):
        fields = [membership_field(f"model_number_{i}", 1) for i in range(n_fields)]
        for size in (10, 20, 40, 200):
            admin.flushall()
            async with Projection(url, KEYS) as projection:
                projection.members.per_call = size
                per_call, per_member, rate = [], [], []
                for turn in range(ROUNDS + 1):
                    offset = turn * MEMBERS
                    batches = [
                        _updates(fields, offset + i, _ids(MEMBERS)[i : i + WRITE]) for i in range(0, MEMBERS, WRITE)
                    ]
                    admin.config_resetstat()
                    start = time.perf_counter()
                    for batch in batches:
                        await projection.members.write(0, batch)
                    took = time.perf_counter() - start
                    stats = admin.info("commandstats")["cmdstat_evalsha"]
                    if turn:  # the first round creates the members, the others overwrite them
                        per_call.append(stats["usec_per_call"])
                        per_member.append(stats["usec"] / MEMBERS)
                        rate.append(MEMBERS / took)
            print(f"{n_fields:8}  {size:12}  {min(per_call):7.0f}  {min(per_member):9.2f}  {max(rate):9,.0f}")
    admin.close()


if __name__ == "__main__":
    asyncio.run(writes(sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1"))
