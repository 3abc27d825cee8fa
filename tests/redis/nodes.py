"""A Redis Cluster of three nodes, and a primary with a replica and a sentinel: redis-server processes on loopback."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import redis
from keys import KEYS
from servers import missing

from memberstream.stream.local.server_process import ServerProcess, free_port, redis_answers
from memberstream.stream.wire.cluster import slot_of


def binary(name: str) -> str:
    """Path of Debian's redis-server or redis-cli."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is missing. Install it (Debian: redis-server, redis-tools)")
    return found


class Node:
    """One redis-server; its port and data survive kill() and start()."""

    def __init__(self, directory: Path, *options: str) -> None:
        directory.mkdir(parents=True)
        self.directory, self.port, self.options = directory, free_port(), options
        self._server = ServerProcess("redis-server", directory / "server.log")

    def start(self) -> None:
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        self._server.spawn([binary("redis-server"), *common, *self.options], cwd=self.directory)
        self._server.wait_until(lambda: redis_answers(self.port), timeout_s=20)

    def kill(self) -> None:
        self._server.kill()

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True)


class Cluster:
    """Three primaries without replicas."""

    def __init__(self, directory: Path) -> None:
        bus = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf"]
        self.nodes = [
            Node(directory / f"node-{i}", *bus, "--cluster-port", str(free_port()), "--appendonly", "yes")
            for i in range(3)
        ]
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        create = [binary("redis-cli"), "--cluster", "create", *addresses, "--cluster-replicas", "0", "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        self.wait_until_whole()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def wait_until_whole(self) -> None:
        give_up_at = time.monotonic() + 20
        while any(node.client.execute_command("CLUSTER INFO").get("cluster_state") != "ok" for node in self.nodes):
            assert time.monotonic() < give_up_at
            time.sleep(0.05)

    def move_slot(self, slot: int, *, pause_s: float = 0.0) -> None:
        """Move a slot with its keys from its node to another, as `redis-cli --cluster reshard` does, slowly."""
        nodes = [node.client for node in self.nodes]
        ids = [str(node.execute_command("CLUSTER MYID")) for node in nodes]
        owner = next(i for i, node in enumerate(nodes) if _owns(node, ids[i], slot))
        other = (owner + 1) % 3
        nodes[other].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[owner])
        nodes[owner].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[other])
        while keys := nodes[owner].execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
            for key in keys:
                nodes[owner].execute_command("MIGRATE", "127.0.0.1", self.nodes[other].port, key, 0, 5000)
            time.sleep(pause_s)
        for node in (nodes[other], nodes[owner]):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[other])

    def emptied_in_turn(self) -> list[Node]:
        """The nodes, the one with the small keys last (docs/redis.md, "What is guaranteed")."""
        slot = slot_of(KEYS.epoch)
        return sorted(
            self.nodes, key=lambda node: _owns(node.client, str(node.client.execute_command("CLUSTER MYID")), slot)
        )

    def names(self) -> set[str]:
        return {key for node in self.nodes for key in node.client.scan_iter()}

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


def _owns(node: redis.Redis, node_id: str, slot: int) -> bool:
    for first, last, (_, _, owner, *_), *_ in node.execute_command("CLUSTER SLOTS"):
        if first <= slot <= last:
            return bool(owner == node_id)
    return False


class Sentinel:
    """A primary, a replica, and one sentinel that decides alone."""

    def __init__(self, directory: Path) -> None:
        self.servers = [Node(directory / f"server-{i}") for i in range(2)]
        for server in self.servers:
            server.start()
        self.servers[1].client.replicaof("127.0.0.1", str(self.servers[0].port))
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor main 127.0.0.1 {self.servers[0].port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        )
        self.port = free_port()
        self._sentinel = ServerProcess("redis-sentinel", directory / "sentinel.log")
        command = [binary("redis-server"), str(config), "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"]
        self._sentinel.spawn(command, cwd=directory)
        self._sentinel.wait_until(lambda: redis_answers(self.port), timeout_s=20)
        give_up_at = time.monotonic() + 20  # the sentinel learns of the replica from the primary's INFO
        while not self.client.sentinel_slaves("main") or self.replica_state() != "connected":
            assert time.monotonic() < give_up_at
            time.sleep(0.1)

    def replica_state(self) -> str:
        return str(self.servers[1].client.execute_command("ROLE")[3])

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.port}/main"

    def kill(self) -> None:
        for server in self.servers:
            server.kill()
        self._sentinel.kill()
