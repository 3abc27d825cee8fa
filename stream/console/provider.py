"""Log-in by OpenID Connect: what the console and a provider say to each other. Authlib speaks the protocol.

Laws:
- The authorization code flow with PKCE, state and nonce. What a browser must bring back lies in a cookie of that
  browser, signed here: a log-in that somebody else began is none, and nobody fills the memory by beginning many.
- An id token counts only if the issuer of the settings signed it with a key of its own, for this console, for now, and
  for this log-in. Whatever else the provider tells counts only beside it, of the same person.
- The provider is told and believed over HTTPS alone, but for one on this machine.
- Whoever isn't let in learns why in a sentence; what the provider answered stands in the console's log.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import orjson
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.requests import Request

from memberstream.stream.console.following import Problem
from memberstream.stream.console.roles import Person, Role, may_be_called
from memberstream.stream.declared import url
from memberstream.stream.settings import Settings

#: Seconds for a password, a second factor, and looking for the phone.
BEGUN_LASTS_S = 600
#: Of all that the provider is asked for one log-in. Four questions, each answered within a fraction of a second.
PATIENCE_S = 15.0
_AT_ONCE = 8
_NAME = "provider"
_STATE = f"_state_{_NAME}_{{}}"  # Authlib's own name for what belongs to a state
_SIGNED = ("RS", "PS", "ES", "Ed")  # with a key that only the provider has
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_TRY = "try again in some minutes; whoever runs the console finds the reason in its log"
_ANEW = "log in anew"


class NotLetIn(Exception):
    """Somebody wasn't let in. `problem`: for that person; `why`: for the log; `status`: of the answer."""

    def __init__(self, problem: Problem, why: str, status: int) -> None:
        super().__init__(why)
        self.problem, self.why, self.status = problem, why, status


class LoggedIn(NamedTuple):
    """Who has logged in, where the log-in was asked for, and the provider's own id of the person."""

    person: Person
    wanted: str
    subject: str


class Provider:
    """The provider of one installation. `signed`, wherever it stands: returns what nobody else can make of a text."""

    def __init__(self, settings: Settings) -> None:
        self.issuer = settings.console_oidc_issuer or ""
        self.name = urlsplit(self.issuer).hostname or ""
        self._settings = settings
        self._roles = role_map(settings.console_oidc_roles)
        self._some = asyncio.Semaphore(_AT_ONCE)
        oauth = OAuth()
        oauth.register(
            _NAME, client_id=settings.console_oidc_client_id, client_secret=settings.console_oidc_client_secret,
            server_metadata_url=f"{self.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(settings.console_oidc_scopes), "code_challenge_method": "S256",
                "timeout": PATIENCE_S / 3,
            },
        )  # fmt: skip
        self._client: Any = oauth.create_client(_NAME)

    async def begin(self, request: Request, back: str, wanted: str, signed: Callable[[str], str]) -> tuple[str, str]:
        """Return the provider's address for a browser, and what the browser keeps until it is back.

        Args:
            back: the address here to which the provider leads the browser.
            wanted: where to go after the log-in.

        Raises:
            NotLetIn: the provider can't be asked.
        """
        request.scope["session"] = begun = dict[str, Any]()  # where Authlib puts state, nonce and verifier

        async def ask() -> str:
            await self._metadata()
            reply = await self._client.authorize_redirect(request, back)
            return str(reply.headers["location"])

        address = await self._asked(ask)
        for one in begun.values():
            del one["data"]["url"]  # a cookie is short
        kept = {"until": time.time() + BEGUN_LASTS_S, "wanted": wanted, "begun": begun}
        payload = urlsafe_b64encode(orjson.dumps(kept)).decode()
        return address, f"{payload}.{signed(payload)}"

    async def end(self, request: Request, kept: str, signed: Callable[[str], str]) -> LoggedIn:
        """Return who has logged in at the provider, when the browser is back from there. Raises NotLetIn."""
        begun = _begun(kept, signed)
        if begun is None or _STATE.format(request.query_params.get("state", "")) not in begun["begun"]:
            raise NotLetIn(Problem("this log-in was begun elsewhere, or too long ago", _ANEW), "an unknown state", 400)
        if error := request.query_params.get("error"):
            problem = Problem(f"the provider didn't log you in: {error[:100]}", _ANEW)
            raise NotLetIn(problem, f"the provider says {error[:100]}", 403)
        request.scope["session"] = begun["begun"]

        async def ask() -> Mapping[str, Any]:
            metadata = await self._metadata()
            expected = {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self._settings.console_oidc_client_id},
            }
            token = await self._client.authorize_access_token(request, claims_options=expected)
            claims: Mapping[str, Any] | None = token.get("userinfo")  # Authlib's name for the id token's claims
            if claims is None:
                raise _unbelieved("its answer has no id token")
            if self._is_thin(claims) and metadata.get("userinfo_endpoint"):
                more = await self._client.userinfo(token=token)
                if more.get("sub") != claims["sub"]:
                    raise _unbelieved("what it tells of the person is of another one")
                claims = {**more, **claims}
            return claims

        claims = await self._asked(ask)
        return LoggedIn(self._person(claims), str(begun["wanted"]), str(claims["sub"]))

    async def _metadata(self) -> dict[str, Any]:
        """Return what the provider tells of itself, once it is believed."""
        found: dict[str, Any] = await self._client.load_server_metadata()
        if found.get("issuer") != self.issuer:
            self._client.server_metadata.clear()  # asked again the next time: it may be corrected there
            raise _unbelieved(f"it calls itself {found.get('issuer')!r}, the settings {self.issuer!r}")
        for name in _ENDPOINTS:
            try:
                url(str(found.get(name, "")))
            except ValueError as error:
                self._client.server_metadata.clear()
                raise _unbelieved(f"its {name} is {found.get(name)!r}, expected {error}") from None
        algorithms = found.get("id_token_signing_alg_values_supported") or ["RS256"]
        found["id_token_signing_alg_values_supported"] = [one for one in algorithms if one.startswith(_SIGNED)]
        return found

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            async with self._some, asyncio.timeout(PATIENCE_S):
                return await ask()
        except (httpx2.HTTPError, TimeoutError) as error:
            why = f"{self.issuer} can't be asked: {type(error).__name__}: {error}"
            raise NotLetIn(Problem("the provider of log-ins doesn't answer", _TRY), why, 503) from error
        except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unbelieved(f"{type(error).__name__}: {error}") from error

    def _is_thin(self, claims: Mapping[str, Any]) -> bool:
        settings = self._settings
        return any(
            claim(claims, name) is None
            for name in (settings.console_oidc_name_claim, settings.console_oidc_roles_claim)
        )

    def _person(self, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        name = claim(claims, settings.console_oidc_name_claim)
        if not isinstance(name, str) or not may_be_called(name):
            why = f"subject {claims['sub']!s:.100}: the claim {settings.console_oidc_name_claim} is no name"
            raise NotLetIn(Problem("the provider doesn't tell your name", "ask whoever runs the console"), why, 403)
        values = claim(claims, settings.console_oidc_roles_claim)
        told = values if isinstance(values, list) else [values]
        found = frozenset(self._roles[one] for one in told if isinstance(one, str) and one in self._roles)
        if not found:
            problem = Problem(
                f"you are logged in as {name}, but none of your groups has a role here",
                "ask whoever runs the console for one, then log in anew",
            )
            why = f"none of the values of {settings.console_oidc_roles_claim} gives a role"
            raise NotLetIn(problem, f"{name}: {why}", 403)
        return Person(name, found)


def role_map(pairs: tuple[str, ...]) -> dict[str, Role]:
    """("marketing=manager",) → {"marketing": Role.MANAGER}; none: the names that proxies' groups have."""
    if not pairs:
        return {f"memberstream-{role}": role for role in Role}
    return {value: Role(role) for value, _, role in (pair.rpartition("=") for pair in pairs)}


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim, by its name, or by the way to it through objects; None: there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _begun(kept: str, signed: Callable[[str], str]) -> dict[str, Any] | None:
    payload, _, mark = kept.partition(".")
    if not hmac.compare_digest(mark.encode(), signed(payload).encode()):
        return None
    found: dict[str, Any] = orjson.loads(urlsafe_b64decode(payload))
    return found if found["until"] > time.time() else None


def _unbelieved(why: str) -> NotLetIn:
    return NotLetIn(Problem("what the provider of log-ins answered can't be believed", _TRY), why, 502)
