"""Looks at the worker once a second, from a thread of its own, so that it sees a hanging event loop, too.

Law: a stall is logged once, with the stacks of all threads and tasks. A worker that stays stalled ends at once: a
graceful stop would need the very code that hangs, and a crash at any point is safe (stream/members/pipeline.py).
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from time import monotonic, process_time
from typing import Any

from memberstream.stream.partition.holds import Hold
from memberstream.stream.process.health import Check, alive, ready
from memberstream.stream.process.vitals import StallClock, Vitals, is_stalled

log = logging.getLogger(__name__)
_TICK_S = 1.0
# Repeated so that the last pages of the log name what is held, but don't consist of it.
HELD_EVERY_S = 300.0


class Watchdog:
    """Keeps track of time: for how long nothing has been finished.

    Args:
        vitals: reads the worker; called from threads.
        loop: the worker's event loop, None while there is none.
        stall_limit_s: a worker that is stalled for longer ends with status 1.
        end: ends the process; tests use another function.
    """

    def __init__(
        self,
        vitals: Callable[[], Vitals],
        loop: Callable[[], asyncio.AbstractEventLoop | None],
        stall_limit_s: float,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._vitals, self._loop, self._stall_limit_s, self._end = vitals, loop, stall_limit_s, end
        self._stall_clock = StallClock(monotonic(), process_time())
        self._lock = threading.Lock()  # probes and the tick come from different threads
        self._stopped = threading.Event()
        self._is_said = False
        self._was_kafka_down = False
        self._held_said: dict[int, tuple[Hold, float]] = {}  # partition → what was logged about it, and when
        self.stalls = 0

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def healthz(self) -> Sequence[Check]:
        return alive(self._vitals())

    def readyz(self) -> Sequence[Check]:
        vitals, stalled_s = self._look()
        return ready(vitals, stalled_s, self._stall_limit_s)

    def _look(self) -> tuple[Vitals, float]:
        with self._lock:
            vitals = self._vitals()
            return vitals, self._stall_clock.stalled_s(monotonic(), vitals, process_time())

    def _run(self) -> None:
        while not self._stopped.wait(_TICK_S):
            try:
                self.tick()
            except Exception:
                log.exception("the watchdog can't look at the worker. Next: report it with these lines")

    def tick(self) -> None:
        """Look once: log what has changed, end a worker that stays stalled."""
        vitals, stalled_s = self._look()
        self._say_kafka(vitals)
        self._say_held(vitals)
        if not is_stalled(stalled_s, self._stall_limit_s):
            self._is_said = False
            return
        if not self._is_said:
            self._is_said = True
            self.stalls += 1
            log.error(
                "stalled: there is work and nothing was finished for %.0f s; after %g s this worker ends, to be "
                "started again. Next: report what hangs:\n%s",
                stalled_s, self._stall_limit_s, stacks(self._loop()),
            )  # fmt: skip
        if stalled_s >= self._stall_limit_s:
            log.error("stalled for %.0f s: ending, so that a supervisor starts this worker again", stalled_s)
            logging.shutdown()
            self._end(1)

    def _say_kafka(self, vitals: Vitals) -> None:
        is_down = vitals.kafka_problem is not None
        if is_down and not self._was_kafka_down:
            log.warning("Kafka is unreachable, waiting for it: %s", vitals.kafka_problem)
        elif self._was_kafka_down and not is_down:
            log.info("Kafka is back")
        self._was_kafka_down = is_down

    def _say_held(self, vitals: Vitals) -> None:
        now_s = monotonic()
        for partition, hold in vitals.held.items():
            said, at_s = self._held_said.get(partition, (None, 0.0))
            if said != hold or now_s - at_s >= HELD_EVERY_S:
                self._held_said[partition] = hold, now_s
                log.error("partition %d is held, the others go on: %s. Next: %s", partition, hold.why, hold.next)
        for partition in self._held_said.keys() - vitals.held.keys():
            del self._held_said[partition]
            log.info("partition %d isn't held any more", partition)


def stacks(loop: asyncio.AbstractEventLoop | None) -> str:
    """Return the stacks of every thread and of every task of the loop."""
    text = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        text.write(f"thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}")
    for task in asyncio.all_tasks(loop) if loop is not None else ():
        text.write(f"{task}\n{''.join(_awaited(task.get_coro()))}")
    return text.getvalue()


def _awaited(waiting: Any) -> Iterator[str]:
    """Yield where a coroutine waits, and what it waits for in turn. (A task's own stack has the outermost one only.)"""
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            yield from traceback.format_stack(frame, limit=1)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
