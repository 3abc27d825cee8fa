"""How commands speak: results on standard output, the rest on standard error; every error ends with what to do."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import orjson
import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from models.problems import ModelFileError
from stream.list_file import ListFileError
from stream.lookup import LookupUnavailable
from stream.model_source import PublishError
from stream.projection import RedisUnavailable
from stream.settings import Settings, SettingsError, from_environment

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

P = ParamSpec("P")
R = TypeVar("R")


class CommandError(Exception):
    """A command that can't do what it was asked; the text names the next action. Exit status 1."""


_EXPECTED = (
    CommandError,
    ListFileError,
    LookupUnavailable,
    ModelFileError,
    OSError,
    PublishError,
    RedisUnavailable,
    SettingsError,
)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print an expected error as its text, without a traceback, and exit with status 1; ours keep the traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has seen enough (| head): nothing to report
            raise typer.Exit(0) from None
        except _EXPECTED as error:
            err.print(f"[red]error[/]: {escape(_text(error))}")
            raise typer.Exit(1) from None

    return run


def settings() -> Settings:
    """Return the settings of this process' environment."""
    return from_environment(os.environ)


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    out.out(to_json(value), highlight=False)


def to_json(value: Any) -> str:
    """Return one JSON value on one line; dataclasses as objects, numbers with all their digits."""
    return orjson.dumps(
        value, default=_default, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS
    ).decode()


def _default(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError


def _text(error: BaseException) -> str:
    """Return what to print of an expected error; the system's own say what is wrong, but not what to do."""
    if isinstance(error, OSError) and error.strerror is not None:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}. Next: check that it exists and may be used by this user"
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


class SaysItOnce(logging.Filter):
    """Lets each kind of aiokafka's messages through once in 30 s: in an outage it writes a hundred lines a second."""

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


def set_up_logging() -> None:
    """Log to standard error: in colour on a terminal, plain lines with time and level elsewhere."""
    if err.is_terminal:
        handler: logging.Handler = RichHandler(console=err, show_path=False)
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler], force=True)
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(SaysItOnce())
    for chatty in ("aiokafka", "faust", "mode"):  # their INFO tells of their own inner life, not of the members
        logging.getLogger(chatty).setLevel(logging.WARNING)
