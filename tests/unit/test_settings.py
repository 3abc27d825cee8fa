"""Settings: parsed whole or refused with everything that is wrong."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from memberstream.stream.kafka import tokens as tokens_module
from memberstream.stream.kafka.security import Security
from memberstream.stream.kafka.tokens import FAILED_S, TokenError, Tokens, lifetime_s
from memberstream.stream.settings import (
    Settings,
    SettingsError,
    from_environment,
    markdown_table,
    security_table,
    to_environment,
    variable,
)

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_set_gives_the_defaults() -> None:
    """Variables of others are none of ours."""
    assert from_environment({"PATH": "/bin"}) == Settings()


def test_every_setting_survives_the_way_through_the_environment() -> None:
    """to_environment names every setting, and gives the same settings again."""
    settings = Settings(
        kafka_bootstrap=("one:9092", "[::1]:9093"),
        broker_kind="embedded",
        topic="t",
        partitioner="crc32",
        on_gap="continue",
        compacted_source="whole_documents",
        json_keys="allow",
        topic_epoch=1,
        interactions_topic="i",
        interaction_kinds=("impression", "share"),
        interaction_horizon_days=3,
        group="g",
        redis_url="rediss://user:secret@redis:6380/2",
        redis_prefix="staging",
        data_dir=Path("/data/1"),
        clock="event",
        replication_factor=1,
        standby_replicas=1,
        session_timeout_s=2.5,
        kafka_group_instance_id="memberstream-0",
        stall_limit_s=9.0,
        metrics_host="0.0.0.0",
        metrics_port=0,
        query_secret="a secret of sixteen",
        query_host="10.0.0.1",
        query_port=9465,
        console_users=Path("/etc/users.json"),
        console_proxies=("10.1.2.0/24", "::1"),
        console_hosts=("console.example",),
        console_oidc_issuer="https://login.example",
        console_oidc_client_id="console",
        console_oidc_client_secret="a secret of it",
        console_oidc_scopes=("openid", "groups"),
        console_oidc_name_claim="email",
        console_oidc_roles_claim="roles",
        console_oidc_roles=("CN=a,OU=b=viewer",),
        log_format="json",
        traces="otlp",
    )
    environment = to_environment(settings)
    assert environment.keys() == {variable(setting.name) for setting in fields(Settings) if setting.metadata}
    assert from_environment(environment) == settings
    assert all(getattr(settings, f.name) != f.default for f in fields(Settings) if f.metadata), "one isn't tried here"


def test_all_problems_are_listed_at_once_and_the_next_action_last() -> None:
    """Each with its variable, what was expected and what was found; the Redis URL without its password."""
    bad = {
        "KAFKA_BOOTSTRAP": "nowhere",
        "BROKER_KIND": "rabbit",
        "TOPIC": "",
        "REDIS_URL": "http://user:geheim@x",
        "REPLICATION_FACTOR": "10",
        "STANDBY_REPLICAS": "-1",
        "SESSION_TIMEOUT_S": "soon",
        "METRICS_PORT": "65536",
        "TOPICS": "x",
    }
    with pytest.raises(SettingsError) as raised:
        from_environment({f"MEMBERSTREAM_{name}": value for name, value in bad.items()})
    *problems, last = str(raised.value).splitlines()
    assert [problem.split(":")[0] for problem in problems] == [f"MEMBERSTREAM_{name}" for name in bad]
    assert "MEMBERSTREAM_BROKER_KIND: expected one of kafka, embedded, found 'rabbit'" in problems
    assert "geheim" not in str(raised.value)
    assert last.startswith("Next: ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TOPICC", "did you mean MEMBERSTREAM_TOPIC?"),
        ("KAFKA_SASL_USER", "did you mean MEMBERSTREAM_KAFKA_SASL_USERNAME?"),
        ("COLOUR", "the settings are MEMBERSTREAM_KAFKA_BOOTSTRAP, MEMBERSTREAM_"),
    ],
)
def test_a_slip_in_a_name_is_told_by_the_name_that_is_like_it(name: str, hint: str) -> None:
    """All names are listed only if none is like it."""
    with pytest.raises(SettingsError) as raised:
        from_environment({f"MEMBERSTREAM_{name}": "x"})
    said, next_ = str(raised.value).splitlines()
    assert said.startswith(f"MEMBERSTREAM_{name}: unknown; {hint}")
    assert ("the settings are" in said) is hint.startswith("the settings are")
    assert "docs/operations.md" in next_


@pytest.mark.parametrize(
    ("name", "text"),
    [("SESSION_TIMEOUT_S", "nan"), ("SESSION_TIMEOUT_S", "inf"), ("METRICS_PORT", "²"), ("KAFKA_BOOTSTRAP", ",")],
)
def test_values_that_only_look_right_are_refused(name: str, text: str) -> None:
    """Python takes them for numbers or lists; we don't."""
    with pytest.raises(SettingsError, match=f"MEMBERSTREAM_{name}: expected"):
        from_environment({f"MEMBERSTREAM_{name}": text})


def test_the_operators_docs_show_the_list() -> None:
    """One list, many readers: docs/operations.md has the table that the code makes."""
    assert markdown_table() in (ROOT / "docs" / "operations.md").read_text()
    assert security_table() in (ROOT / "docs" / "kafka-security.md").read_text()


def test_kafka_security_comes_from_the_environment_and_secrets_from_files(tmp_path: Path) -> None:
    """By Kafka's names. A file's last line end isn't part of the secret; nobody's repr shows one."""
    secret = tmp_path / "password"
    secret.write_text("geheim \n")
    kafka = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "SCRAM-SHA-512", "SASL_USERNAME": "u"}
    environment = {f"MEMBERSTREAM_KAFKA_{name}": value for name, value in kafka.items()}
    settings = from_environment(environment | {"MEMBERSTREAM_KAFKA_SASL_PASSWORD_FILE": str(secret)})
    expected = Security("SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-512", sasl_username="u", sasl_password="geheim ")
    assert settings.kafka_security == expected
    assert settings.kafka.security == expected
    assert from_environment(to_environment(settings)) == settings
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("kafka", "problem"),
    [
        ({"SSL_CA_LOCATION": "CA"}, "MEMBERSTREAM_KAFKA_SSL_CA_LOCATION: of no use with PLAINTEXT"),
        ({"SASL_USERNAME": "u"}, "MEMBERSTREAM_KAFKA_SASL_USERNAME: of no use with PLAINTEXT"),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_OAUTHBEARER_SCOPE": "u"},
            "SASL_OAUTHBEARER_SCOPE: of no use with SASL_SSL with PLAIN",
        ),
        ({"SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "http://login.example.com/"}, "begins with https://"),
        ({"SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "https://login.example.com:x/"}, "a host and, if need be, a port"),
        ({"SASL_MECHANISM": "PLAIN"}, "MEMBERSTREAM_KAFKA_SASL_MECHANISM: of no use with PLAINTEXT"),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_SSL needs MEMBERSTREAM_KAFKA_SASL_MECHANISM"),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "u"},
            "PLAIN needs MEMBERSTREAM_KAFKA_SASL_PASSWORD",
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"},
            "OAUTHBEARER needs MEMBERSTREAM_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL",
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "AWS_MSK_IAM", "AWS_REGION": "eu-central-1"},
            r"pip install 'memberstream\[msk\]'",
        ),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_KEY_LOCATION": "CA"}, "KEY_LOCATION: needs MEMBERSTREAM_KAFKA_SSL_CERT"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_LOCATION": "CA"}, "the authorities in .* can't be read"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERTIFICATE_LOCATION": "CA"}, "the certificate .* can't be used"),
        ({"SSL_CA_LOCATION": "/nowhere"}, "MEMBERSTREAM_KAFKA_SSL_CA_LOCATION: expected a file that exists"),
        ({"SASL_PASSWORD_FILE": "/nowhere"}, "SASL_PASSWORD_FILE: can't read /nowhere"),
        ({"SASL_PASSWORD_FILE": "/nowhere", "SASL_PASSWORD": "x"}, "SASL_PASSWORD is set, too"),
        ({"SASL_USERNAME_FILE": "/nowhere"}, "MEMBERSTREAM_KAFKA_SASL_USERNAME_FILE: unknown"),
    ],
)
def test_security_that_cannot_work_is_refused_at_once(kafka: dict[str, str], problem: str, tmp_path: Path) -> None:
    """Not by a broker, minutes later, with a word that means anything."""
    no_certificate = tmp_path / "ca.pem"
    no_certificate.write_text("nothing")
    values = {name: str(no_certificate) if value == "CA" else value for name, value in kafka.items()}
    with pytest.raises(SettingsError, match=problem):
        from_environment({f"MEMBERSTREAM_KAFKA_{name}": value for name, value in values.items()})


def test_a_token_is_used_for_as_long_as_it_says() -> None:
    """The endpoint's word counts, then the token's own, then a cautious guess."""
    claims = base64.urlsafe_b64encode(b'{"exp": %d}' % (time.time() + 100)).decode().rstrip("=")
    assert [lifetime_s("opaque", said) for said in (30, "30", 30.0)] == [30.0] * 3
    no_time: list[object] = [float("nan"), float("inf"), 10**400, True, []]
    assert [lifetime_s("opaque", said) for said in no_time] == [60.0] * 5
    assert lifetime_s(f"e30.{claims}.", None) == pytest.approx(100, abs=5)
    assert [lifetime_s(token, None) for token in ("opaque", "a.b.c", "a.e30.c")] == [60.0] * 3


async def test_a_token_that_holds_is_used_while_none_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no longer; a refused one isn't shown again; a failure is told to all who wait, and forgotten soon."""
    answers: list[tuple[str, float] | TokenError] = [("a", 100.0), TokenError("away", "wait"), ("b", 90.0), ("c", 90.0)]

    class Some(Tokens):
        def _get(self) -> tuple[str, float]:
            if isinstance(answer := answers.pop(0), TokenError):
                raise answer
            return answer

    now_s = 0.0
    monkeypatch.setattr(tokens_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    tokens = Some()
    assert await tokens.token() == "a"
    now_s = 99.0
    assert await tokens.token() == "a"  # it is time for another one, which can't be had
    now_s = 100.5
    with pytest.raises(TokenError, match=r"away\. Next: wait"):  # remembered: nobody is asked again
        await tokens.token()
    assert len(answers) == 2
    now_s = 99.0 + FAILED_S
    assert [await tokens.token() for _ in range(2)] == ["b", "b"]
    tokens.forget("a")
    assert await tokens.token() == "b"
    tokens.forget("b")
    assert await tokens.token() == "c"


def test_the_environment_is_read_in_one_place() -> None:
    """os.environ stands where settings are read for commands and for notebooks, and in demo/spawning.py (a child's)."""
    read = re.compile(r"\bos\.(environ|getenv)b?\b|^\s*from os import .*\b(environ|getenv)", re.MULTILINE)
    found = {
        str(path.relative_to(ROOT))
        for folder in ("models", "stream")
        for path in (ROOT / folder).rglob("*.py")
        if read.search(path.read_text())
    }
    assert found == {"stream/terminal/output.py", "stream/demo/spawning.py", "stream/notebook.py"}
