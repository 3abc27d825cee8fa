"""A worker that kills or stops itself at a numbered side effect (stream/members/pipeline.py), once a file says so.

Usage: python crashing_worker.py POINT FILE. The side effect hits when FILE exists; until then this is the real worker,
set up by the environment. The parts that the pipeline works with are wrapped from outside: the product has no hook.

    after 1    dead letters are acknowledged
    before 2a  the changelog was not sent to                    after 2a   acknowledged; Redis was not written
    before 2b  Redis was not written                            after 2b   written; the changelog was not sent to
    before 3   changelog and Redis have it, the disk doesn't    after 3    the offset isn't committed
    after 4    the offset is committed
    pause 2a   SIGSTOP between the question whether this worker is still a member and the write to the changelog
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from memberstream.stream.cli import main
from memberstream.stream.faust_batch.changelog import Changelog
from memberstream.stream.faust_batch.consumer_thread import BatchThread
from memberstream.stream.faust_batch.producing import Producing
from memberstream.stream.faust_batch.state import PartitionState
from memberstream.stream.partition.bookkeeping import APPLIED
from memberstream.stream.projection.writer import Writer

POINTS = ("after 1", "before 2a", "after 2a", "before 2b", "after 2b", "before 3", "after 3", "after 4")
PAUSE = "pause 2a"

Call = Callable[..., Awaitable[Any]]


def crash_at(point: str, file: Path) -> None:
    """Wrap the parts so that the process ends at `point`."""

    def is_here(here: str) -> bool:
        return here == point and file.exists()

    def hit(here: str) -> None:
        if is_here(here):
            os.kill(os.getpid(), signal.SIGKILL)

    def pause() -> None:
        if is_here(PAUSE):
            file.unlink()  # once is enough
            os.kill(os.getpid(), signal.SIGSTOP)

    async def held(until: str) -> None:
        """Keep the one of two parallel side effects from happening before the other."""
        if is_here(until):
            await asyncio.Event().wait()

    produce: Call = Producing.letters
    publish: Call = PartitionState.publish
    append: Call = Changelog.append
    write: Call = Writer.write
    commit: Call = BatchThread.commit
    store = PartitionState.write

    async def produce_and(self: Any, topic: str, records: Any) -> None:
        await produce(self, topic, records)
        hit("after 1")

    def is_batch(items: Any) -> bool:
        return any(key == APPLIED for key, _ in items)

    async def publish_and(self: Any, partition: int, items: Any, written_at: int) -> Any:
        if not is_batch(items):
            return await publish(self, partition, items, written_at)
        hit("before 2a")
        await held("after 2b")
        offset = await publish(self, partition, items, written_at)
        hit("after 2a")
        return offset

    async def append_and(self: Any, partition: int, items: Any, written_at: int) -> Any:
        if is_batch(items):
            pause()
        return await append(self, partition, items, written_at)

    async def write_and(self: Any, partition: int, updates: Any) -> None:
        hit("before 2b")
        await held("after 2a")
        await write(self, partition, updates)
        hit("after 2b")

    def store_and(self: Any, partition: int, items: Any, *more: Any) -> None:
        if is_batch(items):
            hit("before 3")
        store(self, partition, items, *more)
        if is_batch(items):
            hit("after 3")

    async def commit_and(self: Any, offsets: Any) -> Any:
        done = await commit(self, offsets)
        hit("after 4")
        return done

    wrapped: list[tuple[Any, str, Any]] = [
        (Producing, "letters", produce_and),
        (PartitionState, "publish", publish_and),
        (Writer, "write", write_and),
        (PartitionState, "write", store_and),
        (BatchThread, "commit", commit_and),
    ]
    if point == PAUSE:
        wrapped.append((Changelog, "append", append_and))
    for owner, name, wrapper in wrapped:
        setattr(owner, name, wrapper)


if __name__ == "__main__":
    crash_at(sys.argv[1], Path(sys.argv[2]))
    sys.argv[1:] = ["worker"]
    main()
