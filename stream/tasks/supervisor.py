"""No task ends unnoticed: all work beside the batches runs here, is restarted if it fails, and is reported meanwhile.

Laws:
1. Permanent work never ends: whatever ends it, it is begun again, after a wait that doubles. A job is begun again until
   it returns. So both must be right when begun anew. All of ours are: a crash does the same to them.
2. A CancelledError that isn't ours is a failure like any other. (Ours come from `end` and from the end of the worker.
   Libraries have others: a client of aiokafka is stopped in a bad moment, a time-out catches the wrong task.)
3. A task that failed counts as down until it has run for PROVEN_S. So a task that fails again and again is never
   reported as well.
4. Two kinds of errors aren't answered by a restart of the task. `cured_by_restart`: the process must end, and its next
   start puts things right. `over`: the work has become another worker's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar, NamedTuple

log = logging.getLogger(__name__)
Work = Callable[[], Awaitable[None]]


class Down(NamedTuple):
    """A task that has failed and hasn't proven itself since."""

    task: str
    down_s: float
    why: str


@dataclass(slots=True, eq=False)
class _Kept:
    """A task; `down_since`: of its first failure, None while it is well; `begun_at`: None while it waits."""

    kind: str
    partition: int | None
    work: Work
    is_standing: bool
    task: asyncio.Task[None] | None = None
    begun_at: float | None = None
    down_since: float | None = None
    why: str = ""

    def __str__(self) -> str:
        return self.kind if self.partition is None else f"{self.kind} of partition {self.partition}"


class Supervisor:
    """Keeps the tasks of one worker. Use it from the event loop; `down` and `restarts` may be read from any thread.

    Args:
        kinds: of tasks; all that can ever exist, because a metric has each from the start.
        cured_by_restart, over: see law 4.

    Attributes:
        restarts: kind → how often one of it was begun again since the start.
        fatal: what the process must end by (law 4); `run` raises it.
    """

    FIRST_WAIT_S: ClassVar[float] = 0.5  # a broker's hiccup
    LONGEST_WAIT_S: ClassVar[float] = 30.0  # a minute's log of a task that always fails stays readable
    PROVEN_S: ClassVar[float] = 10.0  # longer than the time-outs after which tasks notice that they can't do their work

    def __init__(
        self,
        kinds: Sequence[str],
        cured_by_restart: tuple[type[Exception], ...] = (),
        over: tuple[type[Exception], ...] = (),
    ) -> None:
        self._cured_by_restart, self._over = cured_by_restart, over
        self._kept: dict[tuple[str, int | None], _Kept] = {}
        self._is_running = False
        self.fatal: BaseException | None = None
        self._fatal_came = asyncio.Event()
        self.restarts = Counter(dict.fromkeys(kinds, 0))

    def keep(self, kind: str, work: Work, partition: int | None = None) -> None:
        """Run `work()`, which never returns, until `end`. Work that belongs to no partition begins with `run`."""
        self._add(_Kept(kind, partition, work, is_standing=True))

    def do(self, kind: str, work: Work, partition: int | None = None) -> None:
        """Run `work()` until it has returned once, unless it is under way already."""
        if not self.is_doing(kind, partition):
            self._add(_Kept(kind, partition, work, is_standing=False))

    def is_doing(self, kind: str, partition: int | None = None) -> bool:
        return (kind, partition) in self._kept

    def end(self, kind: str, partition: int | None = None) -> None:
        """Cancel a task, if there is one. Doesn't wait for it."""
        if (kept := self._kept.pop((kind, partition), None)) and kept.task is not None:
            kept.task.cancel()

    def tasks(self) -> dict[str, asyncio.Task[None]]:
        """Return the running tasks by their names."""
        return {str(kept): kept.task for kept in self._kept.values() if kept.task is not None}

    def down(self) -> tuple[Down, ...]:
        """Return what is down now."""
        now = monotonic()
        return tuple(
            Down(str(kept), now - kept.down_since, kept.why)
            for kept in tuple(self._kept.values())
            if kept.down_since is not None and not self._is_proven(kept, now)
        )

    async def run(self) -> None:
        """Keep all tasks until cancelled; then none is left. Raises errors that only a restart of the process cures."""
        self._is_running = True
        try:
            for kept in list(self._kept.values()):
                if kept.task is None:
                    self._begin(kept)
            await self._fatal_came.wait()
            if self.fatal is not None:
                raise self.fatal
        finally:
            self._is_running = False
            for key in list(self._kept):
                self.end(*key)

    def _add(self, kept: _Kept) -> None:
        if kept.kind not in self.restarts:
            raise KeyError(kept.kind)
        self.end(kept.kind, kept.partition)
        self._kept[kept.kind, kept.partition] = kept
        if self._is_running or kept.partition is not None:
            self._begin(kept)

    def _begin(self, kept: _Kept) -> None:
        kept.task = asyncio.create_task(self._nurse(kept), name=str(kept))

    def _is_ours(self, kept: _Kept) -> bool:
        """Whether this task is still wanted."""
        return self._kept.get((kept.kind, kept.partition)) is kept

    def _is_proven(self, kept: _Kept, now: float) -> bool:
        return kept.begun_at is not None and now - kept.begun_at >= self.PROVEN_S

    async def _nurse(self, kept: _Kept) -> None:
        wait_s = self.FIRST_WAIT_S
        while self._is_ours(kept):
            try:
                await self._wait(kept, wait_s)
                kept.begun_at = monotonic()
                await kept.work()
                if not kept.is_standing:
                    break
                why = "it returned, which it never should"
            except asyncio.CancelledError:
                if not (self._is_running and self._is_ours(kept)):
                    raise
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()
                why = "it was cancelled from outside"
            except self._over as error:
                log.warning("%s ended: %s. Next: nothing, its owner goes on with it", kept, error)
                break
            except self._cured_by_restart as error:
                self._stop(error)
                return
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                log.error("%s failed", kept, exc_info=error)
            except BaseException as error:
                self._stop(error)
                raise
            now = monotonic()
            if kept.down_since is None or self._is_proven(kept, now):
                kept.down_since, wait_s = now, self.FIRST_WAIT_S
            else:
                wait_s = min(2 * wait_s, self.LONGEST_WAIT_S)
            kept.begun_at, kept.why = None, why
            self.restarts[kept.kind] += 1
            log.error("%s ended, it is begun again in %g s: %s. Next: if it goes on, see docs/operations.md, \"Tasks\"",
                      kept, wait_s, why)  # fmt: skip
        if self._is_ours(kept):
            del self._kept[kept.kind, kept.partition]

    @staticmethod
    async def _wait(kept: _Kept, wait_s: float) -> None:
        if kept.down_since is not None:
            await asyncio.sleep(wait_s)

    def _stop(self, error: BaseException) -> None:
        self.fatal = self.fatal or error
        self._fatal_came.set()
