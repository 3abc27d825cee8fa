"""Which process of Redis answers: the one to which this writer's members were written, or another?

Law: a process of Redis that was started anew, or that took the place of another, holds data of some earlier moment,
whatever it says. Beacons and the end of a build are written by scripts that only the process knows that was built in (a
*witness*). So another process takes neither. The worker that meets one declares that nothing is complete (`renew`).
"""

import asyncio
import secrets
from typing import Any

from hiredis import pack_command

from memberstream.stream.projection.calls import Calls, is_unknown, meta
from memberstream.stream.wire.cluster import Piece
from memberstream.stream.wire.script import Script


class Witness:
    """Runs witnesses. Raises like Calls.

    Attributes:
        token: of the process whose witnesses the scripts are; None: no process is known yet.
        beacon, finish: scripts to be run by `run`.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls, self._keys, self._restart = calls, calls.keys, calls.script("owner", "restart")
        self.beacon, self.finish, self._alive = Script("owner", "beacon"), Script("owner", "finish"), Script("alive")
        self.token: bytes | None = None
        self._renewing = asyncio.Lock()
        self._restarted = False  # until it is told: an outage may follow at once

    async def run(self, piece: Piece) -> Any:
        """Run a witness. Returns None if another process answers than the one that knows it, or another node."""
        if self.token is None:
            return None
        if self._calls.endpoint.is_cluster:
            for node in await self._calls.nodes():
                if is_unknown(await self._calls.at(node, pack_command((b"EVALSHA", self._alive.sha, 0)))):
                    return None
        [[reply]] = await self._calls.ask([piece])
        if is_unknown(reply):
            return None
        self._calls.check([reply])
        return reply

    async def renew(self, lost: bytes | None) -> None:
        """Give the process that answers a witness, and declare that nothing it holds is complete.

        `lost`: the token whose witness it didn't know; None: this writer knew none yet. If readers had been told that
        all was complete, `was_restarted` says so. The first of several calls and workers does it; the others go by its
        witness.
        """
        async with self._renewing:
            if self.token != lost:
                return  # another call was first
            [known] = await self._calls.call([meta(b"GET", self._keys.witness)])
            if known is not None and known != lost:
                self._set_token(known)
                return
            token = secrets.token_hex(8).encode()
            loads = b"".join([script.load() for script in _witnesses(token)])
            for node in await self._calls.nodes():
                await self._calls.at(node, loads, 3)
            keys = self._keys
            names = (keys.witness, keys.epoch, keys.built, keys.known)
            [taken] = await self._calls.call([self._calls.small(self._restart, names, (known or b"", token))])
            if taken:
                self._set_token(token)  # only now: a concurrent call must not run what isn't loaded yet
            else:
                self.token = None
            self._restarted = self._restarted or taken == 2

    def was_restarted(self) -> bool:
        """Whether `renew` ended what was complete since the last question."""
        restarted, self._restarted = self._restarted, False
        return restarted

    def _set_token(self, token: bytes) -> None:
        self.token = token
        self.beacon, self.finish, self._alive = _witnesses(token)


def _witnesses(token: bytes) -> tuple[Script, Script, Script]:
    """Return the scripts beacon, finish and alive, as only a process knows them that was given this token."""
    beacon, finish, alive = Script("owner", "beacon"), Script("owner", "finish"), Script("alive")
    return beacon.witness(token), finish.witness(token), alive.witness(token)
