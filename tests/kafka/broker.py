"""Apache Kafka for the tests: KRaft, broker and controller in one process, loopback only.

The law of this file:
1. The version stands in pom.xml. Maven fetches the jars once into the repo's own `.cache/kafka-<version>/`.
2. Data directory and ports belong to the object and survive stop(), kill() and start().
3. Small and quick rather than fast for long: C1 compiler, serial collector, 512 MB, and a class archive (CDS) made
   once per Java, which brings the start from 4.0 s to 1.5 s on two cores. Not a broker to measure throughput on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from memberstream.stream.local.server_process import ServerError, ServerProcess, check_free, free_port, kafka_brokers

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache"
CLUSTER_ID = "bWVtYmVyc3RyZWFtLTAwMA"  # any 16 bytes in URL-safe base64
START_TIMEOUT_S = 90.0  # 1.5 s alone; the machine may be busy with other tests


class KafkaMissing(ServerError):
    """Java or Maven is missing, or Maven could not fetch the jars. The text says what to install."""


class ApacheKafka:
    """One node. `controllers` (node id → controller port, all nodes) makes it part of a cluster."""

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *,
        node: int = 1,
        controllers: Mapping[int, int] | None = None,
        settings: Mapping[str, str] | None = None,
        scram_users: Mapping[str, str] | None = None,  # name → password
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.node = node
        self.controllers = dict(controllers or {node: free_port()})
        self.settings = dict(settings or {})
        self._scram_users = dict(scram_users or {})
        self.java_options: tuple[str, ...] = ()
        self.log = directory / "server.log"
        self._server = ServerProcess(f"Apache Kafka node {node}", self.log)

    @property
    def bootstrap(self) -> str:
        """`host:port` for Kafka clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while the node runs, else None."""
        return self._server.pid

    def spawn(self) -> None:
        """Format the data directory if it is new and launch the node; returns before it is ready."""
        installation = Installation.prepared()
        check_free(self.port, f"Apache Kafka node {self.node}")
        properties = self._write_properties()
        if not (self.directory / "data" / "meta.properties").exists():
            installation.format(properties, self.directory, self._scram_users)
        command = [*installation.java(self.directory, *self.java_options), "kafka.Kafka", str(properties)]
        self._server.spawn(command, cwd=self.directory)

    def wait_until_ready(self, brokers: int = 1) -> None:
        """Return when the node answers and knows `brokers` live brokers. Raises ServerError."""
        self._server.wait_until(lambda: kafka_brokers(self.port) >= brokers, timeout_s=START_TIMEOUT_S)

    def start(self) -> Self:
        """spawn() and wait_until_ready(): what a single node needs. Data of an earlier run is found again."""
        self.spawn()
        self.wait_until_ready()
        return self

    def stop(self) -> None:
        """Orderly stop (SIGTERM). Data and port stay."""
        self._server.stop(grace_s=20.0)

    def kill(self) -> None:
        """kill -9. Data and port stay."""
        self._server.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _write_properties(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self.controllers.items())
        own = {
            "node.id": str(self.node),
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.controllers[self.node]}",
            "controller.quorum.voters": voters,
            "log.dirs": str(self.directory / "data"),
            **self.settings,  # a later line wins over an earlier one of the same name
        }
        properties = self.directory / "server.properties"
        lines = [f"{name}={value}" for name, value in own.items()]
        properties.write_text((HERE / "server.properties").read_text() + "\n".join(lines) + "\n")
        return properties


@contextlib.contextmanager
def kafka_cluster(directory: Path, nodes: int = 3) -> Iterator[list[ApacheKafka]]:
    """A cluster whose topics have `nodes` copies and take writes while all copies but one are there."""
    ports = {node: free_port() for node in range(1, nodes + 1)}
    copies = dict.fromkeys(
        ("default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic"), str(nodes)
    )
    settings = {f"{topic}.replication.factor": count for topic, count in copies.items()}
    settings |= {"min.insync.replicas": str(nodes - 1), "transaction.state.log.min.isr": str(nodes - 1)}
    # A node that is back leads again what it led first, soon (default: looked after every 5 minutes).
    settings |= {"leader.imbalance.check.interval.seconds": "2", "leader.imbalance.per.broker.percentage": "0"}
    cluster = [ApacheKafka(directory / str(node), node=node, controllers=ports, settings=settings) for node in ports]
    try:
        for node in cluster:
            node.spawn()
        for node in cluster:
            node.wait_until_ready(brokers=nodes)
        yield cluster
    finally:
        for node in cluster:  # the last ones would wait in vain for a quorum: no orderly stop
            node.kill()


class Installation:
    """The jars in the cache folder, and the Java command line for them."""

    def __init__(self, java: str, home: Path) -> None:
        self._java = java
        self._home = home
        identity = f"{os.path.realpath(java)} {os.stat(java).st_mtime_ns} {home}"
        self._archive = home / f"classes-{zlib.crc32(identity.encode()):08x}.jsa"

    @classmethod
    def prepared(cls) -> Installation:
        """The installation, made if need be (once: half a minute). Raises KafkaMissing."""
        java = shutil.which("java")
        if java is None:
            raise KafkaMissing("Java is missing. Install a JDK 17 or newer (Debian: openjdk-17-jdk-headless)")
        version = re.search(r"<kafka.version>(.+?)<", (HERE / "pom.xml").read_text())
        assert version is not None
        installation = cls(java, CACHE / f"kafka-{version[1]}")
        installation._home.mkdir(parents=True, exist_ok=True)
        with (installation._home / "lock").open("w") as lock:  # test runs may share the folder
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (installation._home / "libs").exists():
                installation._fetch()
            if not installation._archive.exists():
                installation._make_archive()
        return installation

    def java(self, directory: Path, *more: str) -> list[str]:
        """Java with its options and class path; the main class and its arguments follow."""
        libs = sorted(str(jar) for jar in (self._home / "libs").glob("*.jar"))  # the archive minds the order
        options = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        options += ["-XX:-UsePerfData", f"-Djava.io.tmpdir={directory}"]  # nothing left in the system's /tmp
        if self._archive.exists() and self._archive.stat().st_size > 0:
            options += [f"-XX:SharedArchiveFile={self._archive}", "-Xlog:cds=off"]
        options.append(f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}")
        return [self._java, *options, *more, "-cp", ":".join(libs)]

    def format(self, properties: Path, directory: Path, scram_users: Mapping[str, str]) -> None:
        """Write what a KRaft node must find in a new data directory."""
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(properties)]
        for name, password in scram_users.items():
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                tool += ["--add-scram", f'{mechanism}=[name={name},password="{password}"]']
        done = subprocess.run([*self.java(directory), *tool], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"Kafka's StorageTool failed; see {properties}:\n{done.stdout}{done.stderr}")

    def _fetch(self) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise KafkaMissing("Maven is missing. Install it (Debian: maven)")
        fresh = Path(tempfile.mkdtemp(dir=self._home))
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
        command = [maven, "-B", "-q", "-f", str(HERE / "pom.xml"), *goal]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(fresh)
            raise KafkaMissing(f"Maven could not fetch Kafka. Check the network:\n{done.stdout[-2000:]}")
        fresh.rename(self._home / "libs")

    def _make_archive(self) -> None:
        """Run a node once and let Java keep the classes it loaded, parsed and verified."""
        with tempfile.TemporaryDirectory(dir=self._home) as scratch:
            node = ApacheKafka(Path(scratch))
            properties = node._write_properties()
            self.format(properties, node.directory, {})
            fresh = node.directory / "classes.jsa"
            dump = self.java(node.directory, f"-XX:ArchiveClassesAtExit={fresh}", "-Xlog:cds=off")
            node._server.spawn([*dump, "kafka.Kafka", str(properties)], cwd=node.directory)
            node.wait_until_ready()
            node._server.stop(grace_s=120.0)
            if fresh.exists():
                fresh.rename(self._archive)
            else:  # this Java can't: an empty file says so, that nobody tries again
                self._archive.touch()
