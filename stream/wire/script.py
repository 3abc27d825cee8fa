"""Lua scripts by their digest, and scripts that only one process of Redis knows, so that they bear witness to it."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Self

from hiredis import pack_command

from .cluster import Piece


class Script:
    """One or several Lua files as one script: its text, and the digest by which Redis knows it."""

    def __init__(self, *names: str) -> None:
        self._set_text(
            b"".join(files("memberstream.stream").joinpath("lua", name + ".lua").read_bytes() for name in names)
        )

    def _set_text(self, text: bytes) -> None:
        self.text = text
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()

    def witness(self, token: bytes) -> Self:
        """Return the same script under a new digest: only a process that was given it can run it.

        Redis keeps scripts in no dump, in no log and on no replica (since 7.0). So a process that was started anew, or
        that took the place of another, doesn't know the script.
        """
        other = type(self)()
        other._set_text(self.text + b"\n-- " + token + b"\n")
        return other

    def pack(self, keys: Sequence[bytes], args: Iterable[bytes | int]) -> Piece:
        return Piece(keys[0], pack_command((b"EVALSHA", self.sha, len(keys), *keys, *args)))

    def load(self) -> bytes:
        """Return the command that loads it into Redis."""
        packed: bytes = pack_command((b"SCRIPT", b"LOAD", self.text))
        return packed
