"""What can go wrong around the batch path, sorted by who must act. Every text ends with the next action."""

from __future__ import annotations

from stream.state import NotOwner


class StartError(RuntimeError):
    """The worker can't start as things are; the operator acts on the text."""


class Fenced(NotOwner):
    """This worker is no longer a member of its group: what it was about to write belongs to another worker now.

    Nobody has to act. The batch is dropped, nothing of it is committed, and its owner gets it again. Code between
    `PartitionState.publish` and the adapter must let it through.
    """


class ForeignWrite(RuntimeError):
    """Somebody else wrote to a changelog partition that this worker owns: a stale worker that woke up late.

    Nobody has to act: the worker stops, and its restart reads the foreign records, refuses those that are older than
    what is known, and publishes the right values again behind them (see recovery.py).
    """


class StateAhead(RuntimeError):
    """Local state contains more than the changelog has: the operator decides which of the two is right."""


class StateTooLarge(ValueError):
    """A state value doesn't fit into one changelog record; the pipeline must refuse the event that made it."""
