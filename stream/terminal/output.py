"""How commands print: results on standard output, the rest on standard error. Every error ends with what to do.

With `--json` standard output has one JSON value, and an error is one, too (tree.py).
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from threading import current_thread, main_thread
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import orjson
import typer
from aiokafka.errors import KafkaError
from rich import markup
from rich.logging import RichHandler

from memberstream.models.problems import ModelFileError
from memberstream.stream.files.lists import ListFileError
from memberstream.stream.files.snapshot import SnapshotError
from memberstream.stream.kafka.clients import DENIED, advice
from memberstream.stream.keyspace.formats import KeyspaceError
from memberstream.stream.lookup import LookupUnavailable
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import LogFormat, Settings, SettingsError, from_environment, variable
from memberstream.stream.terminal.json_log import JsonFormatter, split_next
from memberstream.stream.terminal.safe import SafeConsole, SafeFormatter, escape_json

log = logging.getLogger(__name__)
out = SafeConsole(soft_wrap=True, highlight=False)
err = SafeConsole(stderr=True, soft_wrap=True, highlight=False)

#: Of a reason: a paragraph, or a link to more.
REASON_BYTES = 2_000

P = ParamSpec("P")
R = TypeVar("R")


_is_json: ContextVar[bool] = ContextVar("errors are told as JSON", default=False)


class CommandError(Exception):
    """A command can't do what it was asked to do; the text names the next action. Exit status 1."""

    exit_status = 1


class Stopped(CommandError):
    """Somebody has pressed Ctrl-C; the text says what remains, and how to go on. Exit status 130, as of any program."""

    exit_status = 130


#: Errors that are told by their text, without a traceback.
EXPECTED = (
    CommandError,
    KafkaError,
    KeyspaceError,
    ListFileError,
    LookupUnavailable,
    ModelFileError,
    OSError,
    PublishError,
    RedisUnavailable,
    SettingsError,
    SnapshotError,
)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print an expected error as its text, without a traceback, and exit with status 1. Bugs keep the traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # its reader has seen enough (| head): nothing to report
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            tell("stopped")
            raise typer.Exit(Stopped.exit_status) from None
        except EXPECTED as error:
            tell(error_text(error))
            raise typer.Exit(getattr(error, "exit_status", 1)) from None

    return run


@contextmanager
def errors_told(words: Sequence[str]) -> Iterator[bool]:
    """Have errors told as JSON inside, if the words of a command line ask for that. Yields whether they do."""
    options = words[: words.index("--")] if "--" in words else words
    token = _is_json.set("--json" in options)
    try:
        yield _is_json.get()
    finally:
        _is_json.reset(token)


def tell(text: str) -> None:
    """Tell an error. `text` ends with "Next: …" if there is something to do."""
    if _is_json.get():
        error, action = split_next(text)
        err.out(escape_json(to_json({"error": error, "next": action})), highlight=False)
    else:
        err.print("[red]error[/]:", markup.escape(text))


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask, unless somebody is sure (`--yes`). On standard error: standard output is for results.

    Raises:
        CommandError: the answer is no, or there is nobody to answer.
        Stopped: Ctrl-C.
    """
    if is_sure:
        return
    try:
        with _interruptible():
            is_meant = typer.confirm(question, err=True)
    except typer.Abort as abort:
        err.print()
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise Stopped("stopped: nothing was changed. Next: run it again when you are sure") from None
        raise CommandError("nothing was changed: nobody answered. Next: run it on a terminal, or with --yes") from None
    if not sys.stdin.isatty():
        err.print()  # nobody has typed a newline here
    if not is_meant:
        raise CommandError("nothing was changed. Next: run it again when you are sure")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a question. In an event loop it only cancels a task, and the question would go on."""
    if current_thread() is not main_thread():  # only the main thread gets signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def reason_option(text: str) -> Any:
    """Return the option that says why something is done: kept for ever, and read by every worker at each start."""
    return typer.Option(help=text, callback=_bounded)


def _bounded(reason: str) -> str:
    if (n := len(reason.encode())) > REASON_BYTES:
        raise typer.BadParameter(
            f"{n:,} bytes, the limit is {REASON_BYTES:,}. Next: say it shorter, or where it stands"
        )
    return reason


def settings() -> Settings:
    """Return the settings of this process' environment."""
    return from_environment(os.environ)


def settings_of_a_worker(*, json: bool) -> Settings:
    """Return the settings; `json`: the log is to be in JSON, whatever they say.

    What is wrong with them is a record of a log in JSON: nothing else is read there.
    """
    try:
        found = settings()
        return dataclasses.replace(found, log_format="json") if json else found
    except SettingsError as error:
        if not json and os.environ.get(variable("log_format")) != "json":
            raise
        set_up_logging("json")
        log.error("%s", error)
        raise typer.Exit(1) from None


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    out.out(escape_json(to_json(value)), highlight=False)


def to_json(value: Any) -> str:
    """Return one JSON value on one line; dataclasses as objects, numbers with all their digits."""
    return orjson.dumps(
        value, default=_default, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS
    ).decode()


def _default(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError


def error_text(error: BaseException) -> str:
    """Return the text of an expected error. The system's own errors say what is wrong; what to do is added here."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}. Next: make room on that disk, or write elsewhere; what is there isn't whole"
    if isinstance(error, OSError) and error.strerror is not None:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}. Next: check that it exists and may be used by this user"
    if isinstance(error, KafkaError) and "Next: " not in str(error):
        if isinstance(error, DENIED):
            return f"Kafka doesn't allow that to this user ({error}){advice(error)}"
        return f"Kafka: {error}. Next: check the brokers, and try again"
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


class SaysItOnce(logging.Filter):
    """Lets each kind of aiokafka's messages through once in 30 s. In an outage aiokafka writes a hundred a second."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said_at: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka") or record.exc_info:
            return True
        kind, now = (record.name, record.msg), self._clock()
        if now - self._said_at.get(kind, -math.inf) < 30:
            return False
        self._said_at[kind] = now
        return True


class OwnWords(logging.Filter):
    """Drops what libraries tell of their inner workings: below a warning only our own code speaks. Where the code lies
    decides, because Faust's classes log under the names of ours, which derive from them."""

    _OURS = str(Path(__file__).parents[2])

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.pathname.startswith(self._OURS)


class WithoutTraceback(logging.Filter):
    """Drops the traceback of an error that says what to do: its reader is an operator, not an author of the code."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None and "Next: " in str(record.exc_info[1]):
            record.exc_info, record.exc_text = None, None
        return True


#: Libraries whose warnings say again, and often, what a command's own error says once.
_REPETITIVE = ("aiokafka", "memberstream_lookup")


def leave_to_the_error() -> None:
    """Silence what the error of a command says, too. A worker logs it all the same: `set_up_logging`."""
    for name in _REPETITIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def set_up_logging(form: LogFormat, *, verbose: bool = False) -> None:
    """Log to standard error: JSON if asked for, in colour on a terminal, plain lines with time and level elsewhere.

    `verbose`: also what the libraries tell of their inner workings.
    """
    if form == "json":
        handler: logging.Handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
    elif err.is_terminal:
        handler = RichHandler(console=err, show_path=False)
        handler.setFormatter(SafeFormatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(WithoutTraceback())
    handler.addFilter(SaysItOnce())
    if not verbose:
        handler.addFilter(OwnWords())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _REPETITIVE:
        logging.getLogger(name).setLevel(logging.NOTSET)
