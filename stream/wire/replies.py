"""What can come back from Redis instead of a reply, and what to do about each.

- `ReplyError`: the server answered with an error. It is a *value* in a list of replies (one bad reply of a
  pipeline says nothing about the others); whoever reads the list decides.
- `WireError`: no answer. The connection is gone, or is given up because the answer took too long; whether
  the commands ran is unknown.
"""

import hiredis

NOTHING = object()

# Server errors that pass by themselves or by an operator's hand: the same command is right to try again.
_ADVICE = {
    "LOADING": "it is loading its data: wait until it has",
    "READONLY": "it is a replica: point the URL at the primary, or wait for the failover to end",
    "OOM": "its memory is full: raise maxmemory or give memberstream a server of its own (policy noeviction)",
    "MASTERDOWN": "it is a replica that lost its primary: bring the primary back or fail over",
    "TRYAGAIN": "its slots are being moved: wait until resharding ends",
    "CLUSTERDOWN": "the cluster does not cover all slots: bring the missing nodes back",
    "BUSY": "a script of someone else is running for too long: SCRIPT KILL ends it",
    "MISCONF": "it can't save its data to disk and refuses writes: free disk space or see its log",
    "NOREPLICAS": "too few replicas are connected (min-replicas-to-write): bring them back",
    "NOAUTH": "it asks for a password: put user and password into the URL",
    "WRONGPASS": "it refuses user or password: correct them in the URL, or the user with ACL SETUSER",
    "NOPERM": "the ACL user lacks a permission: compare it with docs/redis.md",
}
_FAULT = "this is no outage but a fault: report it with this message"
_FOREIGN = "another program wrote this key: give memberstream a database of its own"


class ReplyError(Exception):
    """An error reply. `code` is its first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]

    @property
    def is_outage(self) -> bool:
        """Whether waiting, or an operator's action on the server, makes the same command succeed."""
        return self.code in _ADVICE


class WireError(Exception):
    """No answer from the server."""


class ConnectionLost(WireError):
    """The connection could not be made, or broke."""


class TimedOut(WireError):
    """The answer took longer than allowed; the connection was given up."""


def new_reader() -> hiredis.Reader:
    """A parser whose `gets()` gives `NOTHING` while a reply is incomplete, and errors as `ReplyError` values."""
    return hiredis.Reader(replyError=ReplyError, notEnoughData=NOTHING)


def explain(error: Exception, where: object) -> str:
    """What happened at `where`, ending with the next action."""
    if isinstance(error, ReplyError):
        advice = _ADVICE.get(error.code) or (_FOREIGN if error.code == "WRONGTYPE" else _FAULT)
        return f"Redis at {where} answered {error}. Next: {advice}."
    if isinstance(error, TimedOut):
        return f"Redis at {where}: {error}. Next: see SLOWLOG and load there, and the network in between."
    return f"Redis at {where}: {error}. Next: check that it runs and that the URL names it."
