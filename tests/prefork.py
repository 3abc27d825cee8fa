"""Python programs that start in a tenth of a second: forked from a process that has imported what they need.

The law of this file:
1. A fork is what a start would have made: a process of its own (own session, own output, the environment that it is
   given and no other) with its own pid, signals and exit status. Only the imports are done already, and all forks hash
   alike (tests/unit/test_seeds.py).
2. The process that it is forked from (Python's own fork server) runs nothing: it imports, and importing starts nothing
   (tests/unit/test_imports.py). So no thread, loop or connection is ever forked.
3. Whoever is given a PYTHONPATH runs other files than ours, and is started as ever.
4. One thing is other than in a start: a fork tells readers how far it is four times a second, not once. Tests wait for
   that more often than for anything else, up to a second each time.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memberstream.stream.local.server_process import ServerError, ServerProcess

_BEACON_INTERVAL_S = 0.25
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["prefork", "memberstream.stream.cli.main", "memberstream.stream.worker", "memberstream.stream.interaction_worker"]
)


class Fork:
    """What `subprocess.Popen(argv, …)` would be: `argv` is Python's, with `-m MODULE`, `-c CODE` or a file."""

    def __init__(self, argv: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str]) -> None:
        self._argv = list(argv)
        log.touch()  # there when this returns, as of a start
        arguments = (self._argv[1:], str(log), str(cwd), dict(env))
        self._process = _SERVER.Process(target=_run, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        self._process.join(timeout_s)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self._argv, timeout_s or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class PythonProcess(ServerProcess):
    """A ServerProcess whose program is in Python: forked where it can be."""

    def spawn(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        environment = dict(os.environ if env is None else env)
        if sys.platform != "linux" or "PYTHONPATH" in environment:
            super().spawn(argv, cwd=cwd, env=env)
            return
        if self.pid is not None:
            raise ServerError(f"{self.name} is running already (pid {self.pid}): stop it first")
        forked: Any = Fork(argv, log=self.log, cwd=cwd, env=environment)  # as good as a Popen
        self._process = forked


def _hasten() -> None:
    """Law 4."""
    from memberstream.stream.interactions import pipeline  # loaded already
    from memberstream.stream.projection.writer import Writer

    Writer.BEACON_INTERVAL_S = pipeline.BEACON_INTERVAL_S = _BEACON_INTERVAL_S


def _run(argv: list[str], log: str, cwd: str, environment: dict[str, str]) -> None:
    """Become the program: in the fork."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: it dies as its parent does
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    _hasten()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        match argv:
            case ["-m", module, *_]:
                sys.argv = argv[1:]
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            case ["-c", code, *_]:
                sys.argv = ["-c", *argv[2:]]
                exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
            case [file, *_]:
                sys.argv = argv
                sys.path.insert(0, str(Path(file).parent))
                runpy.run_path(file, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a fork ends without them
