"""Maps and lists that stay packed: entries are added to their MessagePack bytes, and hardly ever read.

A member's record is read and written with each thing that the member does. Most of what it keeps isn't looked at then,
such as what was done before. To make objects of it, and bytes of these again, took most of the time of counting.
So the bytes are those that they always were: this is a way of handling a format, not another one.
"""

from __future__ import annotations

import msgspec

#: A map, or a list, of nothing.
NO_MAP, NO_LIST = msgspec.Raw(b"\x80"), msgspec.Raw(b"\x90")

pack = msgspec.msgpack.Encoder().encode


def length(packed: msgspec.Raw) -> int:
    """Return the number of entries: the first byte says it, or two more do."""
    data = bytes(packed)
    return data[0] & 0x0F if data[0] < 0xA0 else data[1] << 8 | data[2]


def plus(packed: msgspec.Raw, entry: bytes) -> msgspec.Raw:
    """Return a list, or a map, with one more: a packed value, or a packed key and its value. At most 65,535."""
    data = bytearray(packed)
    first = data[0]
    if first >= 0xA0:
        data[1], data[2] = divmod((data[1] << 8 | data[2]) + 1, 256)
    elif first & 0x0F < 15:
        data[0] = first + 1
    else:
        data[:1] = b"\xde\x00\x10" if first == 0x8F else b"\xdc\x00\x10"
    data += entry
    return msgspec.Raw(data)
