"""Lines of a file, one at a time, however long the file is: memory is bounded by a line, and a line by MAX_LINE.

Law: somebody may name a wrong file, a gigabyte without line breaks. It is refused at its first 16 million characters,
not after memory is full.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, AnyStr

#: Bytes, or characters of a text. An event has 900,000 at most, a row of a list some hundred.
MAX_LINE = 16 << 20


class LineTooLong(OSError):
    """This can't be a line; the text says what to do next."""


def lines(file: IO[AnyStr], name: object = "") -> Iterator[AnyStr]:
    """Yield a file's lines with their line breaks. `name`: of the file, for the message.

    Raises:
        LineTooLong: one is longer than MAX_LINE.
    """
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) >= MAX_LINE:
            where = f"{name}:{number}" if name else f"line {number}"
            raise LineTooLong(f"{where}: longer than {MAX_LINE:,} characters. Next: is it a file of lines, not packed?")
        yield line
