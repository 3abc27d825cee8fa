"""Numbers written as texts, `"12.50"`: which texts are numbers, and which number each is.

Laws:
- A text is a number if it is a sign or none, digits with at most one point, and an exponent or none: `12`, `-12.50`,
  `+3`, `.5`, `5.`, `007`, `1e3`. Spaces, tabs and line ends around it don't count. It has at most 64 characters, and
  the number lies within a double.
- Nothing else is: no empty text, no comma (`1,5` means one and a half here and fifteen there), no `1_000`, no `0x10`,
  no `NaN` or `Infinity`, no unit, no digits but 0 to 9.
- A text that JSON takes for a number is the number that JSON makes of it, to the last bit.
"""

from __future__ import annotations

import math
import re

MAX_CHARACTERS = 64  # an exact decimal of any database has fewer
_NUMBER = re.compile(r"[ \t\r\n]*([+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?)[ \t\r\n]*")


def read(text: str) -> int | float | None:
    """Return the number that a text writes, whole numbers as such; None if it writes none."""
    match = _NUMBER.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if match is None:
        return None
    written, *parts = match.groups()
    if not any(parts):
        return int(written)
    number = float(written)
    return number if math.isfinite(number) else None
