"""A long list that stays packed: elements are added to its MessagePack bytes, and read once for what predictors ask.

A list of 5,000 elements takes milliseconds to read, to look through and to write again, whatever was added to it. So it
stands in a document as its bytes, in the place of a list. What predictors read of it lies beside it in columns, which
go on with each element (models/columns.py).

Laws:
- It means the list of its elements, and whoever asks is told what that list would tell, bit for bit.
- Its bytes are those that the list has in a member's state.
- It doesn't change: `plus` returns another one. Columns belong to the one that was asked last. One from which they were
  taken makes new ones if it is asked again.
"""

from __future__ import annotations

import struct
from typing import Any, final

import msgspec
import orjson

from memberstream.models.columns import Keep, Selection, Span

#: Bytes of a packed list from which on it stays packed: some 300 elements. Shorter ones are read sooner than looked up.
LONG_BYTES = 8_192
# Objects inside one another that are looked through for long lists. Each level is skimmed as a whole.
_LEVELS = 4
# To go on with columns by one element costs what it costs to make them of four or so. A few are always gone on with.
_READ_FOR_ONE, _FEW = 4, 4
_json = orjson.dumps
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_unpack_list = msgspec.msgpack.Decoder(list[Any]).decode
_unpack_shallow = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_N16, _N32 = struct.Struct(">BH"), struct.Struct(">BI")


@final
class PackedList:
    """A list as its packed elements. `len` is their number."""

    __slots__ = ("_added", "_before", "_body", "_items", "_json_bytes", "_n", "_n_added", "_packed", "_selections")

    def __init__(
        self, body: memoryview, n: int, added: list[bytes] | None = None, before: PackedList | None = None
    ) -> None:
        self._body, self._n = body, n  # n: of all elements
        # The last elements, each packed. What `plus` makes of this one has the same list, and its elements behind them.
        self._added = [] if added is None else added
        self._n_added = len(self._added)
        self._before = before  # this one with fewer elements; None: its columns can't be gone on with
        self._packed: bytes | None = None
        self._items: list[Any] | None = None
        self._json_bytes: int | None = None
        self._selections: dict[str, Selection] = {}

    @staticmethod
    def of(packed: bytes) -> PackedList:
        """Return a list that is packed already."""
        first = packed[0]
        if first == 0xDD:
            n, start = _N32.unpack_from(packed)[1], _N32.size
        elif first == 0xDC:
            n, start = _N16.unpack_from(packed)[1], _N16.size
        else:
            n, start = first & 0x0F, 1
        found = PackedList(memoryview(packed)[start:], n)
        found._packed = packed
        return found

    def __len__(self) -> int:
        return self._n

    def plus(self, value: Any) -> PackedList:
        """Return the list with one more element. A batch may add thousands: none costs more for those before it."""
        packed, n = _pack(value), self._n_added
        added = self._added if 0 < n == len(self._added) else self._added[:n]
        added.append(packed)
        before = self if self._selections or self._before is None else self._before
        return PackedList(self._body, self._n + 1, added, before)

    def packed(self) -> bytes:
        """Return the list packed. What was read of it for new columns is forgotten."""
        if self._packed is None:
            n = self._n
            head = bytes((0x90 | n,)) if n < 16 else _N16.pack(0xDC, n) if n < 1 << 16 else _N32.pack(0xDD, n)
            self._packed = b"".join((head, self._body, *self._added[: self._n_added]))
            self._body, self._added, self._n_added = memoryview(self._packed)[len(head) :], [], 0
        self._items = self._before = None
        for selection in self._selections.values():
            selection.forget()
        return self._packed

    def read(self) -> list[Any]:
        """Return the list."""
        return _unpack_list(b"".join((_N32.pack(0xDD, self._n), self._body, *self._added[: self._n_added])))

    def items(self) -> list[Any]:
        """Return the elements, and remember them until it is packed: columns that are made together read them once."""
        if self._items is None:
            self._items = self.read()
        return self._items

    def span(self, definition: str, keep: Keep, *, is_timed: bool) -> Span:
        """Return the elements that `keep` keeps.

        Args:
            definition: of `keep`: equal ones keep the same.
        """
        self._go_on()
        found = self._selections.get(definition)
        if found is None:
            found = self._selections[definition] = Selection(keep, self.items(), is_timed=is_timed)
        return Span(found, self.items, 0, found.n)

    def _go_on(self) -> None:
        """Take the columns of the list from which this one was made, and add what it has more, unless that is much."""
        before, self._before = self._before, None
        if before is None or not before._selections:
            return
        n_more = self._n - before._n
        if n_more > max(_FEW, self._n // _READ_FOR_ONE):
            return
        self._selections, before._selections = before._selections, {}
        for packed in self._added[self._n_added - n_more : self._n_added]:
            element = _unpack(packed)
            for selection in self._selections.values():
                selection.add(element)

    def json_bytes(self) -> int:
        """Return the bytes of the list as JSON. What it has more than the list that it was made from is written."""
        if self._json_bytes is None:
            before = self._before
            if before is None:
                self._json_bytes = len(_json(self.read()))
            else:
                more = self._added[self._n_added - self._n + before._n : self._n_added]
                framing = 1 if before._n else 2  # [a] and [b] make [a,b], [] and [b] make [b]
                self._json_bytes = before.json_bytes() + len(_json([_unpack(packed) for packed in more])) - framing
        return self._json_bytes

    @property
    def packed_bytes(self) -> int:
        """Bytes of its elements, packed."""
        return len(self._body) + sum(map(len, self._added[: self._n_added]))

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes in memory, about."""
        return self.packed_bytes + sum(selection.size_bytes for selection in self._selections.values())


def unpack_document(packed: msgspec.Raw | bytes, levels: int = _LEVELS) -> Any:
    """Return a packed document; long lists of it stay packed."""
    data = bytes(packed)
    if len(data) < LONG_BYTES:
        return _unpack(data)
    first = data[0]
    if 0x90 <= first < 0xA0 or first in (0xDC, 0xDD):
        return PackedList.of(data)
    if levels and (0x80 <= first < 0x90 or first in (0xDE, 0xDF)):
        values = _unpack_shallow(data)
        if any(len(memoryview(value)) >= LONG_BYTES for value in values.values()):
            return {key: unpack_document(value, levels - 1) for key, value in values.items()}
    return _unpack(data)


def read(value: Any) -> Any:
    """Return a document, or a part of one, with lists in the place of packed ones."""
    if type(value) is PackedList:
        return value.read()
    if type(value) is dict and any(type(inner) in (dict, PackedList) for inner in value.values()):
        return {key: read(inner) for key, inner in value.items()}
    return value


def json_bytes(document: Any) -> int:
    """Return the bytes of a document as JSON."""
    n_bytes = 0

    def beside(value: Any) -> None:
        nonlocal n_bytes
        if type(value) is not PackedList:
            raise TypeError  # orjson's own text says what it can't write
        n_bytes += value.json_bytes() - len(b"null")

    return len(_json(document, default=beside)) + n_bytes


def packed_lists(value: Any) -> list[PackedList]:
    """Return the packed lists of a document."""
    if type(value) is PackedList:
        return [value]
    return [one for inner in value.values() for one in packed_lists(inner)] if type(value) is dict else []


def packing(value: Any) -> msgspec.Raw:
    """Write packed lists for an encoder that asks about what it doesn't know."""
    if type(value) is PackedList:
        return msgspec.Raw(value.packed())
    raise TypeError(f"expected something of JSON, found {type(value).__name__}")
