"""Who may what in the console: the one table of roles and rights.

Laws:
- Every page and every action names the right that it takes (app.py). Whoever lacks it is answered 403.
- Each role may look. A person may have several roles, and may then what any of them may.
- Where no log-in is set up nobody is known, so nobody may do more than look.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

#: Of a person's name: it stands in the history for ever, and in each line of the log about that person.
_LONGEST_NAME = 100


class Role(StrEnum):
    """What somebody is to an installation. The value is what people write."""

    VIEWER = "viewer"
    MANAGER = "manager"
    AUTHOR = "author"
    OPERATOR = "operator"


class Right(StrEnum):
    """What somebody may do; the value continues "may"."""

    LOOK = "look"
    CAMPAIGNS = "set campaigns"
    MODELS = "publish and promote models"
    DOCUMENTS = "see members' documents unmasked"
    DEAD_LETTERS = "send dead letters again"


RIGHTS = {
    Role.VIEWER: frozenset({Right.LOOK}),
    Role.MANAGER: frozenset({Right.LOOK, Right.CAMPAIGNS}),
    Role.AUTHOR: frozenset({Right.LOOK, Right.MODELS, Right.DOCUMENTS}),
    Role.OPERATOR: frozenset(Right),
}


BY_PASSWORD, BY_PROXY = "password", "proxy"


class Person(NamedTuple):
    """Who asks. `name` "": nobody is known here.

    Attributes:
        source: who says so: the file of passwords, a proxy, or the issuer of a provider.
        subject: the source's own id of the person; "": the name is it.
    """

    name: str
    roles: frozenset[Role]
    source: str = BY_PASSWORD
    subject: str = ""

    def may(self, right: Right) -> bool:
        """Return whether one of the roles has this right."""
        return any(right in RIGHTS[role] for role in self.roles)

    @property
    def identity(self) -> tuple[str, str]:
        """Who it is: two sources may know different people by one name."""
        return self.source, self.subject or self.name

    @property
    def actor(self) -> str:
        """The name in the history, where commands have `user@host`."""
        return f"{self.name} via console"

    @property
    def told(self) -> str:
        """The name and the roles, for a line about this person."""
        return f"{self.name or 'somebody'} ({', '.join(sorted(self.roles)) or 'no role'})"


ANYBODY = Person("", frozenset({Role.VIEWER}))


def may_be_called(name: str) -> bool:
    """Return whether a person may have this name."""
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()


def who_may(right: Right) -> str:
    """Return the roles that have a right, in words."""
    return " or ".join(role for role in Role if right in RIGHTS[role])
