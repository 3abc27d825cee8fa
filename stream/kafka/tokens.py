"""Tokens for SASL OAUTHBEARER, got when they are needed and kept until shortly before they end.

A broker closes a connection whose token has ended (connections.max.reauth.ms). aiokafka then connects anew, and asks
here. The worker's clients live in two threads, so one lock guards the token, and whoever waits gets the same one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

#: Of a token's life it is used for so much, then another one is asked for.
USED = 0.8
#: Seconds that a token endpoint may take.
PATIENCE_S = 10.0
_SHOWN = 300  # bytes of a refusal that are repeated


class TokenError(KafkaError):  # type: ignore[misc]  # aiokafka waits and tries again after its own errors only
    """No token can be had: from where and why (`what`), and what to do next (`action`)."""

    def __init__(self, what: str, action: str) -> None:
        super().__init__(f"{what}. Next: {action}")
        self.what, self.action = what, action


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """What aiokafka asks for a token before each log-in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token, self._used_until = "", 0.0

    async def token(self) -> str:
        """Return a token. Raises TokenError."""
        return await asyncio.to_thread(self._fresh)

    def _fresh(self) -> str:
        with self._lock:
            if time.monotonic() >= self._used_until:
                asked_at = time.monotonic()
                self._token, lifetime_s = self._get()
                self._used_until = asked_at + USED * lifetime_s
            return self._token

    def _get(self) -> tuple[str, float]:
        """Return a new token and for how many seconds it is good."""
        raise NotImplementedError


class OAuthTokens(Tokens):
    """Tokens of OAuth 2.0's client credentials grant (RFC 6749, section 4.4).

    Args:
        url: the token endpoint.
        ca_location: PEM file of the authorities that vouch for the endpoint, beside the system's own.
    """

    def __init__(
        self, url: str, client_id: str, client_secret: str, scope: str | None, ca_location: Path | None
    ) -> None:
        super().__init__()
        self._url, self._id, self._secret, self._scope = url, client_id, client_secret, scope
        self._ca_location = ca_location

    def _get(self) -> tuple[str, float]:
        basic = base64.b64encode(f"{self._id}:{self._secret}".encode()).decode()
        body = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
        request = Request(self._url, urlencode(body).encode(), headers)
        try:
            with urlopen(request, timeout=PATIENCE_S, context=self._context()) as response:
                found = json.loads(response.read())
        except HTTPError as error:
            why = error.read(_SHOWN).decode(errors="replace")
            raise TokenError(
                f"the token endpoint {self._url} refuses ({error.code} {error.reason}: {why})",
                "check MEMBERSTREAM_KAFKA_SASL_OAUTHBEARER_CLIENT_ID, …_CLIENT_SECRET and …_SCOPE",
            ) from None
        except (OSError, ValueError) as error:
            raise TokenError(
                f"the token endpoint {self._url} gives no token ({error})",
                "check MEMBERSTREAM_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, and whether that host can be "
                "reached from here",
            ) from error
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token:
            raise TokenError(
                f"the token endpoint {self._url} answers without access_token",
                "check MEMBERSTREAM_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL",
            )
        return token, lifetime_s(token, found.get("expires_in"))

    def _context(self) -> ssl.SSLContext | None:
        if urlsplit(self._url).scheme != "https":
            return None
        context = ssl.create_default_context()
        if self._ca_location is not None:
            context.load_verify_locations(self._ca_location)
        return context


class MskTokens(Tokens):
    """Tokens for Amazon MSK, signed with what boto3 finds of AWS credentials. Needs the extra `msk`."""

    def __init__(self, region: str) -> None:
        super().__init__()
        self._region = region

    def _get(self) -> tuple[str, float]:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # type: ignore[import-not-found]

        try:
            token, expires_ms = MSKAuthTokenProvider.generate_auth_token(self._region)
        except Exception as error:  # botocore's have no common base
            raise TokenError(
                f"AWS gives no token for MSK in {self._region} ({error})",
                "check the AWS credentials of this process, and MEMBERSTREAM_KAFKA_AWS_REGION",
            ) from error
        return token, expires_ms / 1000 - time.time()


def lifetime_s(token: str, expires_in: Any) -> float:
    """Return for how many seconds a token is good: what the endpoint says, else what the token says, else a minute."""
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool):
        return float(expires_in)
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - time.time()
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return 60.0
