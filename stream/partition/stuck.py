"""A record that ends the worker each time: its failures are counted over restarts, and then its partition is held.

Laws:
1. The first failures at one place end the worker, before the record is acknowledged. So a restart cures what it can
   cure, and a bug is loud. After LIMIT failures it must be the record, and ending would only keep other partitions from
   going on. Then its partition is held (holds.py), and the hold names the command that sets the record aside
   (skips.py).
2. Failures are counted in the data directory, so the count outlives the process, however that ends. A record that has
   gone through is forgotten. So is one that is no longer the first to fail.
3. Each new owner, and each new process, tries the record once more: the cause may be gone, or the version another.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from memberstream.models.wording import counted
from memberstream.stream.partition.holds import Hold, Holds, Kind

log = logging.getLogger(__name__)

#: Failures at one place. One restart cures a passing cause, a second one a cause that still lasted at the first. Each
#: restart costs all partitions of the worker a rebalance (seconds), so the third failure is the last that ends it.
LIMIT = 3


class Failure(msgspec.Struct, frozen=True):
    """The failures of one partition: at which record, how often, since when (wall clock), with which last error."""

    offset: int
    times: int
    since_ms: int
    error: str


class Stuck:
    """Decides what becomes of a record that can't be handled.

    Args:
        path: the file that holds the failures, in the worker's own directory.
        holds: where a partition is held.
        command: the command that sets a record aside, without partition and offset.
        wall_ms: the wall clock, ms.
    """

    def __init__(self, path: Path, holds: Holds, command: str, wall_ms: Callable[[], int]) -> None:
        self._path, self._holds, self._command, self._wall_ms = path, holds, command, wall_ms
        self._failures: dict[int, Failure] = {}

    def load(self) -> None:
        """Read what an earlier process has left. If it is damaged, the count begins anew."""
        try:
            self._failures = msgspec.json.decode(self._path.read_bytes(), type=dict[int, Failure])
        except FileNotFoundError:
            return
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s can't be read (%s): failures are counted anew. Next: nothing", self._path, error)

    def failed(self, partition: int, offset: int, error: str, n_owned: int) -> bool:
        """Count a failure. Returns whether it ends the worker. If not, its partition is held from now on.

        Args:
            error: what it was, without personal data.
            n_owned: how many partitions the worker has.
        """
        before = self._failures.get(partition)
        if before is not None and before.offset == offset:
            failure = Failure(offset, before.times + 1, before.since_ms, error)
        else:
            failure = Failure(offset, 1, self._wall_ms(), error)
        self._failures[partition] = failure
        self._save()
        if failure.times < LIMIT:
            log.error(
                "partition %d, offset %d: %s ends this worker, before the record is acknowledged (%d of %d times; then "
                "the partition is held, and the others go on). Next: report it with the lines above",
                partition, offset, error, failure.times, LIMIT,
            )  # fmt: skip
            return True
        self._holds.hold(partition, self._hold(partition, failure, n_owned))
        return False

    def _hold(self, partition: int, failure: Failure, n_owned: int) -> Hold:
        at, error = failure.offset, failure.error
        cause, _, advice = error.partition(" Next: ")
        why = f"its record at offset {at} can't be handled, tried {counted(failure.times, 'time')}: {cause.rstrip('.')}"
        aside = f"`{self._command} {partition} {at}` sets that record aside as a dead letter, and the rest is handled"
        again = "restarted, this worker tries it again: once the cause is gone, or by another version of memberstream"
        others = [
            self._failures[p] for p, hold in self._holds.now.items() if hold.kind is Kind.STUCK and p != partition
        ]
        if n_owned > 1 and len(others) + 1 >= n_owned and all(other.error == error for other in others):
            advice = advice or "see to what the error names"
            advice = f"{advice.rstrip('.')} (all partitions fail alike, so it is hardly the records)"
        action = f"{advice.rstrip('.')}; {again}. Otherwise {aside}" if advice else f"{aside}; {again}"
        return Hold(Kind.STUCK, why, action, failure.since_ms, at)

    def passed(self, partition: int, next_offset: int) -> None:
        """Forget a failure that lies below where the partition is now."""
        failure = self._failures.get(partition)
        if failure is not None and failure.offset < next_offset:
            del self._failures[partition]
            self._save()
            log.info("partition %d: offset %d, which had failed, is passed", partition, failure.offset)

    def release(self, is_set_aside: Callable[[int, int], bool]) -> None:
        """Release the partitions whose record, by partition and offset, is set aside by now."""
        held = [(partition, hold.offset) for partition, hold in self._holds.now.items() if hold.kind is Kind.STUCK]
        self._holds.release([partition for partition, offset in held if is_set_aside(partition, offset)])

    def _save(self) -> None:
        """Write it whole, in one step: after a crash either the old or the new content is there."""
        written = self._path.with_name(f"{self._path.name}.new")
        with written.open("wb") as file:
            file.write(msgspec.json.encode(self._failures))
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._path)
