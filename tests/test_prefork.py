"""A forked program is what a started one would be (tests/prefork.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefork import Fork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere programs are started, not forked")

TELL = """
import os, sys, threading
print(sorted(os.environ), sys.argv[1:], os.getcwd(), __name__, threading.active_count())
print(os.getsid(0) == os.getpid(), "memberstream.stream.worker" in sys.modules, sys.stdin.read() == "")
sys.stderr.write("to the log as well\\n")
sys.exit(3)
"""


def forked(directory: Path, *argv: str, **environment: str) -> Fork:
    return Fork([sys.executable, *argv], log=directory / "log", cwd=directory, env=environment)


def test_it_has_what_it_is_given_and_its_own_end(tmp_path: Path) -> None:
    """Environment, arguments, directory, session, output, exit status; no thread came along; the imports are done."""
    program = forked(tmp_path, "-c", TELL, "one", "two", ONLY="this")
    assert program.wait(60) == 3
    assert program.pid != os.getpid()
    assert (tmp_path / "log").read_text().splitlines() == [
        f"['ONLY'] ['one', 'two'] {tmp_path} __main__ 1",
        "True True True",
        "to the log as well",
    ]


def test_a_module_and_a_file(tmp_path: Path) -> None:
    """`-m` runs the module as the command would; a file sees its own name and what lies beside it."""
    assert forked(tmp_path, "-m", "memberstream", "--version").wait(60) == 0
    (tmp_path / "beside.py").write_text("word = 'beside'")
    (tmp_path / "file.py").write_text("import sys, beside; print(beside.word, sys.argv[1:])")
    assert forked(tmp_path, str(tmp_path / "file.py"), "x").wait(60) == 0
    assert (tmp_path / "log").read_text().splitlines()[1:] == ["beside ['x']"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_end_it(tmp_path: Path, number: int) -> None:
    """Status -15 and -9, as of a process that was started; until then it runs."""
    program = forked(tmp_path, "-c", "import time; print('up', flush=True); time.sleep(600)")
    give_up_at = time.monotonic() + 60
    while "up" not in ((tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.05)
    program.send_signal(number)
    assert program.wait(60) == -number
