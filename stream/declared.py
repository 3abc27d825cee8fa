"""How a setting is declared: a field with its default, a parser of its text, and the reason for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any


def setting(default: Any, parse: Callable[[str], Any], reason: str, *, is_secret: bool = False) -> Any:
    """Return a dataclass field. `parse` raises ValueError with what it expects. A secret is never shown."""
    metadata = {"parse": parse, "reason": reason, "is_secret": is_secret}
    return field(default=default, repr=not is_secret, metadata=metadata)


def text(value: str) -> str:
    if not value:
        raise ValueError("a text")
    return value


def addresses(value: str) -> tuple[str, ...]:
    servers = tuple(server.strip() for server in value.split(",") if server.strip())
    for server in servers:
        host, colon, port = server.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise ValueError("host:port, or several joined by commas")
    if not servers:
        raise ValueError("host:port, or several joined by commas")
    return servers


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = -1
        if not low <= found <= high:
            raise ValueError(f"seconds from {low} to {high}")
        return found

    return parse


def choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return parse


def readable_file(value: str) -> Path:
    if not Path(value).is_file():
        raise ValueError("a file that exists")
    return Path(value)


def url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("an address that begins with https:// or http://")
    return value
