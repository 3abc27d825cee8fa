"""The chart for Kubernetes: what it renders is valid, hardened, and set up by settings that exist.

Renderings are committed with sums of what they were made from, so these tests need no helm. The last two hold them
against the real one, where there is one (`make proof`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import orjson
import pytest
import yaml
from unit.consoles import fetch

from memberstream.stream.console.app import console
from memberstream.stream.console.guard import check_address
from memberstream.stream.settings import Settings, from_environment

ROOT = Path(__file__).resolve().parents[2]
CHART, EXAMPLES = ROOT / "deploy/helm/memberstream", ROOT / "deploy/helm/examples"
NAMES = ["small", "everything"]
KUBERNETES = "1.34"
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
#: Kinds that an operator brings; Kubernetes has no schema of them.
OTHERS = {"ServiceMonitor": "monitoring.coreos.com/v1", "ScaledObject": "keda.sh/v1alpha1"}
SECRETS = "/run/secrets/memberstream"


def rendered(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text()))


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in rendered(name) if one["kind"] == kind]


def values(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / f"{name}.values.yaml").read_text())


def pods() -> Iterator[Any]:
    """Yield the specification of all pods: workers', then the console's."""
    for name in NAMES:
        for one in [*of_kind(name, "StatefulSet"), *of_kind(name, "Deployment")]:
            yield one["spec"]["template"]["spec"]


def test_renderings_are_of_this_chart() -> None:
    """The chart, the values and the renderings are those that render.sh saw last: none was changed alone."""
    noted = dict(line.split(maxsplit=1)[::-1] for line in (EXAMPLES / "rendered.sha256").read_text().splitlines())
    files = [path for folder in (CHART, EXAMPLES) for path in folder.rglob("*") if path.is_file()]
    found = {
        str(path.relative_to(CHART.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix != ".sha256"
    }
    assert found == noted, "Next: deploy/helm/render.sh, with helm on the PATH"


def test_what_is_rendered() -> None:
    """The least is a StatefulSet with Service, budget and policy; everything is both kinds of workers, the console, and
    more."""
    each = ["NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet"]
    assert sorted(one["kind"] for one in rendered("small")) == each
    found = sorted(one["kind"] for one in rendered("everything"))
    assert found == sorted(
        [*each * 2, "Deployment", "NetworkPolicy", "Service", "ServiceMonitor", "ServiceMonitor", "ScaledObject"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_takes_it(name: str) -> None:
    """Each object is valid by the schemas of Kubernetes, with no field that it doesn't know."""
    for one in rendered(name):
        if one["kind"] in OTHERS:
            assert one["apiVersion"] == OTHERS[one["kind"]]
        else:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_pods_are_hardened() -> None:
    """No root, no writable root file system, no capability, no token of the API; time to stop."""
    for pod in pods():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False  # variables of the Service would stop a worker
        assert pod["terminationGracePeriodSeconds"] >= 10
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted - {"state"} == {volume["name"] for volume in pod["volumes"]}


def test_probes_and_image() -> None:
    """Liveness never asks for more than a process that turns; the image is of the project's version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert str(chart["version"]) == str(chart["appVersion"]) == version
    for pod in pods():
        [container] = pod["containers"]
        asked = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
        if container["name"] == "worker":
            assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        else:
            assert set(asked.values()) == {"/style.css"}  # of the console: it takes no log-in (test below)
        assert container["image"].endswith(f"memberstream:{version}")


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_a_setting(name: str, tmp_path: Path) -> None:
    """A worker takes the environment that the chart gives it; a secret comes from a file, never from the manifest."""
    secrets = {"MEMBERSTREAM_REDIS_URL": "redis://user:word@redis/0", "MEMBERSTREAM_KAFKA_SASL_PASSWORD": "word"}
    secrets["MEMBERSTREAM_QUERY_SECRET"] = "sixteen or more of them"
    for setting, text in secrets.items():
        (tmp_path / setting).write_text(text)
    for one in of_kind(name, "StatefulSet"):
        [container] = one["spec"]["template"]["spec"]["containers"]
        named = {entry["name"]: entry for entry in container["env"]}
        assert len(named) == len(container["env"])
        ref = named.pop("MEMBERSTREAM_KAFKA_GROUP_INSTANCE_ID")["valueFrom"]
        assert ref == {"fieldRef": {"fieldPath": "metadata.name"}}
        if (host := named.pop("MEMBERSTREAM_QUERY_HOST", None)) is not None:
            assert host["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
            assert {"name": "query", "containerPort": 9465} in container["ports"]
        given = {key: entry["value"].replace(SECRETS, str(tmp_path)) for key, entry in named.items()}
        if authorities := given.pop("MEMBERSTREAM_KAFKA_SSL_CA_LOCATION", None):
            assert authorities == f"{tmp_path}/MEMBERSTREAM_KAFKA_SSL_CA_LOCATION"
        pod_name = f"{one['metadata']['name']}-0"
        settings = from_environment({**given, "MEMBERSTREAM_KAFKA_GROUP_INSTANCE_ID": pod_name})
        assert settings.metrics_port == container["ports"][0]["containerPort"]
        assert str(settings.data_dir).startswith(container["volumeMounts"][0]["mountPath"])
        assert settings.session_timeout_s > Settings().session_timeout_s
        mounted = [source["secret"] for v in one["spec"]["template"]["spec"]["volumes"] for source in files_of(v)]
        paths = {item["path"] for secret in mounted for item in secret["items"]}
        assert paths == {entry["setting"] for entry in values(name).get("secrets", [])}


async def test_the_console_is_set_up(tmp_path: Path) -> None:
    """By settings that exist, with a log-in, off loopback; secrets are files; the probe is answered without a log-in.

    Workers are asked about members by it alone.
    """
    [deployed] = of_kind("everything", "Deployment")
    spec = deployed["spec"]["template"]["spec"]
    [container] = spec["containers"]
    given = {entry["name"]: entry["value"].replace(SECRETS, str(tmp_path)) for entry in container["env"]}
    assert len(given) == len(container["env"])
    assert (deployed["spec"]["replicas"], deployed["spec"]["strategy"]) == (1, {"type": "Recreate"})
    [volume] = [one for one in spec["volumes"] if one["name"] == "secrets"]
    items = {item["path"]: item["key"] for source in files_of(volume) for item in source["secret"]["items"]}
    assert items["MEMBERSTREAM_REDIS_URL"] == "console-url"  # its own comes before the workers'
    for name in items:
        (tmp_path / name).write_text("redis://u:p@redis/0" if name.endswith("_URL") else "sixteen or more of them")
    given.pop("MEMBERSTREAM_KAFKA_SSL_CA_LOCATION")
    settings = from_environment(given)
    assert settings.query_secret == settings.console_oidc_client_secret == "sixteen or more of them"
    assert container["args"] == ["console", "--host", "0.0.0.0"]
    check_address(settings, "0.0.0.0", container["ports"][0]["containerPort"])
    app, _ = console(settings)
    probe = container["livenessProbe"]["httpGet"]
    [header] = probe["httpHeaders"]
    assert (await fetch(app, probe["path"], header["value"])).status == 200
    assert (await fetch(app, "/", header["value"])).status == 303
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("everything", "NetworkPolicy")}
    asks = [rule for rule in policies["memberstream"]["ingress"] if {"port": "query"} in rule["ports"]]
    own = deployed["spec"]["template"]["metadata"]["labels"]
    assert [rule["from"] for rule in asks] == [[{"podSelector": {"matchLabels": own}}]]
    assert not any({"port": "query"} in rule["ports"] for rule in policies["memberstream-interactions"]["ingress"])


def files_of(volume: dict[str, Any]) -> list[Any]:
    return list(volume.get("projected", {}).get("sources", []))


@pytest.mark.parametrize("name", NAMES)
def test_selectors_find_the_pods(name: str) -> None:
    """Service, budget, policy and monitor each select the pods of the StatefulSet of their name, and no others."""
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in [*of_kind(name, "StatefulSet"), *of_kind(name, "Deployment")]
    }
    for one in rendered(name):
        spec, own = one["spec"], labels[one["metadata"]["name"]]
        if one["kind"] == "Service":
            assert spec["selector"] == own
        elif one["kind"] in ("PodDisruptionBudget", "StatefulSet", "Deployment"):
            assert spec["selector"]["matchLabels"] == own
        elif one["kind"] == "NetworkPolicy":
            assert spec["podSelector"]["matchLabels"] == own
            assert "Ingress" in spec["policyTypes"]
        elif one["kind"] == "ServiceMonitor":
            assert spec["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
        else:
            assert spec["scaleTargetRef"]["name"] == one["metadata"]["name"]


def test_it_scales_down_slowly() -> None:
    """One worker less at a time, after half an hour; KEDA is told of the group and topic that the workers have."""
    [scaled] = of_kind("everything", "ScaledObject")
    down = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down == {
        "stabilizationWindowSeconds": 1800,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}],
    }
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["lagThreshold"] == str(values("everything")["autoscaling"]["lagThreshold"]) == "1000000"
    assert trigger["metadata"]["consumerGroup"] == Settings().group
    assert trigger["metadata"]["topic"] == Settings().topic
    [worker, _] = sorted(of_kind("everything", "StatefulSet"), key=lambda one: len(one["metadata"]["name"]))
    assert "replicas" not in worker["spec"]  # each upgrade would undo what KEDA has done


def test_jobs_have_the_names_that_alerts_know() -> None:
    """By default the operator takes the Services' names, and those follow the release's."""
    monitors = of_kind("everything", "ServiceMonitor")
    relabelings = [rule for one in monitors for end in one["spec"]["endpoints"] for rule in end["relabelings"]]
    assert {rule["targetLabel"] for rule in relabelings} == {"job"}
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = sorted(job["job_name"] for job in prometheus["scrape_configs"])
    assert sorted(rule["replacement"] for rule in relabelings) == jobs
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    assert set(re.findall(r'job="([^"]+)"', alerts)) == set(jobs)


def merged(below: Any, above: Any) -> Any:
    """Return values as helm merges them."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: merged(below.get(key), value) for key, value in above.items()}


def test_values_have_a_schema() -> None:
    """The examples fit; a mistyped name, a missing broker, and what the chart sets itself are refused."""
    schema = orjson.loads((CHART / "values.schema.json").read_bytes())
    check = jsonschema.Draft7Validator(schema).is_valid
    default = yaml.safe_load((CHART / "values.yaml").read_text())
    assert schema["properties"].keys() - {"global"} == default.keys()
    assert all(check(merged(default, values(name))) for name in NAMES)
    small = merged(default, values("small"))
    assert not check(default)
    refused: tuple[dict[str, Any], ...] = (
        {"werker": {}},
        {"worker": {"enabled": False}},
        {"settings": {"MEMBERSTREAM_DATA_DIR": "/tmp"}},
        {"settings": {"KAFKA": "kafka:9092"}},
        {"secrets": [{"setting": "MEMBERSTREAM_REDIS_URL_FILE", "secret": "s", "key": "k"}]},
        {"terminationGracePeriodSeconds": 5},
        {"console": {"settings": {"CONSOLE": "x"}}},
        {"console": {"secrets": [{"setting": "MEMBERSTREAM_CONSOLE_USERS"}]}},
    )
    for wrong in refused:
        assert not check(merged(small, wrong)), wrong


def test_every_value_is_used() -> None:
    """A value of values.yaml that no template reads would do nothing."""
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    default = yaml.safe_load((CHART / "values.yaml").read_text())
    for name, value in default.items():
        assert re.search(rf"(?i:values)\.{name}\b", templates), name
        for inner in value if isinstance(value, dict) and name != "settings" else ():
            assert re.search(rf"\.{inner}\b", templates), f"{name}.{inner}"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real helm, from the PATH or .cache/bin. Without it the sums of the renderings have to do."""
    local = ROOT / ".cache/bin/helm"
    found = str(local) if local.exists() else shutil.which("helm")
    if found is None:
        pytest.skip(f"helm is missing. Build it, once, some minutes: GOBIN={local.parent} go install {HELM}")
    return subprocess.run(
        [found, *arguments], cwd=EXAMPLES, capture_output=True, text=True, check=False, env=os.environ
    )


def template(*arguments: str) -> subprocess.CompletedProcess[str]:
    return helm("template", "memberstream", str(CHART), "--kube-version", KUBERNETES, *arguments)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_helm_renders_what_is_committed(name: str) -> None:
    """The real helm, a second. After a change of the chart: deploy/helm/render.sh writes it anew."""
    done = template("--values", f"{name}.values.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (EXAMPLES / f"{name}.yaml").read_text()
    linted = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES, "--values", f"{name}.values.yaml")
    assert linted.returncode == 0, linted.stdout


@pytest.mark.long
def test_helm_renders_whole_numbers_as_such(tmp_path: Path) -> None:
    """Helm reads them as floats: a million would become 1e+06. A release of another name keeps the names of jobs."""
    given = merged(values("everything"), {"settings": {"MEMBERSTREAM_GROUP": 20_261_129, "MEMBERSTREAM_A": 1.5}})
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(given))
    done = helm(
        "template", "other", str(CHART), "--kube-version", KUBERNETES, "--values", str(tmp_path / "values.yaml")
    )
    assert done.returncode == 0, done.stderr
    for text in (
        '{name: MEMBERSTREAM_GROUP, value: "20261129"}',
        'consumerGroup: "20261129"',
        'MEMBERSTREAM_A, value: "1.5"',
    ):
        assert text in done.stdout
    monitors = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] == "ServiceMonitor"]
    jobs = {one["metadata"]["name"]: one["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for one in monitors}
    assert jobs == {
        "other-memberstream": "memberstream",
        "other-memberstream-interactions": "memberstream-interactions",
    }


@pytest.mark.long
def test_helm_refuses_what_cannot_work() -> None:
    """Without Redis or Kafka, and with a mistyped value, nothing is installed; the error names it."""
    kafka = ("--set", "settings.MEMBERSTREAM_KAFKA_BOOTSTRAP=kafka:9092")
    assert "where is Redis?" in template(*kafka).stderr
    assert "MEMBERSTREAM_KAFKA_BOOTSTRAP" in template("--set", "settings.MEMBERSTREAM_REDIS_URL=redis://redis").stderr
    none = ("--set", "settings.MEMBERSTREAM_REDIS_URL=redis://redis", "--set", "console.enabled=true")
    assert "by which names do browsers ask" in template(*kafka, *none).stderr
    assert "werker" in template(*kafka, "--set", "werker.replicas=2").stderr


@pytest.mark.long
def test_the_consoles_own_variables_win(tmp_path: Path) -> None:
    """Over both the workers' settings and secrets; a variable is given once, for both as value and as file stop it."""
    own = {"console": {"settings": {"MEMBERSTREAM_KAFKA_SASL_PASSWORD": "own"}}}
    given = merged(values("everything"), own | {"settings": {"MEMBERSTREAM_REDIS_URL": "redis://workers/0"}})
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(given))
    done = template("--values", str(tmp_path / "values.yaml"))
    [deployed] = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] == "Deployment"]
    [container] = deployed["spec"]["template"]["spec"]["containers"]
    named = {entry["name"]: entry["value"] for entry in container["env"]}
    assert {"MEMBERSTREAM_REDIS_URL", "MEMBERSTREAM_KAFKA_SASL_PASSWORD_FILE"}.isdisjoint(named)
    assert named["MEMBERSTREAM_KAFKA_SASL_PASSWORD"] == "own"
    assert named["MEMBERSTREAM_REDIS_URL_FILE"] == f"{SECRETS}/MEMBERSTREAM_REDIS_URL"
    own["console"]["settings"]["MEMBERSTREAM_REDIS_URL"] = "redis://own/0"
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(merged(given, own)))
    assert (
        "MEMBERSTREAM_REDIS_URL stands twice in console" in template("--values", str(tmp_path / "values.yaml")).stderr
    )
