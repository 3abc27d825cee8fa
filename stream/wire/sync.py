"""One blocking connection: packed commands out, as many replies in. Not for two threads at once."""

import contextlib
import os
import socket
from time import monotonic
from typing import Any

import hiredis

from .endpoint import Endpoint
from .replies import FOREIGN, NOTHING, ConnectionLost, ReplyError, TimedOut, WireError, new_reader, unconnected

# Takes the replies of a hundred members (about 160 bytes each) in one call of recv.
_RECV_BYTES = 65_536


class SyncWire:
    """Connects at construction. Raises ConnectionLost, TimedOut, or ReplyError when the log-in is refused."""

    __slots__ = ("_reader", "_sock", "_timeout_s", "pid")

    def __init__(self, endpoint: Endpoint, client_name: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._reader = new_reader()
        if endpoint.service is not None:
            endpoint = _primary(endpoint, client_name, timeout_s)
        # After a fork the connection still belongs to the parent: two processes would read each other's replies.
        self.pid = os.getpid()
        deadline = monotonic() + timeout_s
        try:
            sock = socket.create_connection((endpoint.host, endpoint.port), timeout_s)
        except TimeoutError:
            raise TimedOut(f"no connection within {timeout_s} s", unconnected(endpoint.tls)) from None
        except OSError as error:
            raise ConnectionLost(f"no connection ({error})", unconnected(endpoint.tls)) from error
        self._sock = sock
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.wait_at_most(deadline - monotonic())
            if endpoint.tls is not None:
                self._sock = endpoint.tls.wrap_socket(sock, server_hostname=endpoint.host)
            endpoint.check_handshake(self.call(*endpoint.handshake(client_name)))
            self.wait_at_most(timeout_s)
        except TimeoutError:
            self.close()
            raise TimedOut(f"no log-in within {timeout_s} s", unconnected(endpoint.tls)) from None
        except OSError as error:
            self.close()
            raise ConnectionLost(f"no TLS connection ({error})", unconnected(endpoint.tls)) from error
        except BaseException:
            self.close()
            raise

    def wait_at_most(self, seconds: float) -> None:
        """Bound each wait for the network; less than a millisecond counts as one."""
        self._sock.settimeout(max(0.001, seconds))

    def call(self, payload: bytes, n_replies: int) -> list[Any]:
        """Make one round trip. After a WireError the connection is useless and must be closed."""
        self.send(payload)
        return self.receive(n_replies)

    def send(self, payload: bytes) -> None:
        """Make the first half of a round trip; `receive` is the other half."""
        try:
            self._sock.sendall(payload)
        except TimeoutError:
            raise TimedOut(f"nothing taken within {self._timeout_s} s") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke ({error})") from error

    def receive(self, n_replies: int) -> list[Any]:
        """Return as many replies. Raises like `call`."""
        replies: list[Any] = []
        sock, reader = self._sock, self._reader
        gets, recv = reader.gets, sock.recv
        give_up_at = 0.0
        try:
            while True:
                replies += iter(gets, NOTHING)
                if len(replies) >= n_replies:
                    return replies
                if not give_up_at:  # each wait is bounded by the socket, all of them together by this
                    give_up_at = monotonic() + self._timeout_s
                elif monotonic() > give_up_at:
                    raise TimeoutError
                data = recv(_RECV_BYTES)
                if not data:
                    raise ConnectionLost("the server closed the connection")
                reader.feed(data)
        except hiredis.ProtocolError as error:
            raise ConnectionLost(f"not a Redis reply ({error})", FOREIGN) from error
        except TimeoutError:
            raise TimedOut(f"no answer within {self._timeout_s} s") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke ({error})") from error

    def close(self) -> None:
        """Safe to call twice."""
        with contextlib.suppress(OSError):
            self._sock.close()


def _primary(endpoint: Endpoint, client_name: str, timeout_s: float) -> Endpoint:
    """Return the primary, as named by the first sentinel that answers."""
    problem: WireError = ConnectionLost("no sentinel is named in the URL")
    for sentinel in endpoint.sentinels():
        try:
            wire = SyncWire(sentinel, client_name, timeout_s)
        except ReplyError as error:  # to the log-in
            problem = endpoint.refused(error)
            continue
        except WireError as error:
            problem = error
            continue
        try:
            [reply] = wire.call(endpoint.ask_primary(), 1)
            return endpoint.primary(reply)
        except WireError as error:
            problem = error
        finally:
            wire.close()
    raise problem
