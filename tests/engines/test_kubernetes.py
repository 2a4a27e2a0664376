"""Pods that run: an API server of our own, whose one node is a real Podman that obeys the manifest."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.kubernetes import Kubernetes
from weft.testing.kubernetes import ApiServer
from weft.testing.sandbox import SandboxContract

pytestmark = [pytest.mark.sandbox, pytest.mark.engine("podman")]


class PodmanNode:
    """Runs a pod's container by each field of its manifest; one that it does not know fails."""

    def start(self, pod: dict[str, Any]) -> subprocess.Popen[bytes]:
        command = ["podman", "run", "--rm", "--interactive", "--pull=never", "--network=none", *_flags(pod)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)

    def stop(self, pod: dict[str, Any]) -> None:
        command = ["podman", "rm", "--force", "--ignore", pod["metadata"]["name"]]
        subprocess.run(command, check=True, capture_output=True)


def _flags(pod: dict[str, Any]) -> list[str]:
    """The container of a pod in Podman's words."""
    spec, flags = dict(pod["spec"]), [f"--name={pod['metadata']['name']}"]
    for name, value in _ALWAYS.items():
        assert spec.pop(name) == value, name
    assert spec.pop("activeDeadlineSeconds") > 0
    assert spec.pop("dnsConfig") == {"nameservers": ["127.0.0.1"]}
    flags.append(f"--hostname={spec.pop('hostname')}")
    user = spec.pop("securityContext")
    assert user.pop("runAsNonRoot")
    assert user.pop("seccompProfile") == {"type": "RuntimeDefault"}
    owner = user.pop("fsGroup")
    flags.append(f"--user={user.pop('runAsUser')}:{user.pop('runAsGroup')}")
    assert not user
    volumes = {each["name"]: each["emptyDir"] for each in spec.pop("volumes")}
    (container,) = spec.pop("containers")
    assert not spec
    return [*flags, *_container(container, volumes, owner)]


_ALWAYS = {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": 0,
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "hostNetwork": False,
    "hostPID": False,
    "hostIPC": False,
    "shareProcessNamespace": False,
    "dnsPolicy": "None",
}


def _container(container: dict[str, Any], volumes: dict[str, dict[str, str]], owner: int) -> list[str]:
    assert (container.pop("stdin"), container.pop("stdinOnce")) == (True, True)
    assert container.pop("imagePullPolicy") == "IfNotPresent"
    assert container.pop("name") == "sandbox"
    rights = container.pop("securityContext")
    assert rights == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    memory = container.pop("resources")["limits"]["memory"]
    flags = [
        *("--security-opt=no-new-privileges", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL"),
        *(f"--memory={memory}", f"--memory-swap={memory}", "--pids-limit=2048", "--no-healthcheck"),
        *("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--env=KUBERNETES_SERVICE_HOST=10.0.0.1"),
        f"--workdir={container.pop('workingDir')}",
    ]
    for mount in container.pop("volumeMounts"):
        size = volumes[mount["name"]]["sizeLimit"]
        if mount["mountPath"] == "/dev/shm":
            flags.append(f"--shm-size={size}")
        elif mount["mountPath"] == "/tmp":
            flags.append(f"--tmpfs=/tmp:rw,exec,nosuid,nodev,size={size},mode=1777")
        else:
            flags.append(f"--mount=type=bind,source={_empty_folder(owner)},target={mount['mountPath']}")
    entry, *arguments = container.pop("command")
    flags += [f"--entrypoint={entry}", container.pop("image"), *arguments]
    assert not container
    return flags


def _empty_folder(group: int) -> str:
    """As the kubelet makes one: everybody may write, and what is made there belongs to the group."""
    folder = tempfile.mkdtemp(prefix="weft-empty-dir-")
    os.chown(folder, -1, group)
    os.chmod(folder, 0o2777)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a cluster."""
    file = tmp_path_factory.mktemp("kubernetes") / "config"
    with ApiServer(PodmanNode(), token="secret") as api:
        told = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "here", "user": "ann"}}],
            "clusters": [{"name": "here", "cluster": {"server": api.url}}],
            "users": [{"name": "ann", "user": {"token": "secret"}}],
        }
        file.write_text(yaml.safe_dump(told))
        yield file


class WithoutTools(Kubernetes):
    """A pod shows no folder of the host, and says so; the contract's own tools stay outside like the rest."""

    def open(self, workspace: str | os.PathLike[str], **options: Any) -> Sandbox:
        options.pop("toolchain", None)
        return super().open(workspace, **options)


class TestContract(SandboxContract):
    python = "/usr/bin/python3"
    given: tuple[str, Path]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _given(cls, image: str, config: Path) -> None:
        cls.given = image, config

    @classmethod
    def make_provider(cls, state: Path) -> Kubernetes:
        image, config = cls.given
        return WithoutTools(image=image, environ={"KUBECONFIG": str(config)}, state=str(state))
