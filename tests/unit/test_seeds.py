"""Two workers give the same bytes, although Python's hashes differ from process to process."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import hashlib
from importlib.resources import files
from memberstream.models.apply import apply_one
from memberstream.models.event import decode
from memberstream.models.member import Member, encode
from memberstream.models.model_file import load
from memberstream.models.rescore import rescore_many
from memberstream.stream.demo import history
from memberstream.stream.registry.publication import compile_models

import orjson

models = [load(path.read_bytes()) for path in sorted((files("memberstream.stream.demo") / "models").iterdir(), key=str)]
publication = compile_models(models)
digest = hashlib.sha256(repr((publication.fingerprint, publication.fields)).encode())
now_ms = 900_000_000_000  # in July 1998, behind the last purchase
for i, (member_id, document) in enumerate(list(history.documents(now_ms).items())[:200]):
    value = orjson.dumps({"op": "replace", "document": document})
    member = Member()
    apply_one(member, i, decode(str(member_id).encode(), value, now_ms, now_ms), len(value))
    rescore_many(publication.plan, [member], [now_ms])
    digest.update(encode(member, 0))
print(digest.hexdigest())
"""


def test_states_and_fingerprints_do_not_hang_on_hashes() -> None:
    """The old owner of a partition and the new one write the same states, and name the same models alike."""
    told = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PROGRAM]
        told.add(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    with redirect_stdout(StringIO()) as here:  # this process has its own hashes, and has imported nearly all of it
        exec(PROGRAM, {})
    told.add(here.getvalue())
    assert len(told) == 1
    assert len(told.pop().strip()) == 64
