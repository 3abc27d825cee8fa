"""What can come back from Redis instead of a reply, and what to do about it.

- `ReplyError`: the server answered with an error. It is a *value* in a list of replies, because one bad reply in a
  pipeline says nothing about the others. Whoever reads the list decides.
- `WireError`: no answer. The connection is gone, or was given up because the answer took too long. Nobody knows whether
  the commands ran.
"""

import hiredis

NOTHING = object()

# Server errors that pass by themselves or after an operator's action: the same command may be tried again.
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
    "MAXCLIENTS": "it has as many clients as it takes: raise its maxclients, or bound the pools of its clients",
}
# Errors without a code of their own: how the text begins.
_UNCODED = {
    "ERR max number of clients": "MAXCLIENTS",
    "ERR DB index": "NODB",
    "ERR SELECT is not allowed in cluster mode": "NODB",
    "ERR unknown command 'HELLO'": "TOOOLD",
    "ERR unknown command `HELLO`": "TOOOLD",
}
# What waiting doesn't mend, and nobody needs to report.
_CORRECT = {
    "WRONGTYPE": "another program wrote this key: give memberstream a database of its own",
    "NODB": "it hasn't that database: correct the number at the end of the URL",
    "TOOOLD": "it is older than 6.2: update it",
}
_FAULT = "this is no outage but a fault: report it with this message"
_UNCONNECTED = "check that it runs and that the URL names it"
#: What to do about bytes that no Redis sends.
FOREIGN = "another program answers there, or the port wants TLS: correct the address, or take rediss:// in the URL"


class ReplyError(Exception):
    """An error reply. `code` is its first word, or one of ours where Redis has none."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]
        if self.code == "ERR":
            self.code = next((code for start, code in _UNCODED.items() if text.startswith(start)), self.code)

    @property
    def is_outage(self) -> bool:
        """Whether the same command succeeds after waiting, or after an operator's action on the server."""
        return self.code in _ADVICE

    @property
    def advice(self) -> str:
        """What to do next."""
        return _ADVICE.get(self.code) or _CORRECT.get(self.code, _FAULT)


class WireError(Exception):
    """No answer from the server. `advice`: what to do next; by default that of its kind."""

    default = _UNCONNECTED

    def __init__(self, text: str, advice: str = "") -> None:
        super().__init__(text)
        self.advice = advice or self.default


class ConnectionLost(WireError):
    """The connection couldn't be made, or it broke."""


class TimedOut(WireError):
    """The answer took longer than allowed, and the connection was given up."""

    default = "see SLOWLOG and load there, and the network in between"


def unconnected(tls: object) -> str:
    """Return what to do if no connection could be made; `tls`: it was to be one with TLS."""
    if tls is None:
        return _UNCONNECTED
    return f"{_UNCONNECTED}; that its port speaks TLS (redis:// is without); and its certificate"


def new_reader() -> hiredis.Reader:
    """Return a parser. Its `gets()` gives `NOTHING` while a reply is incomplete, and errors as `ReplyError` values."""
    return hiredis.Reader(replyError=ReplyError, notEnoughData=NOTHING)


def explain(error: Exception, where: object) -> str:
    """Return what happened at `where`, with the next action at the end."""
    if isinstance(error, ReplyError):
        return f"Redis at {where} answered {error}. Next: {error.advice}."
    advice = error.advice if isinstance(error, WireError) else _UNCONNECTED
    return f"Redis at {where}: {error}. Next: {advice}."
