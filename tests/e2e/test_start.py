"""A worker that can't start says why in one message that ends with what to do; one that can wait, waits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from prefork import Fork
from servers import RedisServer, unique

from memberstream.stream.local.server_process import free_port

# The real command, except that it waits for broker and topic half a second rather than half a minute.
_IMPATIENT = """
from functools import partial
from memberstream.stream import worker
from memberstream.stream.process import service
service.BatchApp = partial(service.BatchApp, source_topic_wait_s=0.5)
worker.KAFKA_WAIT_S = 0.5
from memberstream.stream.cli import main
main()
"""


async def run(
    system: System, more: Mapping[str, str], *, is_impatient: bool = False, command: Sequence[str] = ("worker",)
) -> tuple[int, str]:
    """Run a worker, or a command, until it ends by itself; returns its exit status and all that it printed."""
    python, *arguments = *system.command()[:-1], *command
    log = system.directory / f"{unique('start')}.log"
    argv = [python, "-c", _IMPATIENT, "worker"] if is_impatient else [python, *arguments]
    process = Fork(argv, log=log, cwd=system.directory, env={**system.environment(), **more})
    try:
        status = await asyncio.to_thread(process.wait, 60)
    finally:
        process.kill()
    return status, log.read_text()


@pytest.fixture
async def system(embedded_pair: Pair, install: Install) -> System:
    """An installation whose worker could start."""
    return await install(embedded_pair, [level()])


async def test_errors_at_the_start_end_with_the_next_action(system: System, tmp_path: Path) -> None:
    """Whatever is wrong with settings, models, ports or topic: exit status 1, the cause named, the last line says what
    to do next, no traceback."""
    taken = socket.create_server(("127.0.0.1", 0))
    in_use = tmp_path / "a file"
    in_use.touch()
    cases: dict[str, tuple[dict[str, str], list[str]]] = {
        "unknown variable": ({"TOPICS": "x"}, ["MEMBERSTREAM_TOPICS: unknown", "MEMBERSTREAM_TOPIC"]),
        "bad values": ({"CLOCK": "x", "METRICS_PORT": "x"}, ["MEMBERSTREAM_CLOCK: ", "MEMBERSTREAM_METRICS_PORT: "]),
        "bad Redis URL": ({"REDIS_URL": "http://x"}, ["MEMBERSTREAM_REDIS_URL", "redis://"]),
        "metrics port taken": ({"METRICS_PORT": str(taken.getsockname()[1])}, ["MEMBERSTREAM_METRICS_PORT"]),
        "another's keys": ({"GROUP": "x"}, [f"{system.settings.group}@", "this is x@", "MEMBERSTREAM_REDIS_PREFIX"]),
        "no topic": ({"TOPIC": "nowhere"}, ["the topic nowhere doesn't exist"]),
        "no broker": ({"KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}"}, ["no Kafka broker"]),
        "data directory is a file": ({"DATA_DIR": str(in_use)}, [str(in_use)]),
    }
    default = {"METRICS_PORT": "0"}
    with taken:
        for start in range(0, len(cases), 3):  # three at a time: each is a second of imports
            part = list(cases.items())[start : start + 3]
            ended = await asyncio.gather(
                *(
                    run(
                        system,
                        {f"MEMBERSTREAM_{k}": v for k, v in (default | variables).items()}
                        | {"MEMBERSTREAM_DATA_DIR": variables.get("DATA_DIR", str(tmp_path / name))},
                        is_impatient=name in ("no topic", "no broker"),
                    )
                    for name, (variables, _) in part
                )
            )
            for (name, (_, expected)), (status, output) in zip(part, ended, strict=True):
                assert status == 1, f"{name}: {output}"
                assert "Traceback" not in output, f"{name}: {output}"
                for text in expected:
                    assert text in output, f"{name}: {output}"
                assert "Next: " in output.strip().splitlines()[-1], f"{name}: {output}"


@pytest.mark.parametrize("own_redis", ["valkey"], indirect=True)
async def test_a_worker_waits_for_redis(
    embedded_pair: Pair, own_redis: Callable[..., RedisServer], install: Install
) -> None:
    """Redis is down when the worker starts: it says so, commits nothing, and goes to work when Redis comes."""
    store = own_redis()
    system = await install(replace(embedded_pair, store=store), [level()])
    store.stop()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    system.start()
    await system.until(lambda: "waiting for Redis" in system.says(), "the outage to be named")
    assert "Next: " in next(line for line in system.says().splitlines() if "waiting for Redis" in line)
    store.start()
    await system.applied()
    assert system.held("m")["level@1"].startswith("2:")


async def test_an_error_that_waiting_cannot_cure_stops_the_worker(system: System) -> None:
    """Something else lies under a member's key: exit status 1, the log says what to do, the event isn't committed; once
    that is put right, a restart applies it."""
    system.redis.lpush("ms:member:m", "x")
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    for _ in range(2):  # a restart alone must not get over it: neither the batch nor, as it is in state, the rebuild
        status, output = await run(system, {})
        assert status == 1
        [stopping] = [line for line in output.splitlines() if "stopping: " in line and "RedisFault" in line]
        assert "Next: " in stopping
    system.redis.flushall()
    system.start()
    await system.applied()
    assert system.held("m")["level@1"].startswith("2:")
