"""Where Redis is and how to log in, parsed once from a URL.

- `redis://[user][:password]@host[:port][/db]`: one server.
- `redis+cluster://[user][:password]@host[:port],host[:port]…`: a Redis Cluster. Any of its nodes names the others.
- `redis+sentinel://[user][:password]@host[:port],host[:port]…/service[/db]`: the sentinels that know the primary of a
  service. User and password are for the servers. Sentinels have `sentinel_username` and `sentinel_password`, query
  options, or are asked without.

`rediss` in place of `redis` means TLS, which verifies the server's certificate and name. Query options have redis-py's
names: `ssl_ca_certs=FILE`, `ssl_certfile=FILE`, `ssl_keyfile=FILE`, `ssl_cert_reqs=none` (don't verify).
`password_file=FILE` and `sentinel_password_file=FILE` take the place of a password. Each log-in reads the file anew.
An unknown option is refused: a mistyped one must not weaken TLS.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hiredis import pack_command

from .replies import ConnectionLost, ReplyError

if TYPE_CHECKING:
    import ssl

_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"})
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password", "sentinel_password_file"})
_PORT, _SENTINEL_PORT = 6379, 26379
_NO_LOG_IN = ("NOAUTH", "WRONGPASS", "NOPERM")


class LogIn(NamedTuple):
    """Who logs in, and by which password: this one, or what a file holds at the time. Neither: without a log-in."""

    username: str | None = None
    password: str | None = None
    password_file: str | None = None

    def __repr__(self) -> str:
        return "LogIn(…)"

    def arguments(self) -> tuple[str, ...]:
        """Return what HELLO takes. Raises ConnectionLost: the file can't be read."""
        password = self.password
        if self.password_file is not None:
            try:
                with open(self.password_file, encoding="utf-8") as file:
                    password = file.read().rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise ConnectionLost(
                    f"the password's file can't be read ({error})",
                    "let this user read it, or correct its path in the URL",
                ) from error
        return () if password is None else ("AUTH", self.username or "default", password)


class Endpoint(NamedTuple):
    """A Redis server, cluster or service, and the user to log in as. Its fields hold the
    password, `str()` and `repr()` don't.

    Attributes:
        seeds: nodes of a cluster, or sentinels, to ask first; none for a single server.
        service: its name among the sentinels.
    """

    host: str
    port: int
    db: int
    log_in: LogIn
    tls: "ssl.SSLContext | None"
    seeds: tuple[tuple[str, int], ...] = ()
    service: str | None = None
    of_sentinels: LogIn = LogIn()
    must_be_primary: bool = False

    def __str__(self) -> str:
        if self.service is not None:
            return f"the primary of {self.service} ({', '.join(f'{h}:{p}' for h, p in self.seeds)})"
        return f"{self.host}:{self.port}/{self.db}"

    def __repr__(self) -> str:
        return str(self)

    @property
    def is_cluster(self) -> bool:
        return bool(self.seeds) and self.service is None

    def at(self, host: str, port: int) -> "Endpoint":
        """Return the endpoint of one node of the cluster."""
        return self._replace(host=host, port=port, seeds=())

    def sentinels(self) -> Iterator["Endpoint"]:
        """The sentinels, each as the endpoint of a server."""
        for host, port in self.seeds:
            yield self._replace(host=host, port=port, db=0, log_in=self.of_sentinels, seeds=(), service=None)

    def ask_primary(self) -> bytes:
        """The question to a sentinel; `primary` reads the reply."""
        packed: bytes = pack_command(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service or ""))
        return packed

    def primary(self, reply: Any) -> "Endpoint":
        """Return the server that a sentinel's reply names. Raises ConnectionLost: it names none."""
        if isinstance(reply, ReplyError) and reply.code in _NO_LOG_IN:
            raise self.refused(reply)
        if isinstance(reply, ReplyError) or not reply:
            raise ConnectionLost(f"the sentinel knows no service {self.service} ({reply})")
        host, port = reply
        found = self._replace(host=host.decode(), port=int(port), seeds=(), service=None)
        return found._replace(must_be_primary=True)

    def refused(self, error: ReplyError) -> ConnectionLost:
        """Return what a sentinel's error means: of the log-in, or of its state."""
        return ConnectionLost(
            f"a sentinel answered {error}",
            "correct sentinel_username and sentinel_password in the URL" if error.code in _NO_LOG_IN else error.advice,
        )

    def handshake(self, client_name: str) -> tuple[bytes, int]:
        """Return (packed commands, number of replies) to send first on a new connection.

        RESP2: hiredis makes a dict of a RESP3 map, at four times the cost of a list. `client_name` is what
        operators see in CLIENT LIST. HELLO is allowed to every ACL user, and tells the server's role.
        """
        hello = ("HELLO", "2", *self.log_in.arguments(), "SETNAME", client_name)
        if not self.db:
            return pack_command(hello), 1
        return pack_command(hello) + pack_command(("SELECT", str(self.db))), 2

    def check_handshake(self, replies: Sequence[Any]) -> None:
        """Raise ReplyError if the log-in was refused, ConnectionLost if the sentinel's answer was out of date."""
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        if self.must_be_primary:
            said = dict(zip(replies[0][::2], replies[0][1::2], strict=True))
            if said.get(b"role") != b"master":
                raise ConnectionLost(f"{self.host}:{self.port} is a replica: the sentinels are failing over")


def parse_url(url: str) -> Endpoint:
    """Raises ValueError naming the part of the URL that is wrong; never repeats the password."""
    from urllib.parse import parse_qsl, unquote, urlsplit  # who imports a client doesn't wait for it

    # Some releases of Python refuse brackets behind another host: the hosts are taken out before urlsplit sees them.
    start, separator, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    parts = urlsplit(start + separator + rest[len(authority) :])
    scheme, _, kind = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss") or kind not in ("", "cluster", "sentinel"):
        found = parts.scheme or "no scheme"
        raise ValueError(
            f"Redis URL: expected redis:// or rediss://, with or without +cluster or +sentinel, found {found}"
        )
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    seeds = tuple([_address(host, _SENTINEL_PORT if kind == "sentinel" else _PORT) for host in hosts.split(",")])
    if len(seeds) > 1 and not kind:
        raise ValueError("Redis URL: expected one host; several need redis+cluster:// or redis+sentinel://")
    path = [part for part in parts.path.split("/") if part]
    service = path.pop(0) if kind == "sentinel" and path else None
    if kind == "sentinel" and service is None:
        raise ValueError("Redis URL: expected the name of a service after the sentinels, such as …:26379/mymaster")
    db = path.pop(0) if path else "0"
    if path or not db.isdigit() or (kind == "cluster" and db != "0"):
        raise ValueError(f"Redis URL: expected a database number at the end (0 in a cluster), found {parts.path!r}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = {"password_file"} | (_TLS_OPTIONS if scheme == "rediss" else set())
    known |= _SENTINEL_OPTIONS if kind == "sentinel" else set()
    if unknown := sorted(options.keys() - known):
        raise ValueError(f"Redis URL: unknown option {', '.join(unknown)} for {parts.scheme}://")
    log_in = LogIn(unquote(username) or None, unquote(password) or None, options.get("password_file"))
    of_sentinels = LogIn(*[options.get(f"sentinel_{name}") for name in LogIn._fields])
    for one in (log_in, of_sentinels):
        if one.password is not None and one.password_file is not None:
            raise ValueError("Redis URL: expected a password or a file that holds it, found both")
    return Endpoint(
        host=seeds[0][0],
        port=seeds[0][1],
        db=int(db),
        log_in=log_in,
        tls=_tls(options) if scheme == "rediss" else None,
        seeds=seeds if kind else (),
        service=service,
        of_sentinels=of_sentinels,
    )


def _address(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):  # there is no port; or it is an IPv6 address alone
        host, port = text, str(default_port)
    if not port.isdigit() or int(port) > 65_535:
        raise ValueError("Redis URL: expected a port number up to 65535")
    return host.strip("[]") or "localhost", int(port)


def _tls(options: dict[str, str]) -> "ssl.SSLContext":
    import ssl  # takes as long as the rest of a look-up client

    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    verify = options.get("ssl_cert_reqs", "required")
    if verify == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify != "required":
        raise ValueError(f"Redis URL: ssl_cert_reqs: expected required or none, found {verify!r}")
    if certfile := options.get("ssl_certfile"):
        context.load_cert_chain(certfile, options.get("ssl_keyfile"))
    return context
