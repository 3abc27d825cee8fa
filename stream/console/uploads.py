"""Lists that people upload in the console: files that are checked, wait to be decided on, and are uploaded.

Laws:
- Both go on in a thread with a loop of its own, by the command's own steps. A page may be closed meanwhile.
- What is kept is bounded: the bytes of a file, its rows, and how many files there are, of one person and of all. A file
  nobody decides on goes after an hour, one that is uploaded at once.
- Each upload is its author's: nobody else sees it, or decides on it.
- A console that is stopped ends the uploads under way: what they have written is withdrawn, and they can be begun anew.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from starlette.requests import Request

from memberstream.stream.authoring.uploading import Options, Uploaded, Uploading
from memberstream.stream.console import audit
from memberstream.stream.console.following import Problem
from memberstream.stream.console.roles import Person
from memberstream.stream.files.lists import Columns, ListFileError, RawChunk, Rejected, read_file
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.output import EXPECTED, error_text

#: Of a file, some 4 million rows; and of rows, for each of which a check keeps 28 bytes.
LARGEST, MOST_ROWS = 100_000_000, 5_000_000
#: Files of one person, and of all; and how many are read at once.
MOST, MOST_OF_ALL, AT_ONCE = 4, 8, 2
KEPT_S = 3_600.0
SHOWN, LONGEST_SHOWN = 200, 100  # rows that can't be taken, and characters of what stands in one
_TRY = "see the overview for what is away, then begin anew"
#: What errors of the command call its options, as the form calls its fields.
_FIELDS = {
    "--id-column": "the ids' column", "--cluster-column": "the clusters' column", "--names": "names of the clusters",
    "without --merge": "without rows of an earlier list",
}  # fmt: skip
_FAULT = Problem("this is a fault of memberstream", "report it with the lines that the console has just logged")


class TooMany(Exception):
    """No more files are taken now."""


class BadRow(NamedTuple):
    """A row that can't be taken. `member_id` None: which one it names isn't known."""

    line: int
    member_id: str | None
    why: str


class _Stopped(OSError):
    """The console ends."""


@dataclass(slots=True)
class Upload:
    """One file, and how far it is.

    Attributes:
        state: `checking`, `checked`, `uploading`, `done`, or `failed`.
        doing: what is counted by `share`, in words; `share`: how much of it is done; None: that isn't known.
        found: by the check, then by the upload. `bad`: the first rows that can't be taken.
        at_s: when it came to this state, by the monotonic clock.
    """

    id: str
    person: Person
    file: str
    path: Path
    options: Options
    columns: Columns
    request: Request
    state: str = "checking"
    doing: str = "reading the file"
    share: float | None = 0.0
    found: Uploaded | None = None
    bad: list[BadRow] = field(default_factory=list)
    problem: Problem | None = None
    at_s: float = field(default_factory=time.monotonic)

    @property
    def is_under_way(self) -> bool:
        return self.state in ("checking", "uploading")


class Uploads:
    """All uploads of one console."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: dict[str, Upload] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, "list")
        self._folder: Path | None = None
        self._tasks = set[asyncio.Task[None]]()
        self._is_over = False

    def of(self, person: Person) -> list[Upload]:
        """Return somebody's uploads, the newest first."""
        self._forget()
        return [one for one in reversed(self._found.values()) if one.person.identity == person.identity]

    def are_too_many(self, person: Person) -> bool:
        """Return whether one more file of somebody would be refused."""
        self._forget()
        kept = [one.person.identity for one in self._found.values() if one.state not in ("done", "failed")]
        return len(kept) >= MOST_OF_ALL or kept.count(person.identity) >= MOST

    async def begin(
        self, request: Request, person: Person, file: str, content: BinaryIO, options: Options, columns: Columns
    ) -> Upload:
        """Take a file, and begin to check it. Raises TooMany."""
        if self.are_too_many(person):
            raise TooMany
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="memberstream-lists-"))
        number = secrets.token_urlsafe(16)
        path = self._folder / f"{number}{'.parquet' if file.lower().endswith('.parquet') else '.csv'}"
        one = self._found[number] = Upload(number, person, file, path, options, columns, request)
        try:
            await asyncio.to_thread(_copy, content, path)
        except BaseException:
            self.drop(one)
            raise
        self._start(one)
        return one

    def go(self, one: Upload, skip_bad: bool) -> None:
        """Upload what was checked. Once: a second time nothing is done."""
        if one.state == "checked":
            one.options = replace(one.options, skip_bad=skip_bad)
            one.state, one.doing, one.share, one.at_s = "uploading", "reading the file again", 0.0, time.monotonic()
            self._start(one)

    def drop(self, one: Upload) -> None:
        """Forget an upload that isn't under way, and its file."""
        self._found.pop(one.id, None)
        one.path.unlink(missing_ok=True)

    async def close(self) -> None:
        """End what is under way, and remove all files."""
        self._is_over = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _forget(self) -> None:
        now = time.monotonic()
        for one in [one for one in self._found.values() if not one.is_under_way and now - one.at_s >= KEPT_S]:
            self.drop(one)

    def _start(self, one: Upload) -> None:
        work = self._check if one.state == "checking" else self._upload
        task = asyncio.create_task(self._run(one, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, one: Upload, work: Callable[[Upload], Coroutine[Any, Any, None]]) -> None:
        what = f"{'check' if one.state == 'checking' else 'upload'} the list {one.options.name} of {one.file}"
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._work, work, one)
            one.state = "checked" if one.state == "checking" else "done"
        except EXPECTED as error:
            text = error_text(error)
            for option, called in _FIELDS.items():
                text = text.replace(option, called)
            one.problem, one.state = Problem.of(text, _TRY), "failed"
            audit.failed(one.request, what, text)
        except Exception:
            one.problem, one.state = _FAULT, "failed"
            audit.fault(one.request, what)
        else:
            audit.done(one.request, what)
        one.at_s = time.monotonic()
        if one.state != "checked":
            one.path.unlink(missing_ok=True)
        asyncio.get_running_loop().call_later(KEPT_S, self._forget)  # whether or not anybody looks

    def _work(self, work: Callable[[Upload], Coroutine[Any, Any, None]], one: Upload) -> None:
        self._go_on()  # it may have waited for its turn
        asyncio.run(work(one))

    async def _check(self, one: Upload) -> None:
        rejected = list[Rejected]()

        def on_rejected(row: Rejected) -> None:
            if len(rejected) < SHOWN:
                rejected.append(row)

        def on_known(done: int, total: int) -> None:
            one.doing = "looking for the members"
            self._told(one, done, total)

        uploading = Uploading(self._settings, one.person.actor, on_rejected, lambda *how: self._told(one, *how))
        one.found = await uploading.check(self._rows(one), one.options, on_known)
        one.bad = bad_rows(self._rows(one), rejected)

    async def _upload(self, one: Upload) -> None:
        uploading = Uploading(self._settings, one.person.actor, on_progress=lambda *how: self._told(one, *how))
        await uploading.examine(self._rows(one), one.options)  # what is refused now uses up no version
        one.doing, one.share = "writing the rows", 0.0
        one.found = await uploading.upload(self._rows(one), one.options)

    def _told(self, one: Upload, done: int, total: int) -> None:
        one.share = done / total if total else None
        self._go_on()

    def _go_on(self) -> None:
        if self._is_over:
            raise _Stopped("the console was stopped. Next: upload it again")

    def _rows(self, one: Upload) -> Iterator[RawChunk]:
        n = 0
        for chunk in read_file(one.path, one.columns):
            n += len(chunk.lines) + len(chunk.rejected)
            if n > MOST_ROWS:
                raise ListFileError(
                    f"more rows than {MOST_ROWS:,}. Next: memberstream clusters upload takes files of any length"
                )
            yield chunk


def bad_rows(chunks: Iterator[RawChunk], rejected: Sequence[Rejected]) -> list[BadRow]:
    """Return rows that can't be taken with the members that they name. The file is read again, as far as need be."""
    wanted = {row.line for row in rejected}
    ids = dict[int, str]()
    last = max(wanted, default=0)
    for chunk in chunks if wanted else ():
        named = zip(chunk.lines, chunk.ids, strict=True)
        ids |= {line: _short(str(member_id)) for line, member_id in named if line in wanted}
        if chunk.lines and chunk.lines[-1] >= last:
            break
    return [BadRow(row.line, ids.get(row.line), row.reason) for row in rejected]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _copy(content: BinaryIO, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
