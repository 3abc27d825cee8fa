"""Actions: each form is done once, by the steps of the commands, and whoever sent it is told what came of it.

Laws:
- A form has a number. The same form again, by the same person, does nothing again: the same is told. What wasn't done
  is tried again. A form that was filled in otherwise is another one, and is judged by what it was made for.
- A step is taken in a thread with a loop of its own: a promotion reads all members, and pages go on meanwhile. These
  threads are its own, too: while Kafka is away each is kept for long, and pages and the log-in need threads. One action
  more than there are threads is refused, so files that wait don't take the memory.
- What was done is shown on a page of its own address, by redirecting to it: a reload asks for that page only. It shows
  the step, for the console waits until it has read it.
- What wasn't done is said on the form, with the error of the product, and with what was filled in.
- Whoever closes the browser ends nothing. A console that is stopped ends the steps under way first. What takes longer
  than a moment says so, and is looked at until it is over.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from memberstream.models.problems import ModelFileError
from memberstream.stream.authoring.steps import Steps
from memberstream.stream.console import audit
from memberstream.stream.console.access import admitted
from memberstream.stream.console.following import Problem
from memberstream.stream.console.site import Site
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.output import EXPECTED, error_text

NUMBER = "once"
#: Most steps are over within a second or two. After this a page says that it goes on.
MOMENT_S = 10.0
_LOOKS, _LOOK_S = 100, 0.05  # at its own reading of a step: for five seconds
_MOST = 1_000  # results that are remembered; a form older than as many others is answered as an unknown one
AT_ONCE = 8
_BUSY = Problem(
    f"{AT_ONCE} actions are under way: this one was not begun", "wait until one is over, then send it again"
)
_TRY = "see the overview for what is away, then send it again"
_NO_NUMBER = Problem("this form is too old, or it was made elsewhere: nothing was done", "reload the page, and send it")
_FAULT = Problem(
    "this is a fault of memberstream; the step may be taken, or not",
    "look at the history, and report this with the lines that the console has logged",
)


@dataclass(frozen=True, slots=True)
class Act:
    """What a form asks for.

    Attributes:
        what: in words, as "pause summer": continues "wants to".
        run: takes the steps, for the installation and the actor given; returns what was done, in a sentence, and the
            page that shows it.
    """

    what: str
    run: Callable[[Settings, str], Awaitable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Acted:
    """What came of it. `problem` None: it was done; `problems`: those of a file, each with its place."""

    said: str = ""
    page: str = ""
    problem: Problem | None = None
    problems: tuple[str, ...] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class _Begun:
    by: tuple[str, str]  # the identity
    what: str  # not the act: it holds the file that came with the form
    task: asyncio.Task[Acted]

    @property
    def has_failed(self) -> bool:
        return self.task.done() and self.task.result().problem is not None


class Acts:
    """All that was begun in this console, by what names a form that was sent."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, "act")

    async def do(
        self,
        site: Site,
        request: Request,
        form: FormData,
        act: Act,
        again: Callable[[Acted], Awaitable[Response]],
        file: bytes = b"",
    ) -> Response:
        """Do what a form asks for, once. `again`: shows the form with what is wrong; `file`: what came with it."""
        admission, number = admitted(request), form.get(NUMBER)
        if admission is None or not isinstance(number, str) or len(number) != len(new_number()):
            return await again(Acted(problem=_NO_NUMBER, status=400))
        person = admission.person
        name = _name(person.identity, request.url.path, form, file)
        begun = self._begun.get(name)
        if begun is None or begun.has_failed:
            if sum(not one.task.done() for one in self._begun.values()) >= AT_ONCE:
                return await again(Acted(problem=_BUSY, status=503))
            task = asyncio.create_task(self._run(site, request, act, person.actor))
            begun = self._begun[name] = _Begun(person.identity, act.what, task)
            self._forget()
        await asyncio.wait([begun.task], timeout=MOMENT_S)
        if not begun.task.done():
            return RedirectResponse(f"/acts/{name}", 303)
        outcome = begun.task.result()
        if outcome.problem is not None:
            return await again(outcome)
        return RedirectResponse(f"{outcome.page}?done={name}", 303)

    def _of(self, request: Request, name: str) -> _Begun | None:
        admission, begun = admitted(request), self._begun.get(name)
        return begun if admission is not None and begun is not None and begun.by == admission.person.identity else None

    def said(self, request: Request) -> str:
        """Return what the person who asks has just done, if the address names it; "" if not."""
        begun = self._of(request, request.query_params.get("done", ""))
        return begun.task.result().said if begun is not None and begun.task.done() else ""

    async def waiting(self, site: Site, request: Request) -> Response:
        """Show what takes longer, or what has come of it."""
        name = request.path_params["name"]
        begun = self._of(request, name)
        if begun is None:
            gone = Problem("nothing is known of that", "look at the history for what was done")
            return await site.page(request, "error.html", 404, title="Unknown", error=gone)
        if not begun.task.done():
            shown = await site.page(request, "waiting.html", what=begun.what)
            shown.headers["Refresh"] = "2"
            return shown
        outcome = begun.task.result()
        if outcome.problem is None:
            return RedirectResponse(f"{outcome.page}?done={name}", 303)
        return await site.page(
            request, "error.html", outcome.status, title=f"Not done: {begun.what}", error=outcome.problem,
            problems=outcome.problems,
        )  # fmt: skip

    async def close(self) -> None:
        """Wait for what is under way: a process that gets SIGTERM waits for no thread."""
        await asyncio.gather(*(one.task for one in self._begun.values()), return_exceptions=True)

    def _forget(self) -> None:
        for name in [name for name, begun in self._begun.items() if begun.task.done()]:
            if len(self._begun) <= _MOST:
                return
            del self._begun[name]

    async def _run(self, site: Site, request: Request, act: Act, actor: str) -> Acted:
        try:
            taken, threads = _taken(site.settings, act, actor), self._threads
            said, page, end = await asyncio.get_running_loop().run_in_executor(
                threads, copy_context().run, asyncio.run, taken
            )
        except ModelFileError as error:
            audit.failed(request, act.what, "the file has problems")
            problem = Problem("this file can't be published", "correct it (docs/model-file.md), and send it again")
            return Acted(problem=problem, problems=tuple(map(str, error.problems)), status=400)
        except EXPECTED as error:
            text = error_text(error)
            audit.failed(request, act.what, text)
            return Acted(problem=Problem.of(text, _TRY), status=409 if isinstance(error, PublishError) else 503)
        except Exception:
            audit.fault(request, act.what)
            return Acted(problem=_FAULT, status=500)
        audit.done(request, act.what)
        await _is_read(site, end)
        return Acted(said, page)


async def _taken(settings: Settings, act: Act, actor: str) -> tuple[str, str, int]:
    """Return what was done, the page that shows it, and where the models' log ends then."""
    said, page = await act.run(settings, actor)
    try:
        end = (await Steps(settings, actor).registry()).offset
    except EXPECTED:  # what was done is done; its page shows it as soon as Kafka is back
        end = -1
    return said, page, end


async def _is_read(site: Site, end: int) -> None:
    """Wait until the console's own reading of the models' log is there; for a while."""
    for _ in range(_LOOKS):
        if site.following.offset >= end:
            return
        await asyncio.sleep(_LOOK_S)


def new_number() -> str:
    """Return the number of a new form."""
    return secrets.token_urlsafe(16)


def _name(person: tuple[str, str], path: str, form: FormData, file: bytes) -> str:
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return hashlib.sha256(repr((person, path, fields)).encode() + hashlib.sha256(file).digest()).hexdigest()[:32]


def filled(form: FormData) -> dict[str, str]:
    """Return what was filled in, of fields that stand there once."""
    return {name: value for name, value in form.items() if isinstance(value, str)}
