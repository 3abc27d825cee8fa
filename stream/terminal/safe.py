r"""Texts of others on their way to a terminal: model files, Redis, Kafka, events, arguments.

Laws:
- No control character of theirs arrives: it is shown as `\x1b` or `\u202e`. Control characters move cursors, answer in
  the user's name, turn a line around, or begin a line that nobody wrote. These are C0, DEL, C1, marks of direction and
  invisible spaces.
- There are two walls. `escape` is put around each text of others in a line of ours. It shows newlines and markup, too.
  All that is printed or logged goes through `SafeConsole` or `SafeFormatter`. They let only newlines through, in case
  an `escape` was forgotten. The further lines of a log record are indented, so that none looks like another record.
- JSON stays JSON with the same values: `escape_json` uses its own escapes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

from rich import markup
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_INVISIBLE = "\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb"
_UNSAFE = re.compile(f"[\x00-\x1f{_INVISIBLE}\U000e0000-\U000e007f]")
_UNSAFE_IN_TEXT = re.compile(f"[\x00-\x09\x0b-\x1f{_INVISIBLE}\U000e0000-\U000e007f]")


def _name(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def _json_name(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def visible(text: str) -> str:
    """Return a text of several lines with its control characters shown; newlines stay."""
    return _UNSAFE_IN_TEXT.sub(_name, text)


def one_line(text: str) -> str:
    """Return a text on one line, with its control characters shown."""
    return _UNSAFE.sub(_name, text)


def escape(text: str) -> str:
    """Return a text of others so that rich's markup shows it as it stands, on one line."""
    return markup.escape(one_line(text))


def escape_json(text: str) -> str:
    """Return JSON of the same value, on one line, that is safe for a terminal."""
    return _UNSAFE.sub(_json_name, text)


class SafeConsole(Console):
    """A console that lets no control character through except its own."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or not _UNSAFE_IN_TEXT.search(segment.text):
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


class SafeFormatter(logging.Formatter):
    """A log line; all else that belongs to the record follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n    ")
