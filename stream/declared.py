"""How a setting is declared: a field with its default, a parser of its text, and the reason for both."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def setting(default: Any, parse: Callable[[str], Any], reason: str, *, is_secret: bool = False) -> Any:
    """Return a dataclass field. `parse` raises ValueError with what it expects. A secret is never shown."""
    metadata = {"parse": parse, "reason": reason, "is_secret": is_secret}
    return field(default=default, repr=not is_secret, metadata=metadata)


def text(value: str) -> str:
    if not value:
        raise ValueError("a text")
    return value


def instance_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in (".", ".."):
        raise ValueError("1 to 249 letters, digits, dots, _ and - (Kafka's rule)")
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


def networks(value: str) -> tuple[str, ...]:
    found = tuple(one.strip() for one in value.split(",") if one.strip())
    try:
        for one in found:
            ip_network(one, strict=False)
    except ValueError:
        raise ValueError("IP addresses or networks, as 10.1.2.3 or 10.1.2.0/24, joined by commas") from None
    return found


def host_names(value: str) -> tuple[str, ...]:
    found = tuple(one.strip().lower() for one in value.split(",") if one.strip())
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", one) for one in found):
        raise ValueError("names of hosts without scheme and port, as console.example.com, joined by commas")
    return found


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


def scopes(value: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(value.replace(",", " ").split()))
    if "openid" not in found:
        raise ValueError("scopes joined by commas, openid among them")
    return found


def roles(value: str) -> tuple[str, ...]:
    """Return VALUE=ROLE for each. Values may hold commas and "=" if all are whole names of a directory.

    Else it isn't clear where one ends: OU=operator,DC=shop=viewer is one group, or two.
    """
    *pairs, rest = re.split(r"=\s*(viewer|manager|author|operator)\s*(?:,|$)", value.strip())
    values = [one.strip() for one in pairs[::2]]
    if rest.strip() or not all(values):
        raise ValueError("VALUE=ROLE, joined by commas, as marketing=manager; roles: viewer, manager, author, operator")
    if any("=" in one or "," in one for one in values):
        parts = [part.partition("=") for one in values for part in one.split(",")]
        if not all(key.strip() and text.strip() and "=" not in text for key, _, text in parts):
            raise ValueError(
                "VALUE=ROLE, where values with = or , are whole names of a directory, as CN=data,OU=shop=author, and "
                "stand beside such ones only: else it isn't clear where one ends"
            )
    return tuple(f"{one}={role}" for one, role in zip(values, pairs[1::2], strict=True))


def readable_file(value: str) -> Path:
    if not Path(value).is_file():
        raise ValueError("a file that exists")
    return Path(value)


def url(value: str) -> str:
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOOPBACK):
        raise ValueError("an address that begins with https:// (http:// on this machine only: it carries a secret)")
    if not parts.hostname or port == 0:
        raise ValueError("an address with a host and, if need be, a port")
    return value
