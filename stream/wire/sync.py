"""One blocking connection: packed commands out, as many replies in. Not for two threads at once."""

import contextlib
import os
import socket
import ssl
from typing import Any

from stream.wire.endpoint import Endpoint
from stream.wire.replies import NOTHING, ConnectionLost, TimedOut, WireError, new_reader

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
        # A connection inherited by fork is the parent's: two processes would read each other's replies.
        self.pid = os.getpid()
        try:
            sock = socket.create_connection((endpoint.host, endpoint.port), timeout_s)
        except TimeoutError:
            raise TimedOut(f"no connection within {timeout_s} s") from None
        except OSError as error:
            raise ConnectionLost(f"no connection ({error})") from error
        self._sock = sock
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if endpoint.tls is not None:
                self._sock = endpoint.tls.wrap_socket(sock, server_hostname=endpoint.host)
            endpoint.check_handshake(self.call(*endpoint.handshake(client_name)))
        except TimeoutError:
            self.close()
            raise TimedOut(f"no log-in within {timeout_s} s") from None
        except (ssl.SSLError, OSError) as error:
            self.close()
            raise ConnectionLost(f"no TLS connection ({error})") from error
        except BaseException:
            self.close()
            raise

    def call(self, payload: bytes, n_replies: int) -> list[Any]:
        """One round trip. After a WireError the connection is useless and must be closed."""
        self.send(payload)
        return self.receive(n_replies)

    def send(self, payload: bytes) -> None:
        """Half a round trip; `receive` is the other."""
        try:
            self._sock.sendall(payload)
        except TimeoutError:
            raise TimedOut(f"nothing taken within {self._timeout_s} s") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke ({error})") from error

    def receive(self, n_replies: int) -> list[Any]:
        """Returns as many replies; raises as `call`."""
        replies: list[Any] = []
        sock, reader = self._sock, self._reader
        gets, recv = reader.gets, sock.recv
        try:
            while True:
                replies += iter(gets, NOTHING)
                if len(replies) >= n_replies:
                    return replies
                data = recv(_RECV_BYTES)
                if not data:
                    raise ConnectionLost("the server closed the connection")
                reader.feed(data)
        except TimeoutError:
            raise TimedOut(f"no answer within {self._timeout_s} s") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke ({error})") from error

    def close(self) -> None:
        """Safe to call twice."""
        with contextlib.suppress(OSError):
            self._sock.close()


def _primary(endpoint: Endpoint, client_name: str, timeout_s: float) -> Endpoint:
    """The server that the first sentinel that answers calls the primary."""
    problem: WireError = ConnectionLost("no sentinel is named in the URL")
    for sentinel in endpoint.sentinels():
        try:
            wire = SyncWire(sentinel, client_name, timeout_s)
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
