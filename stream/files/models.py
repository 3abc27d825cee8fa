"""Model files on disk."""

from __future__ import annotations

from pathlib import Path

from memberstream.models.model import Model
from memberstream.models.model_file import load


def read_model(path: Path) -> Model:
    """Return the model of a JSON or (by its ending) TOML file.

    Raises:
        ModelFileError: with every problem of the file.
        OSError: the file can't be read.
    """
    return load(path.read_bytes(), is_toml=path.suffix == ".toml")
