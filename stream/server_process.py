"""One local server program: started, waited for, stopped by pid.

The law of this file:
1. Who starts a server stops it, by pid; on Linux it also dies with the thread that started it
   (so start servers from a thread that lives as long as they shall: the main thread).
2. Ready means: it has answered a request of its own protocol, never a mere open port; and the port was free
   before, so that no other server can have answered for it.
3. A start that fails shows the tail of the server's log and leaves nothing running.
4. Ctrl-C in a terminal does not reach the server (own session): a worker can still finish its batch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Ask the kernel to kill us when the parent dies (1 = PR_SET_PDEATHSIG, 9 = SIGKILL), look whether it is dead
# already, then become the server: same pid. A program of its own rather than preexec_fn, which runs Python
# between fork and exec and may deadlock when other threads hold locks.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


class ServerError(RuntimeError):
    """A local server is missing or did not start. The text ends with what to do next."""


_given: set[int] = set()


def free_port() -> int:
    """A TCP port free on the loopback interface at the moment of the call; never one that it has returned before.

    (The system may name a port twice while nobody listens there yet, and then the second server can't.)
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def check_free(port: int, purpose: str) -> None:
    """Raise ServerError when the loopback port is taken: whoever holds it would answer in our server's place."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that only linger don't count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(
                f"{purpose}: port {port} can't be used ({error.strerror}). Stop the program that holds it, "
                "or choose another port."
            ) from error


def kafka_brokers(port: int, timeout_s: float = 1.0) -> int:
    """Number of brokers that the Kafka broker on this loopback port knows (one Metadata request, version 4).

    Raises OSError while it does not answer.
    """
    client = b"memberstream"
    request = struct.pack(f">hhih{len(client)}siB", 3, 4, 1, len(client), client, 0, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as reply:
            head = reply.read(16)  # size, correlation id, throttle time, number of brokers
    if len(head) < 16:
        raise ConnectionError("the broker closed the connection")
    brokers: int = struct.unpack(">iiii", head)[3]
    return brokers


def redis_answers(port: int, timeout_s: float = 1.0) -> bool:
    """True when the Redis or Valkey on this loopback port answers PING. Raises OSError while none listens."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


class ServerProcess:
    """A server program under our control. Its output is appended to `log`."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while the program runs, else None."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def spawn(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Run `argv` (an absolute path first), in this process' environment or in `env`.

        Returns at once; `wait_until` says when it is ready.
        """
        if self.pid is not None:
            raise ServerError(f"{self.name} is running already (pid {self.pid}): stop it first")
        command = list(argv)
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *argv]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool], *, timeout_s: float) -> None:
        """Return when `answers()` is true; it may raise OSError for "not yet".

        Raises ServerError, with the tail of the log, when the program ends or has not answered within
        `timeout_s` seconds. Whatever is raised, Ctrl-C too, the program is stopped first.
        """
        give_up_at = time.monotonic() + timeout_s
        try:
            while True:
                with contextlib.suppress(OSError):
                    if answers():
                        return
                if self.pid is None:
                    raise ServerError(self._failure("ended before it answered"))
                if time.monotonic() > give_up_at:
                    raise ServerError(self._failure(f"did not answer within {timeout_s:g} s"))
                time.sleep(0.01)
        except BaseException:
            self.kill()
            raise

    def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds. Does nothing when the program is not running."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL and reap. Does nothing when the program is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _failure(self, what: str) -> str:
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        shown = "".join(f"\n  | {line}" for line in tail) or " (it wrote none)"
        return (
            f"{self.name} {what}. Its last output:{shown}\n"
            "Put right what the output names (often a taken port) and start again."
        )
