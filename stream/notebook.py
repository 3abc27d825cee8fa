"""What the commands do, as calls for a notebook: settings come from the environment, as everywhere.

    from memberstream import publish, upload

    publish(file)                 # what models.export returned, or a path; waits until all members are scored
    publish(file, promote=True)   # and makes it live
    upload(frame.itertuples(index=False), name="buyers")   # members with their clusters, before there is a model

A notebook has an event loop already, so each call runs in a thread with one of its own. In a notebook's cell a bar
shows how far it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.registry import Version
from memberstream.models.training.given import is_table
from memberstream.models.training.rows import to_ms
from memberstream.stream.authoring.comparing import Compared
from memberstream.stream.authoring.comparing import compare as compare_versions
from memberstream.stream.authoring.coverage import awaited, goes_on
from memberstream.stream.authoring.publishing import MAX_FLIPS, Publishing
from memberstream.stream.authoring.steps import this_user
from memberstream.stream.authoring.uploading import Options, Uploaded, Uploading
from memberstream.stream.files.history import History, topic_history
from memberstream.stream.files.lists import RawChunk, read_file, read_rows
from memberstream.stream.files.models import read_model
from memberstream.stream.files.pipes import rereadable
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import from_environment
from memberstream.stream.terminal.cell import Cell
from memberstream.stream.terminal.waiting import Waiting, note

if TYPE_CHECKING:
    from memberstream.models.export import ModelFile  # needs scikit-learn, which a worker's environment lacks

T = TypeVar("T")
_COLUMNS = "hand over a DataFrame with the columns member_id and cluster"


def publish(
    model: Model | ModelFile | Mapping[str, Any] | str | os.PathLike[str],
    *,
    wait: bool = True,
    promote: bool = False,
    reason: str = "",
    max_flips: float = MAX_FLIPS,
    force: bool = False,
) -> dict[int, int]:
    """Publish a model; with `wait` (or `promote`, unless forced) return when all members are scored with it.

    Returns cluster id → members; {} without waiting.

    Args:
        model: what an export returned, a Model, the definition as a dict, or the path of a model file.
        max_flips: with `promote`, the greatest share of members that may change their cluster.
        force: publish and promote whatever the checks say.

    Raises:
        ModelFileError: with every problem of the file.
        PublishError: the version has other content, reads paths that no member has, or would move too many members.
        ModelsLogError, TopicUnreadable, RedisUnavailable: Kafka or Redis can't be reached.
    """
    cell = Cell("members scored")
    given = _model(model)
    return _run(_publish(given, cell, wait=wait, promote=promote, reason=reason, max_flips=max_flips, force=force))


def _model(given: Any) -> Model:
    """Return the model that was handed over. Raises PublishError: it is something else."""
    if isinstance(given, (str, os.PathLike)):
        return read_model(Path(given))
    if isinstance(given, Mapping):
        return parse(given)
    chosen = getattr(given, "model", given)
    if isinstance(chosen, Model):
        return chosen
    kind = "None" if given is None else type(given).__name__
    raise PublishError(
        f"expected a model file, found {kind}. Next: publish(from_estimator(fitted, …)), or the path of a file"
    )


async def _publish(
    model: Model, cell: Cell, *, wait: bool, promote: bool, reason: str, max_flips: float, force: bool
) -> dict[int, int]:
    publishing = _publishing()
    if promote and not force:
        await publishing.refuse_stranding(model.name, [cluster.id for cluster in model.clusters])
    version = (await publishing.publish(model, reason=reason, force=force)).version
    sizes: dict[int, int] = {}
    if wait or (promote and not force):
        await _scored(publishing, version, cell)
        sizes = await publishing.sizes(version)
    if promote:
        await publishing.promote(model.name, model.version, reason=reason, max_flips=max_flips, force=force)
    return sizes


def compare(
    new: str | Model | ModelFile, old: str | Model | ModelFile, *, at: Any = None, n_samples: int = 2
) -> Compared:
    """Compare two published versions over all members.

    Args:
        new: NAME@VERSION, or NAME for its live version; or a published model itself.
        old: the same, of the version to compare with.
        at: as of when versions are computed, from the documents as they are now: ISO 8601, ms, a datetime with a zone,
            or "list": when the uploaded list was uploaded. None: each member as of its last scoring.
        n_samples: members shown for each kind of flip.

    Raises:
        PublishError: there is no such version, both are the same, or `at` is no time.
        TopicUnreadable: no broker, or no worker has run yet.
    """
    at_ms: Any = at if at in (None, "list") else to_ms(at)
    if at is not None and at_ms is None:
        raise PublishError(
            f"at: expected a time with its zone, found {at!r:.60}. Next: ISO 8601, ms, datetime(…, tzinfo=UTC), 'list'"
        )
    labels, cell = [_label(one) for one in (new, old)], Cell("members compared")
    found = compare_versions(from_environment(os.environ), *labels, at_ms=at_ms, n_samples=n_samples, progress=cell)
    return _run(found)


def _label(given: Any) -> str:
    return given if isinstance(given, str) else _model(given).label


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
) -> Uploaded:
    """Upload a list; return when it is a candidate that all workers have in Redis, or (`promote`) live.

    Args:
        rows: pairs of member id and cluster, a mapping of one to the other, a DataFrame with the columns member_id and
            cluster, or the path of a CSV or Parquet file.
        version: the list's version; None: the next free one.
        names: cluster → name; a cluster without one is called by its number.
        merge: label or name of the list whose rows are kept where the new ones say nothing of a member.
        skip_bad: publish although rows were left out.
        max_flips: with `promote`, the greatest share of members that may change their cluster.

    Raises:
        RowsRejected: some rows can't be taken; `.outcome.rejected` has the first of them.
        PublishError, ListRowsError, ModelsLogError, RedisUnavailable: as Uploading.upload; or promoting was refused.
    """
    if isinstance(rows, Iterator):
        rows = list(rows)  # it is read twice: a list that is refused uses up no version number

    with rereadable(Path(rows)) if isinstance(rows, (str, os.PathLike)) else nullcontext() as file:

        def read() -> Iterator[RawChunk]:
            return read_rows(_pairs(rows)) if file is None else read_file(file)

        options = Options(name, version, "", names or {}, merge, skip_bad, reason)
        return _run(_upload(read, options, promote, max_flips, Cell("rows read")))


def _pairs(rows: Any) -> Any:
    """Return pairs, or a mapping, of what was handed over. Raises PublishError: it is neither."""
    if is_table(rows):
        if missing := sorted({"member_id", "cluster"}.difference(rows.columns)):
            raise PublishError(f"rows: no column {' and no '.join(missing)}. Next: rename(columns={{…}})")
        return zip(rows["member_id"], rows["cluster"], strict=True)
    if not isinstance(rows, Iterable):
        kind = "None" if rows is None else type(rows).__name__
        raise PublishError(
            f"rows: expected pairs of member id and cluster, found {kind}. Next: zip(member_ids, clusters)"
        )
    return rows


async def _scored(publishing: Publishing, version: Version, cell: Cell) -> None:
    """Return when all members are scored with a version; says what that waits for."""
    waiting = Waiting()
    try:
        async for coverage in publishing.wait(version):
            cell.show(coverage._repr_html_(), is_last=coverage.is_complete)
            waiting(awaited(coverage))
    except asyncio.CancelledError:
        note(f"stopped: {goes_on(version.label)}")
        raise


async def _upload(
    read: Callable[[], Iterator[RawChunk]], options: Options, promote: bool, max_flips: float, cell: Cell
) -> Uploaded:
    uploading = Uploading(from_environment(os.environ), this_user(), on_progress=cell)
    examined = await uploading.examine(read(), options)
    if promote:
        await uploading.refuse_stranding(examined, options)
    publishing, outcome = uploading.publishing, await uploading.upload(read(), options)
    entry = (await publishing.registry()).versions[outcome.label]
    await _scored(publishing, entry, cell)
    if promote:
        await uploading.promote(entry, reason=options.reason, max_flips=max_flips)
    return outcome


def change_history(member_ids: Iterable[str]) -> History:
    """Return the change events of members from the topic, for `models.training.from_history`: its `records`.

    Raises:
        TopicUnreadable: no broker, no such topic, or its end can't be reached.
    """
    configuration = from_environment(os.environ)
    keys = {member_id.encode() for member_id in member_ids}
    return _run(
        topic_history(
            configuration.kafka,
            configuration.topic,
            keys,
            configuration.partitioner,
            may_be_json=configuration.are_json_keys_allowed,
        )
    )


def _publishing() -> Publishing:
    return Publishing(from_environment(os.environ), this_user())


def _run(work: Coroutine[Any, Any, T]) -> T:
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def cancellable() -> T:
        if (task := asyncio.current_task()) is not None:
            running.append((asyncio.get_running_loop(), task))
        return await work

    try:
        with ThreadPoolExecutor(1) as thread:
            done = thread.submit(asyncio.run, cancellable())
            try:
                return done.result()
            except KeyboardInterrupt:  # only this thread hears of it
                for loop, task in running:
                    loop.call_soon_threadsafe(task.cancel)
                raise
    except Exception as error:
        error.args = tuple(in_python(one) if isinstance(one, str) else one for one in error.args)
        raise


#: What a command's options are called here.
_IN_PYTHON = {
    "--force": "force=True",
    "--max-flips": "max_flips=…",
    "--merge": "merge=…",
    "--names": "names={cluster: name}",
    "--skip-bad": "skip_bad=True",
    "all are listed by --rejected FILE": "the first of them are in `.outcome.rejected`",
    "name both --id-column and --cluster-column": _COLUMNS,
    "--id-column and --cluster-column": _COLUMNS,
}


def in_python(text: str) -> str:
    """Return the text of a command's refusal in the words of these calls. What it says to run stays a command."""
    text, of_command, its_refusal = text.partition("` is refused: ")
    for option, argument in _IN_PYTHON.items():
        text = text.replace(option, argument)
    return text + of_command + its_refusal
