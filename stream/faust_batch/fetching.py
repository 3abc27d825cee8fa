"""One fetch: what has arrived; and if that is little, newer records, too.

Law: aiokafka fetches ahead once. Records that lie ready are as old as the batch that was in flight, and taking them
lets the next fetch go. So after few old records this waits for newer ones, too. Behind a backlog age doesn't matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from faust.types import TP

from memberstream.stream.faust_batch.in_flight import FEW_RECORDS

#: How long one fetch call waits for records beside a batch, which may end meanwhile.
BESIDE_S = 0.05
#: Records that come sooner than this lay ready: they were fetched while the last batch was in flight. The hop to
#: aiokafka's thread and back takes half of this time.
LAY_READY_S = 0.002
#: How long to wait for newer records: a broker that has some answers in one or two milliseconds.
NEWER_TIMEOUT_S = 0.002


async def fetch(
    getmany: Callable[..., Awaitable[dict[Any, list[Any]]]],
    active: frozenset[TP],
    goes_on: Callable[[], bool],
    wait_s: float = BESIDE_S,
) -> dict[Any, list[Any]]:
    """Return what has arrived, by partition.

    Args:
        getmany: Faust's, of its consumer thread.
        goes_on: whether no rebalance and no stop waits for this.
        wait_s: how long to wait for the first records.
    """
    if not active:
        return {}
    asked_at = monotonic()
    fetched = await getmany(active_partitions=active, timeout=wait_s)
    lay_ready = monotonic() - asked_at < LAY_READY_S
    if fetched and lay_ready and sum(map(len, fetched.values())) < FEW_RECORDS and goes_on():
        newer = await getmany(active_partitions=active, timeout=NEWER_TIMEOUT_S)
        for tp, records in newer.items():
            fetched[tp] = fetched.get(tp, []) + records
    return fetched
