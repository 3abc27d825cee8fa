"""What imports may do; their direction is a law of its own (.importlinter, `make lint`)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_happens_at_import() -> None:
    """Importing every module starts no thread, opens no socket and reads no MEMBERSTREAM_ variable."""
    code = (
        "import importlib, os, pkgutil, socket, threading\n"
        "os.environ['MEMBERSTREAM_CLOCK'] = 'nonsense'\n"
        "def refuse(*a, **k): raise AssertionError('a socket at import')\n"
        "socket.socket.connect = refuse\n"
        "import memberstream.models as models, memberstream.stream as stream\n"
        "for package in (models, stream):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_command_does_not_wait_for_the_workers_libraries() -> None:
    """Faust takes half of a second of CPU: who asks for one member doesn't pay for it."""
    code = "import sys, memberstream.stream.cli.main; print({'faust', 'rocksdict', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_one_place_makes_kafka_clients() -> None:
    """Codecs, isolation and security hold for every client, because nobody else makes one."""
    kind = r"\bAIOKafka(?:Consumer|Producer|AdminClient|Client)"
    made = re.compile(rf"{kind}\(|class \w+\([^)]*{kind}\)")
    makers = {str(path.relative_to(ROOT)) for path in (ROOT / "stream").rglob("*.py") if made.search(path.read_text())}
    assert makers == {"stream/kafka/clients.py"}
