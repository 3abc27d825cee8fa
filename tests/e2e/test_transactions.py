"""Producers with transactions: what isn't committed doesn't exist; what ends a transaction is no lag and no loss."""

from __future__ import annotations

from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
import pytest
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.foreign import Transactional, ends, remove_before
from e2e.system import Install, Pair, Sent, System, event
from keys import KEYS

from memberstream.stream.keyspace.formats import parse_beacon

pytestmark = [pytest.mark.kafka, pytest.mark.redis_server]


def documents(prefix: str, n: int, x: float = 1.0) -> list[Sent]:
    return [Sent(f"{prefix}{i}".encode(), event("replace", document={"x": x})) for i in range(n)]


def checks(system: System) -> dict[str, dict[str, Any]]:
    """Return what /readyz says, by check."""
    try:
        with urlopen(f"http://127.0.0.1:{system.settings.metrics_port}/readyz", timeout=5) as reply:
            answer = reply.read()
    except HTTPError as error:
        answer = error.read()
    return {check["name"]: check for check in orjson.loads(answer)["checks"]}


def is_level(system: System) -> bool:
    """Whether the worker is ready and says that nothing waits."""
    lags = system.metrics("memberstream_lag_records")
    return (
        len(lags) == system.n_partitions
        and set(lags.values()) == {0.0}
        and all(c["ok"] for c in checks(system).values())
    )


def told(system: System) -> dict[int, int]:
    """Return how far the state of each partition is, by its beacons."""
    return {int(p): parse_beacon(b).next_offset for p, b in system.redis.hgetall(KEYS.beacons).items()}


async def known(system: System) -> set[str]:
    return set(await system.states())


async def test_only_what_is_committed_exists_and_nothing_waits_behind_it(real_pair: Pair, install: Install) -> None:
    """Committed, aborted and open transactions of librdkafka among records without one, the worker killed while one is
    open: nothing of an aborted or open one shows, nothing waits for control records, commands don't wait for the open
    one; once it has ended, what is behind it is applied. Records that were control records or aborted may be removed
    behind a worker that has passed them: that is no loss."""
    system = await install(real_pair, [level()])
    system.start()
    aborted, committed, still_open = (Transactional.of(system) for _ in range(3))
    await committed.begin(documents("committed", 20))
    await committed.commit()
    await aborted.begin(documents("aborted", 20))
    await aborted.abort()
    await system.until(lambda: is_level(system), "no lag behind control records")
    assert await known(system) == {f"committed{i}" for i in range(20)}

    await still_open.begin(documents("open", 20))
    await system.send(documents("behind", 20))
    await system.until(
        lambda: min(system.metrics("memberstream_open_transaction_seconds").values()) > 1, "the open transaction"
    )
    assert is_level(system)  # what is behind it may never come
    assert "transaction" in checks(system)["transactions"]["detail"]
    system.kill()
    system.start()
    await system.until(lambda: is_level(system), "a start beside an open transaction")
    assert await known(system) == {f"committed{i}" for i in range(20)}
    status, said, problem = await memberstream(system, "explain", "committed1", "level")
    assert (status, "committed1" in said) == (0, True), problem

    await still_open.abort()
    await system.until(
        lambda: is_level(system) and len(system.positions([f"behind{i}" for i in range(20)])) == 20, "all"
    )
    assert await known(system) == {f"{kind}{i}" for kind in ("committed", "behind") for i in range(20)}
    await system.until(
        lambda: set(system.metrics("memberstream_open_transaction_seconds").values()) == {0.0}, "its end to be seen"
    )

    await aborted.begin(documents("aborted", 20))
    await aborted.abort()
    at_end = await ends(system)
    await system.until(lambda: told(system) == at_end, "the state to pass the aborted ones")
    system.kill()
    await remove_before(system, at_end)
    system.start()
    await system.send(documents("after", 20))
    await system.applied()
    await system.until(lambda: is_level(system), "a start at the very end")
    assert "gone" not in system.says()
