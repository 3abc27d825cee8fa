"""What stands in for Faust's tables: one table over our store, and a manager with our recovery."""

from __future__ import annotations

from functools import partial
from typing import Any

from faust.tables import Table
from faust.tables.manager import TableManager

from memberstream.stream.faust_batch.recovery import BatchRecovery
from memberstream.stream.faust_batch.source import Source
from memberstream.stream.faust_batch.state import PartitionState
from memberstream.stream.faust_batch.store import StateStore


class BatchTables(TableManager):  # type: ignore[misc]
    """Faust's table manager with our recovery."""

    def __init__(self, *args: Any, source: Source, state: PartitionState, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._new_recovery = partial(BatchRecovery, self.app, self, source=source, state=state)

    async def on_start(self) -> None:
        """Start without Faust's pause of a second in which agents register tables: ours is registered already."""
        await self._update_channels()
        await self.recovery.start()

    @property
    def recovery(self) -> BatchRecovery:
        if self._recovery is None:
            self._recovery: BatchRecovery | None = self._new_recovery(beacon=self.beacon, loop=self.loop)
        return self._recovery


class StateTable(Table):  # type: ignore[misc]
    """The table behind the members' state. It is never used key by key, only through `PartitionState`."""

    def _new_store(self) -> StateStore:
        return StateStore(
            "rocksdb://", self.app, self, table_name=self.name, key_type=bytes, value_type=bytes, loop=self.loop
        )
