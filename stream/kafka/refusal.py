"""Why a broker doesn't let a client in: asked of the brokers on a connection of its own, and said with what to do.

aiokafka logs the reason and raises "unable to bootstrap", whatever it was. (Its OAUTHBEARER even takes a refusal for a
welcome: see `CheckedOAuth`.)
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import aiokafka.conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from memberstream.stream.kafka.security import Security, variable
from memberstream.stream.kafka.tokens import TokenError

PATIENCE_S = 5.0
_BOOTSTRAP, _PROTOCOL = "MEMBERSTREAM_KAFKA_BOOTSTRAP", variable("security_protocol")
_START = f"Next: start one (`memberstream local`), or correct {_BOOTSTRAP}"


class Unreachable(KafkaConnectionError):  # type: ignore[misc]
    """No broker lets this client in. The text says where, why, and what to do next."""

    def __str__(self) -> str:
        return str(self.args[0])


class CheckedOAuth(aiokafka.conn.OAuthAuthenticator):  # type: ignore[misc]
    """aiokafka's, and it reads the broker's answer: one that isn't empty is a refusal (RFC 7628, section 3.2.2)."""

    async def step(self, payload: bytes | None) -> Any:
        if self._token_sent and payload:
            self._sasl_oauth_token_provider.forget(self._shown)
            raise SaslAuthenticationFailed(payload.decode(errors="replace"))
        return await super().step(payload)

    def _build_oauth_client_request(self, token: str, token_extensions: str) -> Any:
        self._shown = token
        return super()._build_oauth_client_request(token, token_extensions)


async def refusal(servers: tuple[str, ...], security: Security, options: Mapping[str, Any]) -> str | None:
    """Return why none of the servers lets us in, with the next action; None if one does. `options`: aiokafka's."""
    unreached = None
    for server in servers:
        name, _, port = server.rpartition(":")
        host = name.strip("[]")
        try:
            connection = await aiokafka.conn.create_conn(
                host,
                int(port),
                client_id="memberstream",
                request_timeout_ms=int(1000 * PATIENCE_S),
                **{name: value for name, value in options.items() if name != "bootstrap_servers"},
            )
        except ConnectionRefusedError:
            unreached = unreached or f"no Kafka broker at {server} (connection refused). {_START}"
            continue
        except (OSError, TimeoutError, KafkaError) as error:
            why = await _why(server, host, int(port), security, error)
            if _is_unreached(error):
                unreached = unreached or why
                continue
            return why
        try:
            async with asyncio.timeout(PATIENCE_S):
                await connection.send(MetadataRequest([]))
        except (OSError, TimeoutError, KafkaError) as error:
            return await _why(server, host, int(port), security, error)
        finally:
            connection.close()
        return None
    return unreached


def _is_unreached(error: Exception) -> bool:
    """Whether nobody there has said a word."""
    return isinstance(error, OSError) and not isinstance(error, ssl.SSLError | ConnectionError)  # TimeoutError is one


async def _why(server: str, host: str, port: int, security: Security, error: Exception) -> str:
    found, action = await _found(host, port, security, error)
    return f"Kafka at {server} {found}. Next: {action}"


async def _found(host: str, port: int, security: Security, error: Exception) -> tuple[str, str]:
    """Return (what the broker does, what to do about it)."""
    if isinstance(error, TokenError):
        return f"can't be asked: {error.what}", error.action
    if isinstance(error, SaslAuthenticationFailed):
        if security.tokens() is None:
            action = f"check {variable('sasl_username')} and {variable('sasl_password')}"
        else:
            action = "see in the broker's log why it refuses the token: its end, its audience, or who issued it"
        return f"refuses the log-in by {security.sasl_mechanism} ({error.args[0]})", action
    if isinstance(error, UnsupportedSaslMechanismError):
        found = f"doesn't take {security.sasl_mechanism} ({error.args[0]})"
        return found, f"set {variable('sasl_mechanism')} to one that it takes"
    if isinstance(error, IllegalSaslStateError):
        return "wants no SASL on this port", f"take its port for SASL, or set {_PROTOCOL} to SSL"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that isn't trusted ({error.verify_message})",
            f"name its authority's PEM file in {variable('ssl_ca_location')}, or connect to the certificate's own name",
        )
    if isinstance(error, TimeoutError):
        return f"doesn't answer within {PATIENCE_S:g} s", f"check {_BOOTSTRAP}, the network, and the broker"
    if _is_unreached(error):
        return f"can't be reached ({error})", f"check {_BOOTSTRAP}"
    speaks_tls = await _speaks_tls(host, port)
    if security.has_tls and speaks_tls is False:
        return "doesn't speak TLS on this port", f"take its port for TLS, or a {_PROTOCOL} without SSL"
    if not security.has_tls and speaks_tls is True:
        return "speaks TLS", f"set {_PROTOCOL} to {'SASL_SSL' if security.has_sasl else 'SSL or SASL_SSL'}"
    if isinstance(error, ssl.SSLError | KafkaConnectionError):  # it hung up
        if security.has_tls and security.ssl_certificate_location is None:
            wanted = f"a client's certificate ({variable('ssl_certificate_location')})"
        elif not security.has_sasl:
            wanted = f"a log-in ({_PROTOCOL}, {variable('sasl_mechanism')})"
        else:
            wanted = "something else: see its log"
        return f"closes the connection under {security.security_protocol}", f"it may want {wanted}; check {_BOOTSTRAP}"
    return f"can't be reached ({error})", f"check {_BOOTSTRAP}"


async def _speaks_tls(host: str, port: int) -> bool | None:
    """Whether TLS is understood there, whoever vouches for it; None: that can't be told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (ssl.SSLError, ConnectionError) as error:
        return "ALERT" in str(error)  # else it answered with something else, or hung up at our greeting
    except OSError:  # and TimeoutError
        return None
    writer.transport.abort()
    return True
