"""What the commands do, as calls for a notebook: settings come from the environment, as everywhere.

    from stream.notebook import publish

    publish(file)                 # what models.export returned, or a path; waits until all members are scored
    publish(file, promote=True)   # and makes it live

A notebook has an event loop already, so each call runs in a thread with one of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from models.model import Model
from stream.comparing import Compared
from stream.comparing import compare as compare_versions
from stream.model_source import read_model
from stream.publishing import Publishing, this_user
from stream.settings import from_environment

if TYPE_CHECKING:
    from models.export import ModelFile  # needs scikit-learn, which a worker's environment lacks

T = TypeVar("T")


def publish(
    model: Model | ModelFile | str | os.PathLike[str],
    *,
    wait: bool = True,
    promote: bool = False,
    reason: str = "",
    force: bool = False,
) -> dict[int, int]:
    """Publish a model; with `wait` (or `promote`, unless forced) return when all members are scored with it.

    Returns cluster id → members; {} without waiting.

    Raises:
        ModelFileError: with every problem of the file.
        PublishError: the version has other content, reads paths that no member has, or would move too many members.
        ModelsLogError, StateUnreadable, RedisUnavailable: Kafka or Redis can't be reached.
    """
    if isinstance(model, (str, os.PathLike)):
        chosen = read_model(Path(model))
    else:
        chosen = model if isinstance(model, Model) else model.model
    return _run(_publish(chosen, wait=wait, promote=promote, reason=reason, force=force))


async def _publish(model: Model, *, wait: bool, promote: bool, reason: str, force: bool) -> dict[int, int]:
    publishing = _publishing()
    await publishing.publish(model, reason=reason, force=force)
    sizes: dict[int, int] = {}
    if wait or (promote and not force):
        entry = (await publishing.registry()).versions[model.label]
        async for _ in publishing.wait(entry):
            pass
        sizes = await publishing.sizes(entry)
    if promote:
        await publishing.promote(model.name, model.version, reason=reason, force=force)
    return sizes


def compare(new: str, old: str, *, n_samples: int = 2) -> Compared:
    """Compare two published versions over all members: arguments and errors as stream.comparing.compare."""
    return _run(compare_versions(_publishing(), new, old, n_samples=n_samples))


def _publishing() -> Publishing:
    return Publishing(from_environment(os.environ), this_user())


def _run(work: Coroutine[Any, Any, T]) -> T:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
