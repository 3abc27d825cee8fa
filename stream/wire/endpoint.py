"""Where Redis is and how to log in, parsed once from a URL.

`redis://[user][:password]@host[:port][/db]`, or `rediss://` for TLS. TLS verifies the server's certificate and
name; query options: `ssl_ca_certs=FILE`, `ssl_certfile=FILE`, `ssl_keyfile=FILE`, `ssl_cert_reqs=none` (don't verify).
The names are redis-py's, so one URL serves both. An unknown option is refused: a mistyped one must not weaken TLS.
"""

import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from hiredis import pack_command

_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Redis server and the user to be there. `str()` never holds the password."""

    host: str
    port: int
    db: int
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.db}"

    def handshake(self, client_name: str) -> tuple[bytes, int]:
        """(packed commands, number of replies) to send first on a new connection.

        RESP2: hiredis makes a dict of a RESP3 map at four times the cost of a list. `client_name` is what
        operators see in CLIENT LIST. HELLO is allowed to every ACL user.
        """
        hello: tuple[str, ...] = ("HELLO", "2")
        if self.password is not None:
            hello += ("AUTH", self.username or "default", self.password)
        hello += ("SETNAME", client_name)
        if not self.db:
            return pack_command(hello), 1
        return pack_command(hello) + pack_command(("SELECT", str(self.db))), 2


def parse_url(url: str) -> Endpoint:
    """Raises ValueError naming the part of the URL that is wrong; never repeats the password."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError(f"Redis URL: expected redis:// or rediss://, found {parts.scheme or 'no scheme'}")
    db = parts.path.strip("/")
    if db and not db.isdigit():
        raise ValueError(f"Redis URL: expected a database number after the host, found {db!r}")
    try:
        port = parts.port or 6379
    except ValueError:
        raise ValueError("Redis URL: expected a port number up to 65535") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - (_TLS_OPTIONS if parts.scheme == "rediss" else frozenset()))
    if unknown:
        raise ValueError(f"Redis URL: unknown option {', '.join(unknown)} for {parts.scheme}://")
    return Endpoint(
        host=parts.hostname or "localhost",
        port=port,
        db=int(db or 0),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=_tls(options) if parts.scheme == "rediss" else None,
    )


def _tls(options: dict[str, str]) -> ssl.SSLContext:
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
