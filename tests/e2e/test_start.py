"""A worker that can't start says why in one message that ends with what to do; one that can wait, waits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from servers import RedisServer

from stream.server_process import free_port

# The real command, except that it waits for broker and topic half a second rather than half a minute.
_IMPATIENT = """
from functools import partial
import stream.service, stream.worker
stream.service.BatchApp = partial(stream.service.BatchApp, source_topic_wait_s=0.5)
stream.worker.KAFKA_WAIT_S = 0.5
from stream.cli import main
main()
"""


async def run(system: System, more: Mapping[str, str], *, is_impatient: bool = False) -> tuple[int, str]:
    """Run a worker until it ends by itself; returns its exit status and all that it printed."""
    python, *arguments = system.command()
    process = await asyncio.create_subprocess_exec(
        python,
        *(["-c", _IMPATIENT, "worker"] if is_impatient else arguments),
        env={**system.environment(), **more},
        cwd=system.directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


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
    """Two installations in one Redis: exit status 1, the log says what to do, the event isn't committed; once that is
    put right, a restart applies it."""
    system.redis.set("ms:member:m", "0:7:1:1:|level@1=1:1")
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    for _ in range(2):  # a restart alone must not get over it
        status, output = await run(system, {})
        assert status == 1
        [stopping] = [line for line in output.splitlines() if "stopping: PartitionMismatch" in line]
        assert "Next: " in stopping
        assert system.held("m")["pos"] == "0:7:1:1:"
    system.redis.flushall()
    system.start()
    await system.applied()
    assert system.held("m")["level@1"].startswith("2:")
