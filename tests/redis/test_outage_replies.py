"""A server that answers, but with an error that passes: forced on a real one, and waited out by the writer.

(LOADING and errors of a cluster, which can't be held for a moment, come from a stand-in: test_build.py.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
import redis
from keys import KEYS
from servers import RedisServer

from memberstream.stream.keyspace.formats import membership_field
from memberstream.stream.partition.holds import Holds
from memberstream.stream.projection.members import Update
from memberstream.stream.projection.projection import Projection
from memberstream.stream.projection.writer import Writer

UPDATE = Update(b"m", 1, 1, None, (membership_field("level", 1),), [(1, 1)])
Held = Callable[[redis.Redis, Path], Iterator[None]]


def full(client: redis.Redis, directory: Path) -> Iterator[None]:
    client.config_set("maxmemory", "1")
    yield
    client.config_set("maxmemory", "0")


def replica(client: redis.Redis, directory: Path) -> Iterator[None]:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    client.execute_command("REPLICAOF", "NO", "ONE")


def without_replicas(client: redis.Redis, directory: Path) -> Iterator[None]:
    client.config_set("min-replicas-to-write", "1")
    yield
    client.config_set("min-replicas-to-write", "0")


def unsaved(client: redis.Redis, directory: Path) -> Iterator[None]:
    """Where the snapshot goes stands a directory of that name."""
    (directory / "dump.rdb").mkdir(exist_ok=True)
    client.config_set("save", "3600 1")
    client.bgsave()
    while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
        pass
    yield
    client.config_set("save", "")


def occupied(client: redis.Redis, directory: Path) -> Iterator[None]:
    """Somebody's script that doesn't end by itself."""
    client.config_set("busy-reply-threshold", "20")

    def run() -> None:
        port = client.connection_pool.connection_kwargs["port"]
        with redis.Redis(port=port) as other, suppress(redis.ResponseError):  # it says that it was killed
            other.eval("while true do end", 0)

    script = Thread(target=run)
    script.start()
    while True:
        try:
            client.get("x")
        except redis.ResponseError:
            break
    yield
    client.script_kill()
    script.join()


@pytest.mark.parametrize(
    ("code", "hold"),
    [
        ("OOM", full),
        ("READONLY", replica),
        ("NOREPLICAS", without_replicas),
        ("MISCONF", unsaved),
        ("BUSY", occupied),
    ],
)
async def test_the_writer_waits_until_the_server_takes_it(
    own_redis: Callable[..., RedisServer], code: str, hold: Held
) -> None:
    """It names the problem and what to do meanwhile, and writes once the server lets it; nothing is skipped."""
    server = own_redis()
    with redis.Redis.from_url(server.url) as client:
        async with Projection(server.url, KEYS) as projection:
            writer = Writer(projection, Holds(), "event", lambda: 1)
            with contextmanager(hold)(client, server.directory):
                write = asyncio.create_task(writer.write(0, [UPDATE]))
                async with asyncio.timeout(60):
                    while writer.problem is None:  # noqa: ASYNC110 - the writer tells nobody but who asks
                        await asyncio.sleep(0.01)
                _, problem = writer.problem
                assert code in problem
                assert "Next: " in problem
                assert not write.done()
            async with asyncio.timeout(60):
                await write
            assert writer.problem is None
        assert client.exists(KEYS.member(b"m"))
