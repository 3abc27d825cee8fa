"""A log-in by OpenID Connect: what is believed of a provider, and what comes of its claims.

The protocol itself is tried on a real provider: tests/e2e/test_console.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.types import ASGIApp
from unit.consoles import HOST, Reply, a_shop, a_site, fetch
from unit.test_console import at, text_of
from unit.test_console_access import NAME, OURS, console, cookie_of
from unit.test_doctor import WELL

from memberstream.stream.console import provider
from memberstream.stream.console.access import Access
from memberstream.stream.console.app import application
from memberstream.stream.console.live import Live
from memberstream.stream.console.provider import BEGUN_LASTS_S, claim, role_map
from memberstream.stream.console.roles import Person, Role
from memberstream.stream.console.sessions import LASTS_S
from memberstream.stream.settings import Settings, SettingsError, from_environment

ISSUER = "https://login.shop.example"
KEY, ANOTHER = (RSAKey.generate_key(2048, parameters={"kid": "k"}) for _ in range(2))
SETTINGS = Settings(
    topic="docs", group="g", console_oidc_issuer=ISSUER, console_oidc_client_id="console",
    console_oidc_client_secret="a secret", console_hosts=(NAME,),
)  # fmt: skip


class Fake:
    """A provider that answers as a test wants. `claims`: of the id token; `more`: of the user info."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth", "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys", "userinfo_endpoint": f"{ISSUER}/me",
        }  # fmt: skip
        self.claims: dict[str, Any] = {"preferred_username": "ann", "groups": ["memberstream-manager", "cooks", 7]}
        self.more: dict[str, Any] = {}
        self.header = {"alg": "RS256", "kid": "k"}
        self.key: RSAKey | OctKey = KEY
        self.asked, self.nonce = list[str](), ""
        self.away: Exception | None = None
        self.status = 200
        self.keys: list[dict[str, Any]] = [KEY.as_dict(private=False)]
        self.answered: bytes | None = None
        self.waits: asyncio.Event | None = None

    def sign_by_the_secret(self) -> None:
        """As some providers offer it."""
        self.header, self.key = {"alg": "HS256"}, OctKey.import_key(b"a" * 32)
        self.metadata["id_token_signing_alg_values_supported"] = ["RS256", "HS256", "none"]

    async def answer_late(self, request: httpx2.Request) -> httpx2.Response:
        if self.waits is not None:
            await self.waits.wait()
        return self.answer(request)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.away is not None:
            raise self.away
        path = request.url.path
        self.asked.append(path)
        if self.answered is not None:
            return httpx2.Response(200, content=self.answered)
        if path == "/.well-known/openid-configuration":
            return httpx2.Response(self.status, json=self.metadata)
        if path == "/keys":
            return httpx2.Response(200, json={"keys": self.keys})
        if path == "/me":
            return httpx2.Response(200, json=self.more)
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "console", "sub": "7", "iat": now, "exp": now + 60, "nonce": self.nonce}
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        registry = jwt.JWSRegistry(algorithms=[self.header["alg"]])
        token = jwt.encode(self.header, claims, self.key, registry=registry)
        return httpx2.Response(200, json={"access_token": "a", "token_type": "Bearer", "id_token": token})


@pytest.fixture
def fake() -> Fake:
    return Fake()


def made(fake: Fake, settings: Settings = SETTINGS) -> tuple[ASGIApp, Access]:
    """Return a console that knows people by that provider."""
    app, access = console(settings)
    assert access.provider is not None
    access.provider._client.client_kwargs["transport"] = httpx2.MockTransport(fake.answer_late)
    return app, access


async def begin(fake: Fake, app: ASGIApp, to: str = "/models", host: str = NAME) -> tuple[dict[str, str], str]:
    """Press the button; return the browser's cookie, and the state that the provider hands back."""
    reply = await fetch(app, f"/log-in/provider?next={to}", host)
    assert reply.status == 303, text_of(reply.text)
    asked = {name: one for name, [one] in parse_qs(urlsplit(reply.headers["location"]).query).items()}
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    scheme = "https" if host == NAME else "http"
    assert asked["redirect_uri"] == f"{scheme}://{host}/log-in/provider/back"
    fake.nonce = asked["nonce"]
    return cookie_of(reply), asked["state"]


async def come_back(app: ASGIApp, cookie: dict[str, str], state: str, more: str = "&code=c", host: str = NAME) -> Reply:
    return await fetch(app, f"/log-in/provider/back?state={state}{more}", host, headers=cookie)


async def log_in(fake: Fake, app: ASGIApp, to: str = "/models", host: str = NAME) -> Reply:
    return await come_back(app, *await begin(fake, app, to, host), host=host)


@pytest.mark.parametrize("host", [NAME, HOST])
async def test_somebody_logs_in_and_out(host: str, fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    """With the roles of the groups; the session is one as of passwords. Off this machine the cookie is HTTPS' alone."""
    caplog.set_level("INFO")
    app, access = made(fake)
    shown = await fetch(app, "/log-in?next=/models", host)
    assert 'href="/log-in/provider?next=%2Fmodels"' in shown.text
    assert "Password" not in shown.text
    reply = await log_in(fake, app, host=host)
    assert (reply.status, reply.headers["location"]) == (303, "/models")
    kept = next(iter(access.sessions._found))
    cookie = {"cookie": ("__Host-memberstream" if host == NAME else "memberstream") + f"={kept}"}
    page = await fetch(app, "/campaigns-new", host, headers=cookie)
    assert page.status == 200
    assert "You may look, set campaigns." in page.text
    assert (await fetch(app, "/models-publish", host, headers=cookie)).status == 403
    assert "audit: ann (manager), 7 at https://login.shop.example, logged in, from 127.0.0.1" in caplog.text
    assert "audit: ann (manager) by https://login.shop.example 7 may not publish and promote models" in caplog.text
    assert fake.asked == ["/.well-known/openid-configuration", "/token", "/keys"]  # the id token tells all
    token = page.text.partition('name="token" value="')[2].partition('"')[0]
    headers = OURS | cookie | {"content-type": "application/x-www-form-urlencoded"}
    headers |= {"origin": f"https://{NAME}"} if host == NAME else {}
    assert (await fetch(app, "/log-out", host, "POST", headers=headers, body=f"token={token}".encode())).status == 303
    assert (await fetch(app, "/models", host, headers=cookie)).status == 303
    access.sessions._clock = lambda: time.monotonic() + LASTS_S + 1
    assert access.sessions.get(kept) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [(lambda fake: fake.claims.update(nonce="another"), "nonce"),
     (lambda fake: fake.claims.update(nonce=None), "nonce"),
     (lambda fake: fake.claims.update(iss="https://evil.example"), "iss"),
     (lambda fake: fake.claims.update(aud="another"), "aud"),
     (lambda fake: fake.claims.update(aud=["another"], azp="console"), "aud"),
     (lambda fake: fake.claims.update(aud=["console", "another"], azp="another"), "azp"),
     (lambda fake: fake.claims.update(exp=1), "expired"), (lambda fake: fake.claims.update(exp=None), "exp"),
     (lambda fake: setattr(fake, "key", ANOTHER), "bad_signature"),
     (Fake.sign_by_the_secret, "lgori"),
     (lambda fake: fake.metadata.update(issuer=f"{ISSUER}/other"), "it calls itself"),
     (lambda fake: fake.metadata.update(token_endpoint="http://login.shop.example/token"), "its token_endpoint is"),
     (lambda fake: fake.metadata.pop("jwks_uri"), "its jwks_uri is"),
     (lambda fake: fake.metadata.update(userinfo_endpoint="http://login.shop.example/me"), "its userinfo_endpoint is"),
     (lambda fake: setattr(fake, "answered", b"[" * 100_000), "RecursionError"),
     (lambda fake: (fake.claims.pop("groups"), fake.more.update(sub="8", groups=["memberstream-operator"])),
      "of another one")],
)  # fmt: skip
async def test_what_isnt_believed(
    change: Callable[[Fake], object], why: str, fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    """The page says so, the log says why, and nobody is let in."""
    app, access = made(fake)
    change(fake)
    asked = await fetch(app, "/log-in/provider", NAME)
    reply = asked if asked.status != 303 else await log_in(fake, app)
    assert reply.status == 502
    assert "what the provider of log-ins answered can't be believed Next: try again" in text_of(reply.text)
    assert why in caplog.text
    assert "audit: somebody wasn't let in" in caplog.text
    assert access.sessions._found == {}


async def test_a_thin_id_token_is_filled_up(fake: Fake) -> None:
    """By the user info of the same person; what the id token says stands."""
    fake.claims = {"groups": ["memberstream-author"]}
    fake.more = {"sub": "7", "preferred_username": "ann", "groups": ["memberstream-operator"]}
    app, access = made(fake)
    assert (await log_in(fake, app)).status == 303
    [session] = access.sessions._found.values()
    assert (session.name, session.roles) == ("ann", frozenset({Role.AUTHOR}))


@pytest.mark.parametrize(
    ("claims", "said", "logged"),
    [({"groups": ["cooks"]}, "you are logged in as ann, but none of your groups has a role here", "ann: none of the"),
     ({"groups": {"memberstream-operator": 1}}, "none of your groups", "ann: none of the values of groups"),
     ({"groups": None}, "none of your groups", "ann: none of the values of groups gives a role"),
     ({"preferred_username": None}, "the provider doesn't tell your name", "subject 7: the claim preferred_username"),
     ({"preferred_username": "a\nudit: bob"}, "the provider doesn't tell your name", "subject 7: the claim")],
)  # fmt: skip
async def test_whoever_has_no_role_is_told(
    claims: dict[str, Any], said: str, logged: str, fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    """With status 403, and a line in the log."""
    fake.claims |= claims
    fake.more = {"sub": "7"}
    app, access = made(fake)
    reply = await log_in(fake, app)
    assert reply.status == 403
    assert said in text_of(reply.text)
    assert f"audit: somebody wasn't let in: {logged}" in caplog.text
    assert access.sessions._found == {}


async def test_a_provider_that_is_away_is_said(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    """Before the log-in and on the way back; then it works again."""
    app, _ = made(fake)
    fake.away = httpx2.ConnectError("refused")
    reply = await fetch(app, "/log-in/provider", NAME)
    assert reply.status == 503
    assert "the provider of log-ins doesn't answer Next: try again in some minutes" in text_of(reply.text)
    assert f"{ISSUER} can't be asked: ConnectError: refused" in caplog.text
    fake.away, fake.status = None, 500
    assert (await fetch(app, "/log-in/provider", NAME)).status == 503
    fake.status = 200
    begun = await begin(fake, app)
    fake.away = httpx2.ReadTimeout("late")
    assert (await come_back(app, *begun)).status == 503
    fake.away = None
    assert (await log_in(fake, app)).status == 303


async def test_only_who_began_a_log_in_ends_it(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cookie of that browser, unchanged, for ten minutes, with the state that goes with it, and once."""
    app, _ = made(fake)
    cookie, state = await begin(fake, app)
    name, _, value = cookie["cookie"].partition("=")
    payload, _, mark = value.partition(".")
    for wrong in ({}, {"cookie": f"{name}={payload[:-4]}AAAA.{mark}"}, {"cookie": f"{name}={payload}"}):
        reply = await come_back(app, wrong, state)
        assert reply.status == 400
        assert "this log-in was begun elsewhere, or too long ago" in text_of(reply.text)
    assert (await come_back(app, cookie, "another")).status == 400
    ended = await come_back(app, cookie, state, "&error=access_denied")
    assert ended.status == 403
    assert "the provider didn't log you in: access_denied" in text_of(ended.text)
    assert f"{name}=" in ended.headers["set-cookie"]
    assert "Max-Age=0" in ended.headers["set-cookie"]
    later = time.time() + BEGUN_LASTS_S + 1
    monkeypatch.setattr("memberstream.stream.console.provider.time.time", lambda: later)
    assert (await come_back(app, cookie, state)).status == 400
    assert "/token" not in fake.asked


async def test_a_log_in_ends_once(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever brings its cookie again is told so, and the provider isn't asked. Ended ones are forgotten in time."""
    app, access = made(fake)
    begun = await begin(fake, app)
    assert [(await come_back(app, *begun)).status for _ in range(3)] == [303, 400, 400]
    assert fake.asked.count("/token") == 1
    assert access.provider is not None
    monkeypatch.setattr(provider, "_MOST_ENDED", 2)
    for _ in range(3):
        assert (await log_in(fake, app)).status == 303
    assert len(access.provider._ended) == 2
    now = time.time() + BEGUN_LASTS_S + 1
    monkeypatch.setattr(provider.time, "time", lambda: now)
    assert access.provider._ends("new", now + 1)
    assert list(access.provider._ended) == ["new"]


async def test_waiting_for_ones_turn_has_an_end(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that answers nobody keeps those behind the first ones no longer than these."""
    monkeypatch.setattr(provider, "PATIENCE_S", 0.3)
    app, access = made(fake)
    fake.waits = asyncio.Event()
    assert access.provider is not None
    access.provider._some = asyncio.Semaphore(1)
    began = time.monotonic()
    replies = await asyncio.gather(*(fetch(app, "/log-in/provider", NAME) for _ in range(20)))
    assert {reply.status for reply in replies} == {503}
    assert time.monotonic() - began < 20 * 0.3 / 2  # one after the other they would take all of it


async def test_keys_and_metadata_are_asked_for_anew(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that can't be read spoils no other. A withdrawn one ends in minutes; so does what the metadata said."""
    odd: list[Any] = [
        {"kty": "AKP", "kid": "z", "pub": "AA"}, {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "q"},
        {"kty": "RSA", "kid": "k2", "n": "!", "e": "AQAB"}, {}, 7, None, {"kty": ["RSA"]},
    ]  # fmt: skip
    fake.keys = odd + fake.keys
    app, _ = made(fake)
    assert (await log_in(fake, app)).status == 303
    fake.keys, fake.key = [ANOTHER.as_dict(private=False)], ANOTHER  # under the same name
    assert (await log_in(fake, app)).status == 502
    now = time.time() + provider.KNOWN_S + 1
    monkeypatch.setattr(provider.time, "time", lambda: now)
    assert (await log_in(fake, app)).status == 303
    fake.key = KEY
    assert (await log_in(fake, app)).status == 502
    assert fake.asked.count("/.well-known/openid-configuration") == 2


async def test_bad_metadata_is_asked_for_again(fake: Fake) -> None:
    app, _ = made(fake)
    fake.metadata["id_token_signing_alg_values_supported"] = [None]
    assert (await fetch(app, "/log-in/provider", NAME)).status == 502
    fake.metadata["id_token_signing_alg_values_supported"] = ["RS256"]
    assert (await log_in(fake, app)).status == 303


async def test_one_name_of_two_sources_is_two_people(fake: Fake) -> None:
    """The provider's ann ends none of the password's, nor of another ann of the provider."""
    app, access = made(fake)
    sessions = access.sessions
    anns = sessions.begin("ann", "argon2")
    for _ in range(20):
        sessions.begin("ann", ISSUER, frozenset({Role.VIEWER}), "7")
    others = sessions.begin("ann", ISSUER, frozenset({Role.VIEWER}), "8")
    first = next(number for number, one in sessions._found.items() if one.identity == (ISSUER, "7"))
    assert (await log_in(fake, app)).status == 303
    assert sessions.get(first) is None
    assert sessions.get(anns) is not None
    assert sessions.get(others) is not None
    person = access._person(others)
    assert person is not None
    assert person.identity == (ISSUER, "8") != Person("ann", frozenset()).identity


async def test_one_goes_on_within_the_console(fake: Fake) -> None:
    """Nowhere else, nor in a circle; and a cookie stays short."""
    app, _ = made(fake)
    for wanted in ("//evil.example", "/log-in/provider", "/members?id=" + "x" * 1_000, "/members?id=" + "%C3%A9" * 900):
        cookie, state = await begin(fake, app, wanted)
        assert len(cookie["cookie"]) < 3_000
        assert (await come_back(app, cookie, state)).headers["location"] == "/"


async def test_without_a_provider_nobody_is_led_away() -> None:
    site = a_site(a_shop(), now=at(WELL), settings=Settings(topic="docs", group="g", console_proxies=("10.0.0.1",)))
    app = application(site, Live(site))
    for path in ("/log-in/provider", "/log-in/provider/back"):
        assert (await fetch(app, path)).headers["location"] == "/log-in"


def test_claims_and_roles() -> None:
    """A claim stands under its name, or within objects; values of directories hold commas and equals signs."""
    claims = {"a.b": 1, "realm_access": {"roles": ["x"]}, "a": {"b": 2}}
    assert [claim(claims, name) for name in ("a.b", "realm_access.roles", "a.b.c", "none")] == [1, ["x"], None, None]
    assert role_map(()) == {f"memberstream-{role}": {role} for role in Role}
    pairs = ("CN=data,OU=x=author", "CN=data,OU=x=manager", "all=viewer")
    assert role_map(pairs) == {"CN=data,OU=x": {Role.AUTHOR, Role.MANAGER}, "all": {Role.VIEWER}}


def test_settings_of_the_provider() -> None:
    """All that is needed is named at once; the secret is never shown, and may come from a file."""
    given = {
        "ISSUER": ISSUER, "CLIENT_ID": "console", "CLIENT_SECRET": "a secret",
        "ROLES": "CN=data,OU=x=author, CN=everyone = viewer", "SCOPES": "openid,groups",
    }  # fmt: skip
    environment = {f"MEMBERSTREAM_CONSOLE_OIDC_{name}": value for name, value in given.items()}
    found = from_environment(environment)
    assert found.console_oidc_roles == ("CN=data,OU=x=author", "CN=everyone=viewer")
    assert {one.rpartition("=")[2] for one in found.console_oidc_roles} <= set(Role)
    assert "a secret" not in repr(found)
    for name, value, said in (
        ("ISSUER", "http://login.shop.example", "https://"), ("SCOPES", "groups", "openid among them"),
        ("ROLES", "a=king", "VALUE=ROLE"), ("ROLES", "=viewer", "VALUE=ROLE"), ("ROLES", "a=viewer,b", "VALUE=ROLE"),
        ("ROLES", "a=viewer=", "VALUE=ROLE"), ("ROLES", "OU=operator,DC=shop=viewer", "it isn't clear where one ends"),
        ("ROLES", "CN=staff,OU=operator,DC=shop=viewer", "whole names of a directory, as CN=data"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=f"MEMBERSTREAM_CONSOLE_OIDC_{name}: expected .*{said}"):
            from_environment(environment | {f"MEMBERSTREAM_CONSOLE_OIDC_{name}": value})
    with pytest.raises(SettingsError) as raised:
        from_environment({"MEMBERSTREAM_CONSOLE_OIDC_ISSUER": ISSUER})
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()[:-1]] == [
        "MEMBERSTREAM_CONSOLE_OIDC_CLIENT_ID", "MEMBERSTREAM_CONSOLE_OIDC_CLIENT_SECRET",
    ]  # fmt: skip
