"""Partitioners: bit-equal to Kafka's clients, many keys as each alone; commands to one partition."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner, murmur2
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.apply import Outcome, apply_one
from memberstream.models.command import Command, decode_command, encode_command
from memberstream.models.event import BadEvent, ChangeEvent, Op, Order, Reason, decode
from memberstream.models.member import Member
from memberstream.models.placement import (
    PARTITIONERS,
    PartitionUnknown,
    Placement,
    _murmur2_many,
    _positive_murmur2,
    partition_of,
)

# Kafka's UtilsTest.testMurmur2: signed hashes of Java.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
# librdkafka's rdfnv1a.c and rdmurmur2.c test themselves with these keys; FNV's by its definition, absolute as there.
FNV1A = {
    b"kafka": 0xD33C4E1,
    b"giberish123456789": 0x77A58295,
    b"1234": 0x23BDD03,
    b"234": 0x2DEA3CD2,
    b"34": 0x740FA83E,
}
KEYS = st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=60)


def test_murmur2_is_javas() -> None:
    """Vectors of Kafka's own tests, as Java shows them; one at a time and together."""
    for key, signed in JAVA.items():
        assert _positive_murmur2(key) == signed & 0x7FFFFFFF
    assert _murmur2_many(list(JAVA)).astype("int32").tolist() == list(JAVA.values())


@given(KEYS, st.integers(1, 100))
def test_many_keys_are_as_each_alone_and_as_aiokafkas(keys: list[bytes], n: int) -> None:
    """Of any bytes and lengths; also through the path that few keys take."""
    assert _murmur2_many(keys).tolist() == [murmur2(key) for key in keys]
    partitions, choose = list(range(n)), DefaultPartitioner()
    for key in keys:
        assert partition_of(key, n, "murmur2") == choose(key, partitions, partitions)
    for partitioner in PARTITIONERS[:3]:
        placement = Placement(partitioner, n)
        for some in (keys, keys * 20):
            expected = [key for key in some if placement.partition_of(key) != 0]
            assert placement.misplaced(some, 0) == expected


def test_the_others_are_librdkafkas() -> None:
    """Vectors of FNV-1a and of CRC-32; `any` knows no partition and misses none."""
    for key, hashed in FNV1A.items():
        assert partition_of(key, 1 << 40, "fnv1a") == hashed
    assert partition_of(b"123456789", 1 << 40, "crc32") == 0xCBF43926
    assert Placement("any", 3).misplaced([b"a", b"b"], 0) == []
    with pytest.raises(PartitionUnknown, match="Next: "):
        partition_of(b"a", 3, "any")


def test_a_command_holds_in_its_partition_only() -> None:
    """To whoever decodes events, and elsewhere, it is an unknown op; damaged it is no command."""
    value = encode_command(Command(Order.FORGET, 1, "alice", "a test"))
    command = decode_command(value, 1)
    assert command == Command(Order.FORGET, 1, "alice", "a test")
    assert command.event == ChangeEvent(Order.FORGET, 0)
    assert decode_command(value, 0) is None
    assert [decode_command(other, 1) for other in (None, b"{}", b"\xff", value[:-1])] == [None] * 4
    with pytest.raises(BadEvent) as caught:
        decode(b"m", value, 5, 9)
    assert caught.value.reason is Reason.UNKNOWN_OP


def test_what_a_command_does() -> None:
    """Forget drops all, the version too; rewrite changes nothing; both are replays below the member's position."""
    member = Member()
    apply_one(member, 0, ChangeEvent(Op.REPLACE, 5, 7, {"a": 1}))
    assert apply_one(member, 1, ChangeEvent(Order.REWRITE, 0)) is Outcome.REPLAYED
    assert (member.document, member.version, member.position) == ({"a": 1}, 7, 0)
    assert apply_one(member, 0, ChangeEvent(Order.FORGET, 0)) is Outcome.REPLAYED
    assert apply_one(member, 1, ChangeEvent(Order.FORGET, 0)) is Outcome.APPLIED
    assert (member.document, member.version, member.position) == (None, -1, 1)
    assert apply_one(member, 2, ChangeEvent(Op.REPLACE, 5, 3, {"b": 1})) is Outcome.APPLIED
