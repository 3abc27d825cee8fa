"""Log records as JSON, one object a line, for collectors that parse (MEMBERSTREAM_LOG_FORMAT=json).

The keys are stable: `time` (RFC 3339, UTC, ms), `level`, `logger`, `message`. Where there is one: `next`, what to do,
which a message has behind "Next: "; and `error` with `type`, `message` and `traceback`.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Any

from memberstream.stream.terminal.safe import escape_json

_NEXT = re.compile(r"(?:\. |\n)Next: ")


def split_next(text: str) -> tuple[str, str | None]:
    """Return what a message says, and what is to be done, if it says that."""
    said, *action = _NEXT.split(text, maxsplit=1)
    return said, action[0] if action else None


class JsonFormatter(logging.Formatter):
    """See above."""

    def format(self, record: logging.LogRecord) -> str:
        message, action = split_next(record.getMessage())
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found: dict[str, Any] = {
            "time": time,
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        if action is not None:
            found["next"] = action
        if record.exc_info and (error := record.exc_info[1]) is not None:
            found["error"] = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            }
        return escape_json(json.dumps(found, ensure_ascii=False))
