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


class JsonFormatter(logging.Formatter):
    """See above."""

    def format(self, record: logging.LogRecord) -> str:
        message, *action = _NEXT.split(record.getMessage(), maxsplit=1)
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found: dict[str, Any] = {
            "time": time,
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        if action:
            [found["next"]] = action
        if record.exc_info and (error := record.exc_info[1]) is not None:
            found["error"] = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            }
        return escape_json(json.dumps(found, ensure_ascii=False))
