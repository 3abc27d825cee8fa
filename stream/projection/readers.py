"""What readers are told about models and campaigns: their names, clusters and terms, and which versions are live.

Law: an announcement says up to which step of the models' log it goes. Redis refuses one that knows less
(stream/lua/models.lua). So readers never go back, whoever tells them.
"""

from memberstream.stream.keyspace import formats as keyspace
from memberstream.stream.keyspace.formats import Announcement
from memberstream.stream.projection.calls import Calls, meta
from memberstream.stream.wire.cluster import Piece


class Readers:
    """Tells readers. Raises like Calls.

    Attributes:
        announcement: what they were told last, or must be told if Redis has lost it (build.py).
    """

    def __init__(self, calls: Calls) -> None:
        self._calls, self._keys, self._models = calls, calls.keys, calls.script("owner", "models")
        self.announcement: Announcement | None = None

    async def announce(self, announcement: Announcement) -> bool:
        """Tell readers about models and campaigns. Returns False if they know something newer."""
        self.announcement = announcement
        [taken] = await self._calls.call([self._pack(announcement)])
        return bool(taken)

    async def known(self) -> int:
        """Return up to which step of the models' log readers know; -1: they know none."""
        [offset] = await self._calls.call([meta(b"GET", self._keys.known)])
        return -1 if offset is None else int(offset)

    def again(self) -> list[Piece]:
        """Return the call that repeats the announcement, if there is one."""
        return [self._pack(self.announcement)] if self.announcement else []

    def _pack(self, announcement: Announcement) -> Piece:
        args: list[bytes | int] = [announcement.offset, len(announcement.models)]
        for model in announcement.models:
            args += (keyspace.membership_field(model.name, model.version), keyspace.format_model(model))
        args.append(len(announcement.live))
        for name, version in announcement.live.items():
            args += (name.encode(), version)
        for campaign in announcement.campaigns:
            args += (campaign.id.encode(), keyspace.format_campaign(campaign))
        keys = self._keys
        return self._calls.small(self._models, (keys.models, keys.live, keys.campaigns, keys.known), args)
