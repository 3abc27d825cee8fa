"""What the commands do, as calls for a notebook: settings come from the environment, as everywhere.

    from stream.notebook import publish, upload

    publish(file)                 # what models.export returned, or a path; waits until all members are scored
    publish(file, promote=True)   # and makes it live
    upload(frame.itertuples(index=False), name="buyers")   # members with their clusters, before there is a model

A notebook has an event loop already, so each call runs in a thread with one of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from models.model import Model
from stream.change_history import History, topic_history
from stream.comparing import Compared
from stream.comparing import compare as compare_versions
from stream.list_file import RawChunk, read_file, read_rows
from stream.lists import Options, Outcome, Uploading
from stream.model_source import read_model
from stream.publishing import MAX_FLIPS, Publishing, this_user
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
        ModelsLogError, TopicUnreadable, RedisUnavailable: Kafka or Redis can't be reached.
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
        async for _ in publishing.wait((await publishing.registry()).versions[model.label]):
            pass
        sizes = await publishing.sizes((await publishing.registry()).versions[model.label])
    if promote:
        await publishing.promote(model.name, model.version, reason=reason, force=force)
    return sizes


def compare(new: str, old: str, *, n_samples: int = 2) -> Compared:
    """Compare two published versions over all members: arguments and errors as stream.comparing.compare."""
    return _run(compare_versions(_publishing(), new, old, n_samples=n_samples))


def upload(
    rows: Iterable[Any] | Mapping[Any, int] | str | os.PathLike[str],
    *,
    name: str,
    version: int | None = None,
    names: Mapping[int, str] | None = None,
    merge: str | None = None,
    skip_bad: bool = False,
    promote: bool = False,
    max_flips: float = MAX_FLIPS,
    reason: str = "",
) -> Outcome:
    """Upload a list; return when it is a candidate that all workers have in Redis, or (`promote`) live.

    Args:
        rows: pairs of member id and cluster, a mapping of one to the other, or the path of a CSV or Parquet file.
        version, names, merge, skip_bad: as in stream.lists.Options.

    Raises:
        RowsRejected: some rows can't be taken; `.outcome.rejected` has the first of them.
        PublishError, ListRowsError, ModelsLogError, RedisUnavailable: as Uploading.upload; or promoting was refused.
    """
    chunks = read_file(Path(rows)) if isinstance(rows, (str, os.PathLike)) else read_rows(rows)
    options = Options(name, version, "", names or {}, merge, skip_bad, reason)
    return _run(_upload(chunks, options, promote, max_flips))


async def _upload(chunks: Iterator[RawChunk], options: Options, promote: bool, max_flips: float) -> Outcome:
    uploading = Uploading(from_environment(os.environ), this_user())
    publishing, outcome = uploading.publishing, await uploading.upload(chunks, options)
    entry = (await publishing.registry()).versions[outcome.label]
    async for _ in publishing.wait(entry):
        pass
    if promote:
        await publishing.promote(entry.name, entry.version, reason=options.reason, max_flips=max_flips)
    return outcome


def change_history(member_ids: Iterable[str]) -> History:
    """Return the change events of members from the topic, for `models.training.from_history`: its `records`.

    Raises:
        TopicUnreadable: no broker, no such topic, or its end can't be reached.
    """
    configuration = from_environment(os.environ)
    keys = {member_id.encode() for member_id in member_ids}
    return _run(topic_history(configuration.kafka_bootstrap, configuration.topic, keys))


def _publishing() -> Publishing:
    return Publishing(from_environment(os.environ), this_user())


def _run(work: Coroutine[Any, Any, T]) -> T:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
