"""One local server program: started, waited for, stopped by pid.

The law of this file:
1. Whoever starts a server stops it, by pid. On Linux the server also dies with the thread that started it. So start
   servers from a thread that lives as long as they should: the main thread.
2. Ready means that it has answered a request of its own protocol; an open port isn't enough. The port was free before,
   so no other server can have answered in its place.
3. A start that fails shows the end of the server's log and leaves nothing running.
4. Ctrl-C in a terminal doesn't reach the server (it has its own session): a worker can still finish its batch.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Ask the kernel to kill us when the parent dies (1 = PR_SET_PDEATHSIG, 9 = SIGKILL). Look whether the parent is dead
# already. Then become the server, with the same pid. This is a program of its own, not a preexec_fn: that would run
# Python between fork and exec, and could deadlock when other threads hold locks.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


class ServerError(RuntimeError):
    """A local server is missing or didn't start. The text ends with what to do next."""


_ANSWER_S = 1.0  # the longest wait for an answer over loopback; whoever asks asks again
_FIRST_PORT = 10_000  # well-known services lie below
_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port that is free on the loopback interface now, and that wasn't returned before.

    Linux gives some ports to outgoing connections, any that is free. A server that is restarted on one of these may
    find its port taken. So it is one of the others, if there are enough of them.
    """
    others = _not_for_connections()
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", secrets.choice(others) if others else 0))
            port: int = probe.getsockname()[1]
            if port not in _given:
                _given.add(port)
                return port


def _not_for_connections() -> range:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return range(0)
    return range(_FIRST_PORT, max(_FIRST_PORT, first)) if first > 2 * _FIRST_PORT else range(0)


def check_free(port: int, purpose: str) -> None:
    """Raise ServerError if the loopback port is taken: its holder would answer in our server's place."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # lingering connections don't count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(
                f"{purpose}: port {port} can't be used ({error.strerror}). Stop the program that holds it, "
                "or choose another port."
            ) from error


def kafka_brokers(port: int) -> int:
    """Return how many brokers the Kafka broker on this loopback port knows (one Metadata request, version 4).

    Raises OSError while it doesn't answer.
    """
    client = b"memberstream"
    request = struct.pack(f">hhih{len(client)}siB", 3, 4, 1, len(client), client, 0, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as reply:
            head = reply.read(16)  # size, correlation id, throttle time, number of brokers
    if len(head) < 16:
        raise ConnectionError("the broker closed the connection")
    brokers: int = struct.unpack(">iiii", head)[3]
    return brokers


def redis_answers(port: int) -> bool:
    """Return whether the Redis or Valkey on this loopback port answers PING. Raises OSError while none listens."""
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
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

    @property
    def status(self) -> int | None:
        """Exit status of the program that was run last, minus the signal's number if one ended it; else None."""
        return None if self._process is None else self._process.poll()

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

        Raises ServerError, with the end of the log, if the program ends or hasn't answered within `timeout_s` seconds.
        Whatever is raised, also at Ctrl-C, the program is stopped first.
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
        """Send SIGTERM, then SIGKILL after `grace_s` seconds. Does nothing if the program isn't running."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL and reap. Does nothing if the program isn't running."""
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
