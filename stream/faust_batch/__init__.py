"""The batch path on Faust. Only this package and stream/state_store.py know Faust's internals.

app.py: `BatchApp`, `BatchHandler` · running.py: `run` · consumer.py: fetch, offsets, rebalances · in_flight.py: batches
in hand · consumer_thread.py, transport.py: aiokafka's · recovery.py: state from the changelog · changelog.py:
`PartitionState` · admin.py: topics · probe.py: is Kafka there · supported.py: version guard · errors.py
"""

from stream.faust_batch.app import BatchApp, BatchHandler
from stream.faust_batch.changelog import MAX_STATE_BYTES, PartitionState
from stream.faust_batch.errors import Fenced, ForeignWrite, StartError, StateAhead, StateTooLarge
from stream.faust_batch.recovery import RecoveryProgress
from stream.faust_batch.running import run
from stream.faust_batch.supported import UnsupportedVersion, check_supported
from stream.state_store import DataDirInUse

__all__ = [
    "MAX_STATE_BYTES",
    "BatchApp",
    "BatchHandler",
    "DataDirInUse",
    "Fenced",
    "ForeignWrite",
    "PartitionState",
    "RecoveryProgress",
    "StartError",
    "StateAhead",
    "StateTooLarge",
    "UnsupportedVersion",
    "check_supported",
    "run",
]
