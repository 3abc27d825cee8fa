"""The least rights, as docs/kafka-security.md lists them, given to a user of a broker with ACLs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from memberstream.stream.settings import Settings

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "kafka-security.md"


class Right(NamedTuple):
    """One operation on a topic or a group; a name that ends in `*` is a prefix."""

    resource: str
    name: str
    operation: str


def rights_of(role: str, settings: Settings) -> list[Right]:
    """Return what the page lists for a role."""
    names = {"topic": settings.topic, "group": settings.group, "interactions": settings.interactions_topic}
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in _PAGE.read_text().partition("## Rights")[2].splitlines()
        if line.startswith("|")
    ]
    found = []
    for who, resource, name, operations, _ in rows:
        if who == role:
            for key, value in names.items():
                name = name.replace(f"<{key}>", value)
            found += [Right(resource, name, operation.strip()) for operation in operations.split(",")]
    assert found, f"{_PAGE} has no rights of {role}"
    return found


def grant(bootstrap: str, user: str, rights: Iterable[Right], *, in_addition: bool = False) -> None:
    """Give a user these rights, and no others unless `in_addition`. `bootstrap`: of a listener where everything is
    allowed. (Others are taken away first, so for a moment the user has none.)"""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    anything: Any = None
    everything = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        f"User:{user}",
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for future in () if in_addition else admin.delete_acls([everything]).values():
        future.result()
    bindings = [
        AclBinding(
            ResourceType[right.resource.upper()],
            right.name.rstrip("*"),
            ResourcePatternType.PREFIXED if right.name.endswith("*") else ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[right.operation],
            AclPermissionType.ALLOW,
        )
        for right in rights
    ]
    for future in admin.create_acls(bindings).values():
        future.result()
