"""Tokens for SASL OAUTHBEARER, got when they are needed and kept until shortly before they end.

Laws:
- A broker closes a connection whose token has ended (connections.max.reauth.ms). aiokafka then connects anew, and asks
  here. All clients of a process share one token.
- Whatever the token endpoint does, aiokafka is told by a KafkaError: it waits and tries again after these only.
- The worker's clients live in two threads, and the endpoint may hang. So one thread of its own asks, one question at a
  time; a failure is told to all who wait.
- A token that still holds is used while no new one can be had. A token that a broker refuses isn't shown again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

#: Of a token's life it is used for so much, then another one is asked for.
USED = 0.8
#: Seconds that a token endpoint may take; and for how long a failure is remembered.
PATIENCE_S, FAILED_S = 10.0, 2.0
_ANSWER_BYTES, _SHOWN = 1 << 20, 300  # of an answer at most; of a refusal that is repeated
_CLIENT = "MEMBERSTREAM_KAFKA_SASL_OAUTHBEARER_CLIENT_ID, …_CLIENT_SECRET and …_SCOPE"
_URL = "MEMBERSTREAM_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"


class TokenError(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """No token can be had: from where and why (`what`), and what to do next (`action`)."""

    def __init__(self, what: str, action: str) -> None:
        super().__init__(f"{what}. Next: {action}")
        self.what, self.action = what, action


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """What aiokafka asks for a token before each log-in."""

    def __init__(self) -> None:
        self._asking = ThreadPoolExecutor(1, "tokens")
        self._token = ""
        self._renew_at = self._ends_at = -math.inf  # monotonic clock
        self._failure: tuple[float, TokenError] | None = None  # until when it is remembered

    async def token(self) -> str:
        """Return a token. Raises TokenError."""
        if time.monotonic() < self._renew_at:
            return self._token
        return await asyncio.get_running_loop().run_in_executor(self._asking, self._renewed)

    def forget(self, token: str) -> None:
        """A broker refuses this token, however long it was to be good for."""
        if token == self._token:
            self._renew_at = self._ends_at = -math.inf

    def _renewed(self) -> str:
        now = time.monotonic()
        if now < self._renew_at:
            return self._token
        try:
            if self._failure is not None and now < self._failure[0]:
                raise self._failure[1]
            token, lifetime_s = self._get()
        except TokenError as error:
            if self._failure is None or self._failure[1] is not error:
                self._failure = (time.monotonic() + FAILED_S, error)
            if time.monotonic() < self._ends_at:
                return self._token
            raise
        self._failure = None
        self._token, self._renew_at, self._ends_at = token, now + USED * lifetime_s, now + lifetime_s
        return token

    def _get(self) -> tuple[str, float]:
        """Return a new token and for how many seconds it is good. Raises TokenError."""
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
        deadline = time.monotonic() + PATIENCE_S
        try:
            request = Request(self._url, urlencode(body).encode(), headers)
            opener = build_opener(_NoRedirect, *self._https())
            with opener.open(request, timeout=PATIENCE_S) as response:
                found = json.loads(_body(response, deadline))
            token = found["access_token"]
            if not isinstance(token, str) or not token:
                raise ValueError("access_token isn't a text")
            return token, lifetime_s(token, found.get("expires_in"))
        except HTTPError as error:
            why = error.read(_SHOWN).decode(errors="replace")
            raise TokenError(
                f"the token endpoint {self._url} refuses ({error.code} {error.reason}: {why})", f"check {_CLIENT}"
            ) from None
        except (KeyError, TypeError, AttributeError) as error:
            raise TokenError(f"the token endpoint {self._url} answers without access_token", f"check {_URL}") from error
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise TokenError(
                f"the token endpoint {self._url} gives no token ({str(error) or type(error).__name__})",
                f"check {_URL}, and whether that host can be reached from here",
            ) from error

    def _https(self) -> list[HTTPSHandler]:
        if urlsplit(self._url).scheme != "https":
            return []
        context = ssl.create_default_context()
        if self._ca_location is not None:
            context.load_verify_locations(self._ca_location)
        return [HTTPSHandler(context=context)]


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would carry the client's secret to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _body(response: Any, deadline: float) -> bytes:
    """Return an answer. Raises TimeoutError, ValueError: it is too long; HTTPException: it was cut."""
    parts: list[bytes] = []
    while sum(map(len, parts)) <= _ANSWER_BYTES:
        if not (part := response.read1(1 << 16)):
            if response.length:
                raise ValueError("the answer was cut")
            return b"".join(parts)
        parts.append(part)
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
    raise ValueError(f"more than {_ANSWER_BYTES} bytes")


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
    try:
        if not isinstance(expires_in, bool) and math.isfinite(said := float(expires_in)):
            return said
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        ends = float(claims["exp"]) - time.time()
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, binascii.Error):
        return 60.0
    return ends if math.isfinite(ends) else 60.0
