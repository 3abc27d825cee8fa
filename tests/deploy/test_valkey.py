"""deploy/valkey, loaded by a real server: the worker and readers can do their work, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import redis
from announcing import announcing
from believing import believing
from keys import KEYS
from servers import missing

from memberstream.stream.doctor.facts import told
from memberstream.stream.keyspace.formats import Beacon, PublishedModel
from memberstream.stream.local.embedded import valkey_binary
from memberstream.stream.local.server_process import ServerError, ServerProcess, free_port
from memberstream.stream.lookup import Lookup
from memberstream.stream.projection.members import Deletion, Update
from memberstream.stream.projection.projection import Glance, Projection

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy/valkey"
USERS = dict(re.findall(r"^user (\w+) on >(\S+)", (CONFIGURATION / "users.acl").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a server with compose's configuration, but for its address and the place of the ACL file."""
    folder, port = tmp_path_factory.mktemp("valkey"), free_port()
    try:
        binary = valkey_binary()
    except ServerError as error:
        missing(str(error))
    server = ServerProcess("valkey-server", folder / "log")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--aclfile", str(CONFIGURATION / "users.acl")]
    server.spawn([binary, str(CONFIGURATION / "valkey.conf"), *options], cwd=folder)

    def answers() -> bool:
        try:
            with client(port, "reader") as reader:
                return bool(reader.ping())
        except redis.ConnectionError as error:
            raise ConnectionError(error) from None

    server.wait_until(answers, timeout_s=10)
    yield port
    server.stop(grace_s=5)


def client(port: int, user: str) -> redis.Redis:
    return redis.Redis(port=port, username=user, password=USERS[user])


async def test_the_worker_can_write_and_a_reader_can_read(port: int) -> None:
    """A whole build, an update, a deletion and a beacon as the user `worker`; look-ups as the user `reader`."""
    now_ms = time.time_ns() // 1_000_000
    async with Projection(f"redis://worker:{USERS['worker']}@127.0.0.1:{port}/0", KEYS) as projection:
        await projection.calls.ping()
        await projection.readers.announce(announcing([PublishedModel("m", 1, "logistic", {1: "low", 2: "high"})]))
        token = await projection.build.begin(0)
        await projection.members.write(
            0, [Update(b"a", 1, now_ms, None, (b"m@1",), [(2, now_ms)]), Deletion(b"b", 2, now_ms)]
        )
        await projection.members.write(0, [Update(b"b", 3, now_ms, None, (b"m@1",), [(1, now_ms)])])  # over a tombstone
        await projection.members.write(0, [Deletion(b"b", 4, now_ms)])
        assert await projection.build.finish(0, token, 1, now_ms) == "complete"
        assert (await projection.build.beacon({0: Beacon(5, now_ms, now_ms)})).epoch
    with Lookup(f"redis://reader:{USERS['reader']}@127.0.0.1:{port}/0") as lookup:
        believing(lookup, redis.Redis(port=port, username="worker", password=USERS["worker"]))
        a, b, c = lookup.get_many(["a", "b", "c"])
    assert (a.status, a.cluster("m")) == ("current", 2)
    assert [b.status, c.status] == ["unknown member", "unknown member"]


@pytest.mark.parametrize("user", ["worker", "reader"])
async def test_what_doctor_and_the_console_ask_needs_no_more_than_look_ups(port: int, user: str) -> None:
    """A connection that only reads loads no scripts."""
    async with aclosing(Glance(f"redis://{user}:{USERS[user]}@127.0.0.1:{port}/0", KEYS)) as glance:
        assert set(await told(glance)) == {"owner", "is_whole", "beacons", "scored", "behind", "sizes", "known"}


@pytest.mark.parametrize("user", ["worker", "reader"])
@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "KEYS *", "CONFIG GET *", "ACL LIST", "CLIENT PAUSE 1", "EVAL return(1) 0", "GET other"],
)
def test_nobody_can_do_more(port: int, user: str, command: str) -> None:
    """Neither user can change the server, hold it up, or touch foreign keys."""
    with client(port, user) as connection, pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*command.split())


@pytest.mark.parametrize(
    "command",
    [
        "SCAN 0",
        "SET ms:member:a x",
        "HSET ms:{meta}:live m 1",
        "DEL ms:member:a",
        "EVALSHA x 0",
        "SET ms:{meta}:epoch 1",
    ],
)
def test_a_reader_cannot_write_or_list_members(port: int, command: str) -> None:
    """The reader's user has reading commands only."""
    with client(port, "reader") as connection, pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*command.split())


def test_the_reader_is_that_of_the_documentation() -> None:
    """docs/redis.md tells operators to make the same user that compose has."""
    [documented] = re.findall(
        r"^ACL SETUSER \S+ on >\S+ (?:resetkeys )?(.*)$",
        (CONFIGURATION.parents[1] / "docs/redis.md").read_text(),
        re.MULTILINE,
    )
    [ours] = re.findall(r"^user reader on >\S+ (.*)$", (CONFIGURATION / "users.acl").read_text(), re.MULTILINE)
    assert sorted(ours.split()) == sorted(documented.split())


def test_there_is_no_user_without_a_password(port: int) -> None:
    """The default user is off."""
    with redis.Redis(port=port) as connection, pytest.raises(redis.AuthenticationError):
        connection.ping()


def test_a_full_memory_refuses_writes(port: int) -> None:
    """`noeviction` with a bound: seen in the file, as no user may ask the server."""
    lines = (CONFIGURATION / "valkey.conf").read_text().splitlines()
    assert "maxmemory-policy noeviction" in lines
    assert any(line.startswith("maxmemory ") and line != "maxmemory 0" for line in lines)
