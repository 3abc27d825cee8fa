"""Model files on disk, and what is said when one can't be published."""

from __future__ import annotations

from pathlib import Path

from models.model import Model
from models.model_file import load


class PublishError(ValueError):
    """A step that can't or shouldn't be done; the text says why and what to do next."""


def read_model(path: Path) -> Model:
    """Return the model of a JSON or (by its ending) TOML file.

    Raises:
        ModelFileError: with every problem of the file.
        OSError: the file can't be read.
    """
    return load(path.read_bytes(), is_toml=path.suffix == ".toml")
