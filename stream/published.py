"""Published models: a folder of model files, one per model version, that workers load when they start.

Laws: a version is immutable (publishing other content under the same name and version is refused); a file appears whole
or not at all; one file that can't be used stops the worker with every problem of every file.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import orjson

from models.model import Model
from models.model_file import load
from models.problems import ModelFileError


class PublishError(ValueError):
    """A model that can't be published or loaded; the text says what to do next."""


def read_model(path: Path) -> Model:
    """Return the model of a JSON or (by its ending) TOML file.

    Raises:
        ModelFileError: with every problem of the file.
        OSError: the file can't be read.
    """
    return load(path.read_bytes(), is_toml=path.suffix == ".toml")


def publish(model: Model, folder: Path) -> bool:
    """Put a model into the folder; returns whether it is new there.

    Raises:
        PublishError: this version is there already with other content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{model.label}.json"
    data = orjson.dumps(model.definition, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if target.exists():
        if orjson.loads(target.read_bytes()) == model.definition:
            return False
        raise PublishError(f"{target} holds {model.label} with other content. Next: publish this one as a new version")
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.chmod(name, 0o644)  # mkstemp's 0600 would hide the file from a worker of another user
    os.replace(name, target)
    return True


def load_published(folder: Path) -> list[Model]:
    """Return the models of a folder by name and version.

    Raises:
        PublishError: no model there, or files with problems: all of them, each with its file's name.
    """
    models: list[Model] = []
    problems: list[str] = []
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.toml")]):
        try:
            models.append(read_model(path))
        except ModelFileError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
    labels = [model.label for model in models]
    problems += [f"{folder}: two files hold {label}" for label in sorted({x for x in labels if labels.count(x) > 1})]
    if problems:
        raise PublishError("\n".join([*problems, "Next: correct or remove these files and start the worker again"]))
    if not models:
        raise PublishError(f"no model file in {folder}. Next: memberstream model publish FILE --models-dir {folder}")
    return sorted(models, key=lambda model: (model.name, model.version))
