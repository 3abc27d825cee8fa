"""What a model would read of the documents that a file's events make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import msgspec

from memberstream.models.apply import apply_one
from memberstream.models.coverage import Coverage, coverage
from memberstream.models.event import BadEvent, decode
from memberstream.models.member import Member
from memberstream.models.model import Model
from memberstream.models.timestamps import MAX_MS
from memberstream.stream.authoring.fitting import SAMPLE, misfitting

# Line number, key, value, and why a worker couldn't read it.
Line = tuple[int, bytes | None, bytes, BadEvent | None]


class Reading(NamedTuple):
    """What the documents hold at the places that a model reads. `why`: why that is too bad; "" if it isn't."""

    coverage: list[Coverage]
    why: str


class Documents:
    """The documents of the first members of a file. Each begins empty: what came before the file isn't known."""

    def __init__(self) -> None:
        self._members: dict[bytes, Member] = {}

    def listening(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield the lines; apply their events on the way."""
        for line in lines:
            number, key, value, error = line
            if error is None and key is not None and (key in self._members or len(self._members) < SAMPLE):
                event = msgspec.structs.replace(decode(key, value, 0, MAX_MS), create=True)
                with suppress(BadEvent):  # it doesn't fit the document: a worker knows more of the member
                    apply_one(self._members.setdefault(key, Member()), number, event, len(value))
            yield line

    def all(self) -> list[dict[str, object]]:
        """Return the documents."""
        return [member.document for member in self._members.values() if member.document is not None]


def reading(model: Model, documents: Documents) -> Reading:
    """Return what a model reads of documents."""
    found = coverage(model.predictors, documents.all())
    return Reading(found, misfitting(model.label, found))
