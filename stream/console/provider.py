"""Log-in by OpenID Connect: what the console and a provider say to each other. Authlib speaks the protocol.

Laws:
- The authorization code flow with PKCE, state and nonce. What a browser must bring back lies in a cookie of that
  browser, signed here: a log-in that somebody else began is none, and nobody fills the memory by beginning many.
- An id token counts only if the issuer of the settings signed it with a key of its own, for this console, for now, and
  for this log-in. Whatever else the provider tells counts only beside it, of the same person.
- The provider is told and believed over HTTPS alone, but for one on this machine. Its metadata is judged before it
  counts, and it is asked for it and for its keys anew every few minutes. A key that can't be read is left out.
- A log-in ends once. Waiting for one's turn is a part of the patience: many who wait keep nobody for longer.
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
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry
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
_USER_INFO = "userinfo_endpoint"  # a provider may have none
#: Seconds for which its metadata and its keys are believed: so long a key counts that it has withdrawn.
KNOWN_S = 300.0
#: Log-ins that are over, of which nothing but the state is kept until it expires.
_MOST_ENDED = 10_000
_TRY = "try again in some minutes; whoever runs the console finds the reason in its log"
_ANEW = "log in anew"
#: What comes of an answer that isn't as it should be; of JSON that is nested too deeply the last one.
_UNUSABLE = AuthlibBaseError, JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError


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
        self._ended: dict[str, float] = {}
        self._address = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        oauth = OAuth()
        oauth.register(
            _NAME, client_id=settings.console_oidc_client_id, client_secret=settings.console_oidc_client_secret,
            server_metadata_url=self._address,
            client_kwargs={
                "scope": " ".join(settings.console_oidc_scopes), "code_challenge_method": "S256",
                "timeout": PATIENCE_S / 3,
            },
        )  # fmt: skip
        self._client: Any = oauth.create_client(_NAME)
        self._client.fetch_jwk_set = self._keys

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
        state = request.query_params.get("state", "")
        if begun is None or _STATE.format(state) not in begun["begun"] or not self._ends(state, begun["until"]):
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
            if self._is_thin(claims) and metadata.get(_USER_INFO):
                more = await self._client.userinfo(token=token)
                if more.get("sub") != claims["sub"]:
                    raise _unbelieved("what it tells of the person is of another one")
                claims = {**more, **claims}
            return claims

        claims = await self._asked(ask)
        return LoggedIn(self._person(claims), str(begun["wanted"]), str(claims["sub"]))

    def _ends(self, state: str, until: float) -> bool:
        """Note that a log-in is over; False: it was before."""
        now = time.time()
        if state in self._ended:
            return False
        while self._ended and (len(self._ended) >= _MOST_ENDED or next(iter(self._ended.values())) <= now):
            del self._ended[next(iter(self._ended))]
        self._ended[state] = until
        return True

    async def _metadata(self) -> dict[str, Any]:
        """Return what the provider tells of itself, once it is believed. What isn't is asked again the next time."""
        known: dict[str, Any] = self._client.server_metadata
        if time.time() - known.get("_loaded_at", 0.0) > KNOWN_S:
            self._client.server_metadata = known = self._believed(await self._get(self._address))
        return known

    def _believed(self, found: dict[str, Any]) -> dict[str, Any]:
        if found.get("issuer") != self.issuer:
            raise _unbelieved(f"it calls itself {found.get('issuer')!r}, the settings {self.issuer!r}")
        for name in (*_ENDPOINTS, *([_USER_INFO] if found.get(_USER_INFO) is not None else [])):
            try:
                url(str(found.get(name, "")))
            except ValueError as error:
                raise _unbelieved(f"its {name} is {found.get(name)!r}, expected {error}") from None
        algorithms = found.get("id_token_signing_alg_values_supported") or ["RS256"]
        signed = [one for one in algorithms if one.startswith(_SIGNED)]
        # Authlib's own names for the keys, and for when it was asked.
        return found | {"id_token_signing_alg_values_supported": signed, "jwks": None, "_loaded_at": time.time()}

    async def _keys(self, force: bool = False) -> dict[str, Any]:
        """Return the provider's keys; in place of Authlib's function, for which one unusable key spoils them all."""
        metadata = await self._metadata()
        if force or metadata["jwks"] is None:
            found = await self._get(metadata["jwks_uri"])
            metadata["jwks"] = {"keys": [one for one in found["keys"] if _is_usable(one)]}
        keys: dict[str, Any] = metadata["jwks"]
        return keys

    async def _get(self, address: str) -> dict[str, Any]:
        async with self._client._get_session() as client:
            reply = await client.request("GET", address, withhold_token=True)
            reply.raise_for_status()
            found: dict[str, Any] = reply.json()
            return found

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S), self._some:
                return await ask()
        except (httpx2.HTTPError, TimeoutError) as error:
            why = f"{self.issuer} can't be asked: {type(error).__name__}: {error}"
            raise NotLetIn(Problem("the provider of log-ins doesn't answer", _TRY), why, 503) from error
        except _UNUSABLE as error:
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
        found = frozenset[Role]().union(
            *(self._roles[one] for one in told if isinstance(one, str) and one in self._roles)
        )
        if not found:
            problem = Problem(
                f"you are logged in as {name}, but none of your groups has a role here",
                "ask whoever runs the console for one, then log in anew",
            )
            why = f"none of the values of {settings.console_oidc_roles_claim} gives a role"
            raise NotLetIn(problem, f"{name}: {why}", 403)
        return Person(name, found, self.issuer, str(claims["sub"]))


def role_map(pairs: tuple[str, ...]) -> dict[str, frozenset[Role]]:
    """("marketing=manager",) → {"marketing": {Role.MANAGER}}; none: the names that proxies' groups have."""
    if not pairs:
        return {f"memberstream-{role}": frozenset({role}) for role in Role}
    found: dict[str, frozenset[Role]] = {}
    for value, _, role in (pair.rpartition("=") for pair in pairs):
        found[value] = found.get(value, frozenset()) | {Role(role)}
    return found


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim, by its name, or by the way to it through objects; None: there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _is_usable(key: Any) -> bool:
    try:
        return JWKRegistry.import_key(key).as_dict(private=False) is not None
    except (*_UNUSABLE, UnsupportedAlgorithm):
        return False


def _begun(kept: str, signed: Callable[[str], str]) -> dict[str, Any] | None:
    payload, _, mark = kept.partition(".")
    if not hmac.compare_digest(mark.encode(), signed(payload).encode()):
        return None
    found: dict[str, Any] = orjson.loads(urlsafe_b64decode(payload))
    return found if found["until"] > time.time() else None


def _unbelieved(why: str) -> NotLetIn:
    return NotLetIn(Problem("what the provider of log-ins answered can't be believed", _TRY), why, 502)
