"""Commands to the owner of one partition about one member, sent as records of the topic itself.

    {"op": "forget", "partition": 1, "by": "alice", "why": "sent with another partitioner until Tuesday"}

- `forget`: drop what this partition holds of the member, wherever the member belongs.
- `rewrite`: write to Redis again what this partition holds of the member.

Laws: a command holds only in the partition that it names. Copied elsewhere it is an event that can't be read. So it is
to a version that doesn't know commands, because no producer sends such an `op`.
"""

from __future__ import annotations

import msgspec

from memberstream.models.event import ChangeEvent, Order


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes: by, why: for people who read the topic later."""

    op: Order
    partition: int
    by: str = ""
    why: str = ""

    @property
    def event(self) -> ChangeEvent:
        """What it does, as an event; it has no time."""
        return ChangeEvent(self.op, 0)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Command).decode


def encode_command(command: Command) -> bytes:
    """Return the value of its record; the key is the member's id."""
    return _encode(command)


def decode_command(value: bytes | None, partition: int) -> Command | None:
    """Return the command of a record of a partition; None if it isn't a command, or one of another partition."""
    try:
        command = _decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return command if command.partition == partition else None
