"""How clients prove who they are to Kafka, and how they know the brokers: TLS and SASL.

The names are those of Kafka's and librdkafka's configuration (https://kafka.apache.org/documentation/#security). What
aiokafka takes is made from them here, once, for every client.
"""

# ruff: noqa: RUF009 (setting is dataclasses.field with a parser and a reason)
from __future__ import annotations

import importlib.util
import logging
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from aiokafka.errors import KafkaConnectionError

from memberstream.stream.declared import choice, readable_file, setting, text, url
from memberstream.stream.kafka.tokens import MskTokens, OAuthTokens, Tokens

log = logging.getLogger(__name__)
Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
#: AWS_MSK_IAM is Amazon's: OAUTHBEARER on the wire, with a token that its library signs.
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM")
_LOG_IN = ("sasl_username", "sasl_password")
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "PLAIN": _LOG_IN,
    "SCRAM-SHA-256": _LOG_IN,
    "SCRAM-SHA-512": _LOG_IN,
    "OAUTHBEARER": (
        "sasl_oauthbearer_token_endpoint_url",
        "sasl_oauthbearer_client_id",
        "sasl_oauthbearer_client_secret",
    ),
    "AWS_MSK_IAM": ("aws_region",),
}
_TLS = {
    *("ssl_ca_location", "ssl_certificate_location", "ssl_key_location", "ssl_key_password"),
    "ssl_endpoint_identification_algorithm",
}
MSK_LIBRARY = "aws_msk_iam_sasl_signer"


@dataclass(frozen=True, slots=True)
class Security:
    """What every client needs to be let in. The variable of a field is MEMBERSTREAM_KAFKA_ and its name in capitals."""

    security_protocol: Protocol = setting(
        "PLAINTEXT", choice(*PROTOCOLS), f"{', '.join(PROTOCOLS)}: whether brokers speak TLS, and want a log-in (SASL)"
    )
    ssl_ca_location: Path | None = setting(
        None, readable_file, "PEM file of the authorities that brokers' certificates come from; unset: the system's own"
    )
    ssl_certificate_location: Path | None = setting(
        None, readable_file, "PEM file of the client's certificate (mutual TLS), with its chain"
    )
    ssl_key_location: Path | None = setting(
        None, readable_file, "PEM file of its private key; unset: in the same file as the certificate"
    )
    ssl_key_password: str | None = setting(None, text, "the password of that key", is_secret=True)
    ssl_endpoint_identification_algorithm: Literal["https", "none"] = setting(
        "https", choice("https", "none"), "`https`: a broker's certificate must name the host that is connected to"
    )
    sasl_mechanism: Mechanism | None = setting(
        None,
        choice(*MECHANISMS),
        f"{', '.join(MECHANISMS)}. The last is Amazon's and needs `pip install 'memberstream[msk]'`",
    )
    sasl_username: str | None = setting(None, text, "of PLAIN and SCRAM")
    sasl_password: str | None = setting(None, text, "of PLAIN and SCRAM", is_secret=True)
    sasl_oauthbearer_token_endpoint_url: str | None = setting(
        None, url, "where OAUTHBEARER gets its tokens (client credentials). They are renewed before they end"
    )
    sasl_oauthbearer_client_id: str | None = setting(None, text, "of OAUTHBEARER")
    sasl_oauthbearer_client_secret: str | None = setting(None, text, "of OAUTHBEARER", is_secret=True)
    sasl_oauthbearer_scope: str | None = setting(None, text, "of OAUTHBEARER; unset: the endpoint's default")
    aws_region: str | None = setting(None, text, "of AWS_MSK_IAM")

    @property
    def has_tls(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def has_sasl(self) -> bool:
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def problems(self) -> Iterator[str]:
        """Yield what doesn't fit together, each with the variables to set."""
        protocol, mechanism = self.security_protocol, self.sasl_mechanism
        used = {"security_protocol"} | (_TLS if self.has_tls else set())
        if self.has_sasl:
            used |= {"sasl_mechanism", *_NEEDED.get(mechanism or "", ())}
            used |= {"sasl_oauthbearer_scope", "ssl_ca_location"} if mechanism == "OAUTHBEARER" else set()
        for one in fields(self):
            if one.name not in used and getattr(self, one.name) != one.default:
                of = f"{protocol} with {mechanism}" if self.has_sasl and mechanism else protocol
                yield f"{variable(one.name)}: of no use with {of}; unset it, or change {variable('security_protocol')}"
        if self.has_sasl and mechanism is None:
            yield f"{variable('security_protocol')}: {protocol} needs {variable('sasl_mechanism')}"
        for name in _NEEDED.get(mechanism or "", ()) if self.has_sasl else ():
            if getattr(self, name) is None:
                yield f"{variable('sasl_mechanism')}: {mechanism} needs {variable(name)}"
        if mechanism == "AWS_MSK_IAM" and importlib.util.find_spec(MSK_LIBRARY) is None:
            yield f"{variable('sasl_mechanism')}: AWS_MSK_IAM needs a library: pip install 'memberstream[msk]'"
        if self.has_tls and self.ssl_key_location is not None and self.ssl_certificate_location is None:
            yield f"{variable('ssl_key_location')}: needs {variable('ssl_certificate_location')}"
            return
        try:
            self.context()
        except SecurityError as error:
            yield str(error)

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context as the files are now, None without TLS.

        Raises:
            SecurityError: a file that isn't there, or isn't what it should be.
        """
        if not self.has_tls:
            return None
        files = (self.ssl_ca_location, self.ssl_certificate_location, self.ssl_key_location)
        try:
            return _context(self, tuple(None if path is None else path.stat().st_mtime_ns for path in files))
        except OSError as error:
            raise SecurityError(f"Kafka: {error.filename}: {error.strerror}. Next: bring that file back") from error

    def options(self) -> Mapping[str, Any]:
        """Return aiokafka's options. Raises SecurityError, as `context`."""
        if self.security_protocol == "PLAINTEXT":
            return {}
        context = self.context()
        options: dict[str, Any] = {
            "security_protocol": self.security_protocol,
            "ssl_context": None if context is None else Renewed(self, context),
        }
        if not self.has_sasl:
            return options
        if (tokens := self.tokens()) is None:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        else:
            options |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": tokens}
        return options

    def tokens(self) -> Tokens | None:
        """Return what gets tokens; None if none are needed. All clients of a process share it."""
        return _tokens(self) if self.sasl_mechanism in ("OAUTHBEARER", "AWS_MSK_IAM") else None


class Renewed(ssl.SSLContext):
    """The context of a client, which lives as long as a worker: each new connection takes the files as they are then.

    Certificates are replaced while clients live. Two files aren't replaced at once, and a file may be half written: as
    long as they don't fit together, connections are made with what was there before.
    """

    def __new__(cls, *_: Any) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, security: Security, context: ssl.SSLContext) -> None:
        self._security, self._last = security, context

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """asyncio calls this for each connection."""
        try:
            self._last = self._security.context() or self._last
        except SecurityError as error:
            log.warning("going on with the certificates of before: %s", error)
        return self._last.wrap_bio(*arguments, **named)


def variable(name: str) -> str:
    """Return the environment variable of a field."""
    return f"MEMBERSTREAM_KAFKA_{name.upper()}"


class SecurityError(KafkaConnectionError):  # type: ignore[misc]  # so that who waits for Kafka waits for files, too
    """Certificates or keys that can't be used; the text says what to do next."""

    def __str__(self) -> str:
        return str(self.args[0])


@lru_cache(maxsize=8)  # reading the system's authorities takes 30 ms
def _context(security: Security, changed_ns: tuple[int | None, ...]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ssl_ca_location)
    except (OSError, ssl.SSLError) as error:
        raise SecurityError(
            f"Kafka: the authorities in {security.ssl_ca_location} can't be read ({error}). "
            "Next: name a PEM file of certificates in MEMBERSTREAM_KAFKA_SSL_CA_LOCATION"
        ) from error
    context.check_hostname = security.ssl_endpoint_identification_algorithm == "https"
    if security.ssl_certificate_location is not None:
        try:
            context.load_cert_chain(
                security.ssl_certificate_location,
                security.ssl_key_location,
                password=lambda: security.ssl_key_password or "",
            )
        except (OSError, ssl.SSLError) as error:
            raise SecurityError(
                f"Kafka: the certificate {security.ssl_certificate_location} with the key "
                f"{security.ssl_key_location or 'in the same file'} can't be used ({error}). Next: check that both are "
                "PEM and belong together, and MEMBERSTREAM_KAFKA_SSL_KEY_PASSWORD"
            ) from error
    return context


@lru_cache
def _tokens(security: Security) -> Tokens:
    if security.sasl_mechanism == "AWS_MSK_IAM":
        return MskTokens(security.aws_region or "")
    return OAuthTokens(
        security.sasl_oauthbearer_token_endpoint_url or "",
        security.sasl_oauthbearer_client_id or "",
        security.sasl_oauthbearer_client_secret or "",
        security.sasl_oauthbearer_scope,
        security.ssl_ca_location,
    )
