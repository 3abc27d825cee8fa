"""How long a fetch waits at the broker for the first record, and the worker for a fetch.

A broker answers as soon as a record arrives in one of the partitions that the fetch asks for. So a fetch of all
partitions may wait long: nobody is kept waiting, and an idle worker sends ten fetches a second in place of a hundred.
A partition whose last records aren't taken yet is left out of the fetch. Its next records wait until that fetch is
over. So then, and while partitions come and go or are sought anew, it waits shortly.
"""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic
from typing import Any

from faust.types import TP

#: Milliseconds. Faust hard-codes 1,500: beside other partitions that would be the p99 latency.
BESIDE_OTHERS_MS, OF_ALL_MS = 10, 100
#: Seconds. A stop of the flow wakes the worker, the end of a recovery doesn't.
SETTLING_WAIT_S, SETTLED_WAIT_S = 0.05, 0.2
#: How long after a change of what is read fetches still wait shortly.
SETTLING_S = 1.0


class FetchWait:
    """Decides of each fetch of an aiokafka consumer, in its loop. `may_wait`: the broker answers at once, as above."""

    def __init__(self, fetcher: Any, may_wait: bool = True) -> None:
        self._may_wait = may_wait
        self._fetcher, self._plan = fetcher, fetcher._get_actions_per_node
        self._settled_at, self._read, self._assignment = 0.0, frozenset[TP](), None
        fetcher._get_actions_per_node = self._plan_fetches

    @property
    def seconds(self) -> float:
        """How long to wait for a fetch: each empty wait costs a third of a millisecond. For any thread."""
        return SETTLED_WAIT_S if monotonic() > self._settled_at else SETTLING_WAIT_S

    def reads(self, partitions: Collection[TP]) -> None:
        """Note what is read now. (Beside that the consumer has changelogs that are recovered, and buffers them.)"""
        if partitions != self._read:
            self._read = frozenset(partitions)
            self.unsettle()

    def unsettle(self) -> None:
        """Note that positions move, or that nothing is read for a while."""
        self._settled_at = monotonic() + SETTLING_S

    def _plan_fetches(self, assignment: Any) -> Any:
        if assignment is not self._assignment:
            self._assignment = assignment
            self.unsettle()
        is_of_all = self._may_wait and monotonic() > self._settled_at and self._read.isdisjoint(self._fetcher._records)
        self._fetcher._fetch_max_wait_ms = OF_ALL_MS if is_of_all else BESIDE_OTHERS_MS
        return self._plan(assignment)
