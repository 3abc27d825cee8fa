"""What can go wrong around the batch path, sorted by who must act. Every text ends with the next action."""

from __future__ import annotations

from aiokafka.errors import KafkaError

from memberstream.stream.partition.state import NotOwner


class StartError(RuntimeError):
    """The worker can't start as things are. The operator acts on the text."""


class Fenced(NotOwner):
    """This worker is no longer a member of its group: what it was going to write belongs to another worker now.

    Nobody has to act. The batch is dropped, nothing of it is committed, and its owner gets it again. Code between
    `PartitionState.publish` and the adapter must let this error through.
    """


class ForeignWrite(RuntimeError):
    """Somebody else wrote to a changelog partition that this worker owns: a stale worker that woke up late.

    Nobody has to act. The worker stops. Its restart reads the foreign records, refuses those that are older than what
    is known, and publishes the right values behind them (recovery.py).
    """


class Readmitted(RuntimeError):
    """This user may join the group again, and aiokafka's consumer, once refused, doesn't try.

    Nobody has to act. The worker stops, and its restart joins.
    """


class StateAhead(RuntimeError):
    """Local state contains more than the changelog. The operator decides which of the two is right."""


class StateTooLarge(ValueError):
    """A state value doesn't fit into one changelog record. The pipeline must refuse the event that made it."""


class NameTaken(KafkaError):  # type: ignore[misc]  # so aiokafka's own task of the group ends its joins with it
    """Another process has joined the group under this worker's name. The operator gives each process its own."""

    def __str__(self) -> str:
        return str(self.args[0])  # KafkaError's begins with the name of the class
