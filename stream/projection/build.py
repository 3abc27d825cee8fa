"""Does Redis hold all members? And the steps that lead there: begin each partition, write its members, finish it.

Law: the epoch is the sign that nothing is missing. The last partition that finishes sets it. It goes with the data when
Redis is emptied. It is believed only if the process that answers is the one that was built in (witness.py).
"""

import secrets
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

from memberstream.stream.keyspace.formats import Beacon
from memberstream.stream.projection.calls import Calls
from memberstream.stream.projection.partitions import last_of, pack_beacons
from memberstream.stream.projection.readers import Readers
from memberstream.stream.projection.witness import Witness

FinishState = Literal["restart", "waiting", "complete"]


class BuiltMark(NamedTuple):
    """Who builds a partition, and whether that is done."""

    token: bytes
    done: bool


class BeaconReply(NamedTuple):
    """`epoch`: whether the projection is complete. `built`: partition → mark; None if nobody has begun.

    `last`: partition → the beacon that Redis held before this one. `restarted`: another process answers than the one
    that was built in, and this call is the first to notice: nothing is complete any more.
    """

    epoch: bool
    built: dict[int, BuiltMark | None]
    last: dict[int, Beacon | None]
    restarted: bool = False


class Build:
    """The steps of a build. Raises like Calls."""

    def __init__(self, calls: Calls, readers: Readers) -> None:
        self._calls, self._keys = calls, calls.keys
        self._readers, self._witness = readers, Witness(calls)

    async def beacon(self, beacons: Mapping[int, Beacon]) -> BeaconReply:
        """Write how far own partitions are, and learn whether Redis still holds everything."""
        calls, witness = self._calls, self._witness
        token = witness.token
        while (reply := await witness.run(pack_beacons(calls, witness.beacon, self._keys.beacons, beacons))) is None:
            await witness.renew(token)
            token = witness.token
        epoch, *found = reply
        built: dict[int, BuiltMark | None] = {}
        for partition, mark in zip(beacons, found[::2], strict=True):
            built[partition] = None if mark is None else BuiltMark(mark.removeprefix(b"done:"), mark[:5] == b"done:")
        return BeaconReply(epoch is not None, built, last_of(list(beacons), found[1::2]), witness.was_restarted())

    async def reset_beacon(self, partition: int) -> None:
        """Forget how far a partition was: in a new epoch its offsets begin at 0."""
        await self._calls.call([self._calls.write(b"HDEL", self._keys.beacons, partition)])

    async def begin(self, partition: int) -> bytes:
        """Begin to build a partition. Returns the token to finish with, and writes the models again.

        Whatever emptied Redis took the models, too. Next, write all members of the partition; then call `finish`.
        """
        while (witness := self._witness.token) is None:
            await self._witness.renew(None)
        token = secrets.token_hex(8).encode()
        # NX: another worker may have given this process a newer one.
        write, keys = self._calls.write, self._keys
        marks = [write(b"SET", keys.witness, witness, b"NX"), write(b"HSET", keys.built, partition, token)]
        await self._calls.call([*self._readers.again(), *marks])
        return token

    async def finish(self, partition: int, token: bytes, n_partitions: int, now_ms: int) -> FinishState:
        """Tell Redis that all members of a partition are written.

        Returns `restart`: Redis was emptied or restarted since `begin`, or another worker began; begin again if the
        partition is still this worker's. `waiting`: other partitions of the topic aren't done. `complete`: the epoch is
        set to `now_ms`.
        """
        keys = (self._keys.built, self._keys.epoch)
        args = (partition, token, n_partitions, now_ms)
        state = await self._witness.run(self._calls.small(self._witness.finish, keys, args))
        return "restart" if state is None else cast(FinishState, state.decode())

    async def forget(self) -> None:
        """Declare that nothing in the projection is complete: workers write every member again, and the models."""
        await self._calls.call([self._calls.write(b"DEL", self._keys.epoch, self._keys.built, self._keys.known)])
