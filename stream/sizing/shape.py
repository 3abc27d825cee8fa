"""Synthetic members: documents of a given size with a list of a given length, and patches of them.

Laws:
- What is made depends on the shape and the seed alone.
- A document is the same for ever, however often it is sent: synthetic load may be sent again.
- Ids begin with `load-` and have 24 characters, as ids of document databases have. So they are told from real members,
  and can be deleted again.
- A patch creates the member if there is none: load may begin anywhere.

A document has ten numbers `n0` to `n9`, a text `kind` of four, a list `items` of `{"at", "amount"}`, and a text `note`
that fills it up. A patch changes two of the numbers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from memberstream.models.wording import counted

Event = tuple[bytes, bytes]  # key and value of a record
#: Distinct documents, and patches: members share them, so that they needn't be made while they are sent. Of large
#: documents there are fewer: all together have POOL_BYTES.
POOL, POOL_BYTES = 500, 32_000_000
_ELEMENT_BYTES = 35
#: Of random bytes: so no disk makes the text smaller. Real documents take less there.
_LETTERS = bytes(97 + byte % 26 for byte in range(256))
_START_MS = 1_767_225_600_000  # 2026-01-01
_DAY_MS = 86_400_000


class ShapeError(ValueError):
    """No document can have this shape. The text says what would do."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What synthetic events look like.

    Attributes:
        members: how many there are.
        document_bytes: of a member's document as JSON.
        list_length: elements of its list.
        patch_share: share of the steady events that are patches, 0 to 1. The others are whole documents.
    """

    members: int
    document_bytes: int = 1_000
    list_length: int = 10
    patch_share: float = 1.0


def member_id(i: int) -> bytes:
    """Return the key of synthetic member i."""
    return b"load-%019d" % i


def documents(shape: Shape, seed: int) -> list[dict[str, Any]]:
    """Return POOL documents of a shape, or fewer. Raises ShapeError: it is too small for its list."""
    chance = random.Random(seed)
    n = max(1, min(POOL, POOL_BYTES // max(shape.document_bytes, _ELEMENT_BYTES * shape.list_length)))
    made = [_document(shape, chance) for _ in range(n)]
    least = max(len(orjson.dumps(document)) for document in made)
    if least > shape.document_bytes:
        raise ShapeError(
            f"a document with {counted(shape.list_length, 'element')} takes {least:,} bytes, asked for were "
            f"{shape.document_bytes:,}. Next: allow at least {least:,} bytes, or fewer elements"
        )
    for document in made:
        room = shape.document_bytes - len(orjson.dumps(document))
        document["note"] = chance.randbytes(room).translate(_LETTERS).decode()
    return made


def firsts(shape: Shape, seed: int) -> Iterator[Event]:
    """Yield the whole document of each member, once."""
    values = [orjson.dumps({"op": "replace", "document": document}) for document in documents(shape, seed)]
    for i in range(shape.members):
        yield member_id(i), values[i % len(values)]


def steady(shape: Shape, seed: int) -> Iterator[Event]:
    """Yield patches and documents of random members, for ever."""
    made = documents(shape, seed) if shape.patch_share < 1 else []
    wholes = [orjson.dumps({"op": "replace", "document": document}) for document in made]
    chance = random.Random(seed + 1)
    patches = [
        orjson.dumps(
            {
                "op": "patch",
                "patch": {f"n{n}": _number(chance) for n in chance.sample(range(10), 2)},
                "create": True,
            }
        )
        for _ in range(POOL)
    ]
    while True:
        is_patch = chance.random() < shape.patch_share
        yield member_id(chance.randrange(shape.members)), chance.choice(patches if is_patch else wholes)


def deletes(shape: Shape) -> Iterator[Event]:
    """Yield a delete of each member."""
    for i in range(shape.members):
        yield member_id(i), b'{"op":"delete"}'


def _document(shape: Shape, chance: random.Random) -> dict[str, Any]:
    return {
        **{f"n{n}": _number(chance) for n in range(10)},
        "kind": chance.choice(("red", "green", "blue", "grey")),
        "items": [
            {"at": _START_MS - chance.randrange(365) * _DAY_MS, "amount": _number(chance)}
            for _ in range(shape.list_length)
        ],
        "note": "",
    }


def _number(chance: random.Random) -> float:
    return round(chance.expovariate(1 / 40), 2)
