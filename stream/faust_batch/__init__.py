"""The batch path on Faust. Nothing else knows Faust's internals, or RocksDB.

How it hangs together: app.py puts the parts together, running.py runs it as a process.
What all parts share: owned.py (which partitions are this worker's), source.py (the source topic as the worker sees it).
In place of Faust's own parts: transport.py → consumer.py → draining.py → offsets.py; store.py;
tables.py → recovery.py → assigning.py.
"""

from memberstream.stream.faust_batch.app import BatchApp
from memberstream.stream.faust_batch.data_dir import DataDirInUse
from memberstream.stream.faust_batch.errors import Fenced, ForeignWrite, StartError, StateAhead, StateTooLarge
from memberstream.stream.faust_batch.owned import Handle, Owner
from memberstream.stream.faust_batch.progress import RecoveryProgress
from memberstream.stream.faust_batch.running import run
from memberstream.stream.faust_batch.state import PartitionState
from memberstream.stream.faust_batch.supported import UnsupportedVersion, check_supported

__all__ = [
    "BatchApp",
    "DataDirInUse",
    "Fenced",
    "ForeignWrite",
    "Handle",
    "Owner",
    "PartitionState",
    "RecoveryProgress",
    "StartError",
    "StateAhead",
    "StateTooLarge",
    "UnsupportedVersion",
    "check_supported",
    "run",
]
