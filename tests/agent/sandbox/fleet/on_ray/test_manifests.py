"""What deploy/kubernetes/ asks for is what the code needs, no more and no less."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from weft.agent.sandbox.fleet.on_ray.settings import RESOURCE, FleetSettings
from weft.agent.sandbox.fleet.pool import BOX_BYTES

ROOT = Path(__file__).parents[5]
FOLDER = ROOT / "deploy" / "kubernetes"
GIB = 1 << 30


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    found = list(yaml.safe_load_all((FOLDER / "fleet.yaml").read_text()))
    assert {each["metadata"]["namespace"] for each in found} == {"weft"}
    return {each["kind"]: each for each in found}


@pytest.fixture(scope="module")
def workers(documents: dict[str, Any]) -> dict[str, Any]:
    [workers] = documents["RayCluster"]["spec"]["workerGroupSpecs"]
    return workers


@pytest.fixture(scope="module")
def head(documents: dict[str, Any]) -> dict[str, Any]:
    return documents["RayCluster"]["spec"]["headGroupSpec"]


def container(group: dict[str, Any]) -> dict[str, Any]:
    [found] = group["template"]["spec"]["containers"]
    return found


def gib(amount: str) -> float:
    return float(amount.removesuffix("Gi"))


def test_workers_are_members_and_the_head_is_none(workers: dict[str, Any], head: dict[str, Any]) -> None:
    # KubeRay passes the text on as it is, through a shell: JSON in quotes, in quotes.
    declared = json.loads(json.loads(workers["rayStartParams"]["resources"]))
    assert list(declared) == [RESOURCE]
    assert "resources" not in head["rayStartParams"]
    assert {workers["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-cpus"]} == {"0"}, (
        "actors of the fleet ask for none, and nothing else is to run there"
    )
    sandboxes = declared[RESOURCE] << 20
    store = int(workers["rayStartParams"]["object-store-memory"])
    limit = gib(container(workers)["resources"]["limits"]["memory"]) * GIB
    assert sandboxes + store + 4 * GIB <= limit, "Ray and the daemon need some, too"
    assert sandboxes // BOX_BYTES > 1_000
    [shm] = [each for each in workers["template"]["spec"]["volumes"] if each["name"] == "shm"]
    assert gib(shm["emptyDir"]["sizeLimit"]) * GIB >= store


def test_workers_may_make_sandboxes_and_nothing_more(workers: dict[str, Any]) -> None:
    pod, context = workers["template"]["spec"], container(workers)["securityContext"]
    assert pod["hostUsers"] is False, "Kubernetes unmasks /proc only for such"
    assert context["procMount"] == "Unmasked"
    assert context["seccompProfile"] == context["appArmorProfile"] == {"type": "Unconfined"}
    assert not context.get("privileged")
    assert pod["securityContext"]["runAsNonRoot"]


def test_nobody_has_a_capability_or_a_token(workers: dict[str, Any], head: dict[str, Any]) -> None:
    for group in (workers, head):
        pod, context = group["template"]["spec"], container(group)["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["allowPrivilegeEscalation"] is False
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


def test_ray_tells_nobody_and_asks_for_a_token(workers: dict[str, Any], head: dict[str, Any]) -> None:
    for group in (workers, head):
        environment = {each["name"]: each for each in container(group)["env"]}
        assert environment["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        secret = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert (
            f"secret generic {secret['name']} --from-literal={secret['key']}="
            in (FOLDER / "fleet.yaml").read_text()
        )


def test_only_the_cluster_reaches_the_cluster(documents: dict[str, Any]) -> None:
    own = {"matchLabels": {"ray.io/cluster": documents["RayCluster"]["metadata"]["name"]}}
    policy = documents["NetworkPolicy"]["spec"]
    assert policy["podSelector"] == own
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {"podSelector": own} in policy["ingress"][0]["from"]
    assert all(rule.get("from") for rule in policy["ingress"]), "an empty rule lets everybody in"
    assert all(rule.get("to") for rule in policy["egress"])


def test_the_image_is_what_the_dockerfile_makes(
    documents: dict[str, Any], workers: dict[str, Any], head: dict[str, Any]
) -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert container(workers)["image"] == container(head)["image"] == f"weft-fleet:{project['version']}"
    assert f"-t {container(head)['image']} " in dockerfile
    [extras] = re.findall(r'"/src\[([a-z,]+)\]"', dockerfile)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert "ray" in extras.split(",")
    assert f"ARG RAY={documents['RayCluster']['spec']['rayVersion']}\n" in dockerfile
    user = workers["template"]["spec"]["securityContext"]["runAsUser"]
    assert f"USER {user}\n" in dockerfile
    assert f"--uid {user} " in dockerfile


def test_there_is_a_disk_for_state_and_it_is_larger_than_the_cache(workers: dict[str, Any]) -> None:
    [mount] = [each for each in container(workers)["volumeMounts"] if each["name"] == "state"]
    assert "/var/lib/weft" in (FOLDER / "Dockerfile").read_text()
    assert mount["mountPath"] == "/var/lib/weft"
    [volume] = [each for each in workers["template"]["spec"]["volumes"] if each["name"] == "state"]
    assert gib(volume["emptyDir"]["sizeLimit"]) * GIB > 2 * FleetSettings().cache_bytes
    assert "medium" not in volume["emptyDir"], "on a disk, not in memory"
