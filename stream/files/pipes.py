"""Pipes as files: what can be read only once is copied, for those who read it several times."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def rereadable(path: Path) -> Iterator[Path]:
    """Give a file that can be opened again and again: `path` itself, or a copy of a pipe, which is removed at the end.

    Nobody else may read the copy (mode 0600 in a folder of 0700): it may hold members. It lies where the system keeps
    temporary files (TMPDIR). Its name ends as the pipe's, because readers go by that. Only a killed process leaves it.

    Raises:
        OSError: it can't be read or copied.
    """
    if path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="memberstream-") as folder:
        copy = Path(folder, path.name)
        copy.touch(0o600)
        with path.open("rb") as pipe, copy.open("wb") as kept:
            shutil.copyfileobj(pipe, kept)
        yield copy
