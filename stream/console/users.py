"""The file of those who may log in with a password: names, roles, and passwords as argon2id makes them unreadable.

Laws:
- Who isn't in the file can't be told from who gave a wrong password: the same work is done for both.
- A change is written whole or not at all, readable for its owner alone. A running console sees it at the next request.
- A file that can't be read lets nobody in, and says why to who runs the console.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from memberstream.stream.console.roles import Person, Role, may_be_called

#: Characters. A guess costs some 50 ms, and few are let through (attempts.py); a file that got away is another matter.
SHORTEST, LONGEST = 12, 1_000
_HASHER = PasswordHasher()  # argon2id with the parameters of RFC 9106 for little memory: 64 MiB
#: Of a password that nobody has: looked at for a name that isn't there.
_NOBODYS = _HASHER.hash(os.urandom(32))


class UsersError(OSError):
    """The file can't be used, or a change makes no sense. The text says what to do next."""


class User(msgspec.Struct, frozen=True):
    """One of the file. `password`: argon2's own form."""

    roles: frozenset[Role]
    password: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    users: dict[str, User]


class Users:
    """The file. It is read anew when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._users: Mapping[str, User] = {}

    @property
    def all(self) -> Mapping[str, User]:
        """Who there is, by name; nobody if there is no file. Raises UsersError: it can't be read."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                self._users, self._stamp = _read(self._path), stamp
        except FileNotFoundError:
            self._users, self._stamp = {}, None
        except OSError as error:
            raise UsersError(f"{self._path}: {error.strerror}. Next: let this user read it") from None
        return self._users

    def person(self, name: str) -> Person | None:
        """Return somebody as the file says now; None: it has no such name. Raises UsersError."""
        found = self.all.get(name)
        return None if found is None else Person(name, found.roles)

    def check(self, name: str, password: str) -> User | None:
        """Return who has this name and this password; None: nobody. Takes some 50 ms and 64 MiB. Raises UsersError."""
        found = self.all.get(name)
        try:
            _HASHER.verify(_NOBODYS if found is None else found.password, password[: LONGEST + 1])
        except (VerificationError, InvalidHashError):
            return None
        return found

    def add(self, name: str, password: str, roles: frozenset[Role]) -> bool:
        """Add somebody, or give new roles and a new password. Returns whether the name is new. Raises UsersError."""
        if not may_be_called(name):
            raise UsersError(f"{name!r} is no name. Next: 1 to 100 printable characters, without spaces at the ends")
        if not SHORTEST <= len(password) <= LONGEST:
            raise UsersError(
                f"expected a password of {SHORTEST} to {LONGEST:,} characters, found {len(password):,}. Next: another "
                "one, for instance four words"
            )
        is_new = name not in self.all
        self._write({**self.all, name: User(roles, _HASHER.hash(password))})
        return is_new

    def remove(self, name: str) -> None:
        """Remove somebody. Raises UsersError: there is no such name."""
        if name not in self.all:
            raise UsersError(f"{name!r} isn't in {self._path}. Next: memberstream console-users list")
        self._write({one: user for one, user in self.all.items() if one != name})

    def _write(self, users: Mapping[str, User]) -> None:
        text = msgspec.json.format(msgspec.json.encode(_File(1, dict(sorted(users.items())))), indent=2)
        try:
            handle, name = tempfile.mkstemp(dir=self._path.absolute().parent, prefix=f".{self._path.name}.")  # 0600
            written = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(text + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                written.replace(self._path)
            except BaseException:
                written.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise UsersError(f"{self._path}: {error.strerror}. Next: let this user write there") from None


def _read(path: Path) -> Mapping[str, User]:
    advice = "Next: correct it, or remove it and add everybody anew (memberstream console-users add)"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsersError(f"{path} is no file of users: {error}. {advice}") from None
    if found.format != 1:
        raise UsersError(f"{path}: expected format 1, found {found.format}. Next: take the memberstream that wrote it")
    if wrong := [name for name, user in found.users.items() if not may_be_called(name) or not user.roles]:
        raise UsersError(f"{path}: {wrong[0]!r} has no role, or no name that may be. {advice}")
    return found.users
