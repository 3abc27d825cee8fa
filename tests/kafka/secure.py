"""Apache Kafka as companies run it: TLS, every kind of log-in, and ACLs. One node.

Listeners: PLAINTEXT (the tests' own way in: everything is allowed there), SSL (client certificates), SASL_SSL and
SASL_PLAINTEXT (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER). Who comes through one of the others may do nothing
that an ACL doesn't allow. Tokens are unsecured JWS (RFC 7515, "alg": "none"), which Kafka takes for tests.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs

from broker import ApacheKafka, KafkaMissing

from memberstream.stream.local.server_process import free_port

PASSWORD = "pass-word_1"
USERS = ("worker", "reader")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_JAAS = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, a server's and a client's certificate of it, and an authority that nobody trusts."""

    ca: Path
    server: Path
    client: Path
    other_ca: Path

    @classmethod
    def made(cls, directory: Path) -> Certificates:
        if shutil.which("openssl") is None:
            raise KafkaMissing("openssl is missing. Install it (Debian: openssl)")
        directory.mkdir(parents=True)
        for name in ("ca", "other-ca"):
            _openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                     "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
        extensions = {"server": "subjectAltName=IP:127.0.0.1,DNS:localhost", "client": "basicConstraints=CA:FALSE"}
        for name, more in extensions.items():
            (directory / "more").write_text(more)
            subject = "/CN=worker" if name == "client" else "/CN=localhost"
            _openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", f"{name}.key",
                     "-out", f"{name}.csr")  # fmt: skip
            _openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
                     "-CAcreateserial", "-extfile", "more", "-out", f"{name}.crt")  # fmt: skip
            (directory / f"{name}.pem").write_text(
                (directory / f"{name}.key").read_text() + (directory / f"{name}.crt").read_text()
            )
        return cls(*(directory / f"{name}.pem" for name in ("ca", "server", "client", "other-ca")))


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


class SecureKafka:
    """The broker; `bootstrap[protocol]` is where its listener of that protocol is."""

    def __init__(self, directory: Path, *, reauthenticate_ms: int = 0) -> None:
        self.certificates = Certificates.made(directory / "certificates")
        self.issuer = Issuer(directory / "issuer")
        ports = {name: free_port() for name in ("SSL", "SASL_SSL", "SASL_PLAINTEXT", "SIGNED")}
        self.node = ApacheKafka(directory / "node", scram_users=dict.fromkeys(USERS, PASSWORD))
        self.node.java_options = (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.issuer.jwks.as_uri()}",)
        plain, controller = self.node.port, self.node.controllers[self.node.node]
        self.bootstrap = {"PLAINTEXT": self.node.bootstrap} | {n: f"127.0.0.1:{p}" for n, p in ports.items()}
        listeners = {"PLAINTEXT": plain, "CONTROLLER": controller, **ports}
        protocols = {"CONTROLLER": "PLAINTEXT", "SIGNED": "SASL_PLAINTEXT"}
        self.node.settings |= {
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
            "listener.security.protocol.map": ",".join(f"{name}:{protocols.get(name, name)}" for name in listeners),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.ca),
            "listener.name.ssl.ssl.client.auth": "required",
            "connections.max.reauth.ms": str(reauthenticate_ms),
        }
        signed = "listener.name.signed"  # tokens of an issuer
        self.node.settings |= {
            f"{signed}.sasl.enabled.mechanisms": "OAUTHBEARER",
            f"{signed}.oauthbearer.sasl.jaas.config": f"{_JAAS}.oauthbearer.OAuthBearerLoginModule required;",
            f"{signed}.oauthbearer.sasl.server.callback.handler.class": f"{_JAAS}.oauthbearer."
            "OAuthBearerValidatorCallbackHandler",
            f"{signed}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": self.issuer.jwks.as_uri(),
            f"{signed}.oauthbearer.sasl.oauthbearer.expected.issuer": Issuer.name,
            f"{signed}.oauthbearer.sasl.oauthbearer.expected.audience": Issuer.audience,
        }
        users = " ".join(f'user_{name}="{PASSWORD}"' for name in USERS)
        for name in ("sasl_ssl", "sasl_plaintext"):
            self.node.settings |= {
                f"listener.name.{name}.sasl.enabled.mechanisms": ",".join(MECHANISMS),
                f"listener.name.{name}.plain.sasl.jaas.config": f"{_JAAS}.plain.PlainLoginModule required {users};",
                f"listener.name.{name}.scram-sha-256.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
                f"listener.name.{name}.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
                f"listener.name.{name}.oauthbearer.sasl.jaas.config": f"{_JAAS}.oauthbearer.OAuthBearerLoginModule "
                'required unsecuredLoginStringClaim_sub="broker";',
            }

    def __enter__(self) -> SecureKafka:
        self.node.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.node.stop()


def token(subject: str, lifetime_s: float) -> str:
    """An unsecured JWS that ends in `lifetime_s` seconds."""
    now = time.time()
    parts = {"alg": "none"}, {"sub": subject, "iat": now, "exp": now + lifetime_s}
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


class Issuer:
    """Signs tokens by RS256 (RFC 7518). `jwks`: a file with its public key, as brokers read it (RFC 7517)."""

    name, audience = "https://issuer.example.com", "kafka"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._key, self.jwks = directory / "issuer.key", directory / "jwks.json"
        _openssl(directory, "genrsa", "-out", self._key.name, "2048")
        told = subprocess.run(
            ["openssl", "rsa", "-in", str(self._key), "-modulus", "-noout"], check=True, capture_output=True
        )
        modulus = bytes.fromhex(told.stdout.decode().strip().removeprefix("Modulus="))
        key = {"kty": "RSA", "kid": "one", "alg": "RS256", "use": "sig", "n": _base64(modulus), "e": "AQAB"}
        self.jwks.write_text(json.dumps({"keys": [key]}))

    def token(self, subject: str, lifetime_s: float, **changed: str) -> str:
        """A token for a subject. `changed`: claims that differ."""
        now = int(time.time())
        claims = {"sub": subject, "iss": self.name, "aud": self.audience, "iat": now, "exp": now + int(lifetime_s)}
        parts = {"alg": "RS256", "kid": "one"}, claims | changed
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        made = subprocess.run(sign, input=signed.encode(), check=True, capture_output=True)
        return f"{signed}.{_base64(made.stdout)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenEndpoint:
    """Hands tokens out to who knows PASSWORD, for the client's id as subject, by client credentials."""

    def __init__(self, lifetime_s: float, made: Callable[[str, float], str] = token) -> None:
        self.lifetime_s, self.n_tokens = lifetime_s, 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
                basic = base64.b64decode(handler.headers["Authorization"].removeprefix("Basic ")).decode()
                name, _, password = basic.partition(":")
                is_right = password == PASSWORD and body["grant_type"] == ["client_credentials"]
                answer = {"access_token": made(name, self.lifetime_s), "expires_in": self.lifetime_s}
                self.n_tokens += is_right
                handler.send_response(200 if is_right else 401)
                handler.end_headers()
                handler.wfile.write(json.dumps(answer if is_right else {"error": "invalid_client"}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    @contextmanager
    def running(self) -> Iterator[TokenEndpoint]:
        Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
