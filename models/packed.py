"""Maps and lists that stay packed: entries are added to their MessagePack bytes, and hardly ever read.

A member's record is read and written with each thing that the member does. Most of what it keeps isn't looked at then,
such as what was done before. To make objects of it, and bytes of these again, took most of the time of counting.
So the bytes are those that they always were: this is a way of handling a format, not another one.
"""

from __future__ import annotations

import msgspec

#: A map, or a list, of nothing.
NO_MAP, NO_LIST = msgspec.Raw(b"\x80"), msgspec.Raw(b"\x90")

_BYTES = [bytes((n,)) for n in range(256)]
_MAPS = (0x8F, 0xDE, 0xDF)  # first bytes of those that are long, or become it
pack = msgspec.msgpack.Encoder().encode


def length(packed: msgspec.Raw) -> int:
    """Return the number of entries."""
    return _begin(bytes(packed))[0]


def plus(packed: msgspec.Raw, entry: bytes) -> msgspec.Raw:
    """Return a list, or a map, with one more: a packed value, or a packed key and its value. At most 65,535."""
    data = bytes(packed)
    first = data[0]
    if first < 0xA0 and first & 0x0F < 15:
        return msgspec.Raw(_BYTES[first + 1] + data[1:] + entry)
    n, skip = _begin(data)
    begin = b"\xde%b%b%b" if first in _MAPS else b"\xdc%b%b%b"
    return msgspec.Raw(begin % ((n + 1).to_bytes(2), data[skip:], entry))


def _begin(data: bytes) -> tuple[int, int]:
    """Return the number of entries, and where the first one begins: the first byte says both, or two more do."""
    return (data[0] & 0x0F, 1) if data[0] < 0xA0 else (int.from_bytes(data[1:3]), 3)
