"""That the API server of the tests speaks as a real one: kubectl, a client by others, is at home with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from weft.agent.sandbox import Limits
from weft.agent.sandbox.kubernetes import manifest
from weft.testing.kubernetes import ApiServer

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


class Greeter:
    """Runs something small, whatever a pod asks for."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, pod: dict[str, Any]) -> subprocess.Popen[bytes]:
        pipe, script = subprocess.PIPE, "read name; echo hello $name; echo bye >&2; exit 3"
        process = subprocess.Popen(["/bin/sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe)
        self._processes[pod["metadata"]["name"]] = process
        return process

    def stop(self, pod: dict[str, Any]) -> None:
        self._processes[pod["metadata"]["name"]].kill()


Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with ApiServer(Greeter()) as api:
        told = {
            "current-context": "test",
            "contexts": [
                {"name": "test", "context": {"cluster": "here", "user": "ann", "namespace": "agents"}}
            ],
            "clusters": [{"name": "here", "cluster": {"server": api.url}}],
            "users": [{"name": "ann", "user": {}}],
        }
        (tmp_path / "config").write_text(yaml.safe_dump(told))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KUBECONFIG": str(tmp_path / "config"),
        }

        def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
            command = ["kubectl", "--cache-dir", str(tmp_path / "cache"), *arguments]
            return subprocess.run(
                command, input=given, capture_output=True, text=True, env=environment, timeout=60
            )

        yield run


def test_kubectl_makes_waits_for_attaches_to_and_deletes_our_pod(kubectl: Kubectl) -> None:
    pod = manifest.pod(
        image="x", python="python3", uid=0x70000000, limits=Limits(), workspace_bytes=1 << 30, lifetime_s=60
    )
    pod["metadata"] = {"name": "weft-1", "labels": manifest.LABELS}
    made = kubectl("create", "--validate=false", "-f", "-", given=json.dumps(pod))
    assert (made.stdout, made.stderr) == ("pod/weft-1 created\n", "")
    waited = kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/weft-1", "--timeout=20s")
    assert waited.stdout == "pod/weft-1 condition met\n"
    attached = kubectl("attach", "--stdin", "weft-1", given="ann\n")
    assert attached.stdout == "hello ann\n"
    assert "bye\n" in attached.stderr
    assert "exit code 3" in attached.stderr
    assert kubectl("delete", "pod", "weft-1", "--now", "--wait=false").stdout == 'pod "weft-1" deleted\n'
    missing = kubectl("get", "pod", "weft-1")
    assert "(NotFound)" in missing.stderr


def test_kubectl_reads_our_refusals(kubectl: Kubectl) -> None:
    policy = json.dumps(manifest.network_policy())
    assert kubectl("create", "--validate=false", "-f", "-", given=policy).returncode == 0
    again = kubectl("create", "--validate=false", "-f", "-", given=policy)
    assert "(AlreadyExists)" in again.stderr
