"""Pods from beginning to end against an API server on loopback, and all that a cluster may answer instead.

The node runs the executor as a process of this host, without walls: what is tried here harms nobody. Pods
with walls run the whole contract in tests/engines.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from weft.agent.sandbox import Limits, Promise, SandboxFailed
from weft.agent.sandbox.kubernetes import Kubernetes, manifest, provider
from weft.core.errors import Conflict, Denied, Invalid, LimitExceeded, NotFound, Unavailable
from weft.testing.kubernetes import ApiServer, Bare

pytestmark = pytest.mark.sandbox

PODS = "/api/v1/namespaces/agents/pods"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    (root / "private").mkdir(parents=True)
    (root / "a").write_text("a\n")
    (root / "private" / "key").write_text("treasure")
    return root


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pods have their workspace, on a node without walls."""
    folder = tmp_path / "there"
    folder.mkdir()
    for module in (manifest, provider):
        monkeypatch.setattr(module, "WORKSPACE", str(folder))
    return folder


@pytest.fixture
def api(there: Path) -> Iterator[ApiServer]:
    with ApiServer(Bare(there), token="secret") as server:
        yield server


@pytest.fixture
def make(tmp_path: Path, api: ApiServer) -> Callable[..., Kubernetes]:
    """A provider for the server, whose state is in `tmp_path/state`."""
    (tmp_path / "state").mkdir()

    def make(**options: Any) -> Kubernetes:
        file = configured(tmp_path, {"server": api.url}, {"token": options.pop("token", "secret")})
        given = {"python": sys.executable, "state": str(tmp_path / "state"), "start_s": 10.0} | options
        return Kubernetes(environ={"KUBECONFIG": str(file)}, **given)

    return make


def configured(folder: Path, cluster: dict[str, str], user: dict[str, str]) -> Path:
    told = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "here", "user": "ann", "namespace": "agents"}}],
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "ann", "user": user}],
    }
    (folder / "config").write_text(yaml.safe_dump(told))
    return folder / "config"


def test_a_pod_runs_commands_and_tells_what_changed(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path, tmp_path: Path
) -> None:
    with make().open(workspace) as box:
        assert box.run("cat a; echo b >> a; cat a").output == "a\na\nb\n"
        assert box.read("a") == b"a\nb\n"
        box.write("sub/new", b"n")
        assert {change.path: change.kind for change in box.changes()} == {"a": "modified", "sub/new": "added"}
        assert (workspace / "a").read_text() == "a\n"
        variables = box.run("env").output
        assert "FROM_IMAGE=yes" in variables
        assert "KUBERNETES_" not in variables
        missed = box.run(["cat", f"{box.workspace}/none", "/elsewhere/none"])
        assert [denial.target for denial in missed.denied] == ["/elsewhere/none"]
        assert Promise.LANDLOCK in box.promises
        assert len(api.objects["pods"]) == 1
    assert api.objects["pods"] == {}
    assert list((tmp_path / "state").iterdir()) == []


def test_a_commit_reaches_the_workspace_and_begins_another_pod(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path, there: Path
) -> None:
    with make().open(workspace) as box:
        (first,) = api.objects["pods"]
        box.run("echo b >> a")
        assert [change.path for change in box.commit()] == ["a"]
        assert box.run("cat a").output == "a\nb\n"
        assert box.changes() == []
        assert any(name != first for name in api.objects["pods"])
    assert api.objects["pods"] == {}
    assert (workspace / "a").read_text() == "a\nb\n"


def test_what_is_hidden_never_leaves_the_host(
    make: Callable[..., Kubernetes], workspace: Path, there: Path
) -> None:
    with make().open(workspace, hidden=["private/key"]) as box:
        assert "treasure" not in box.run("cat private/key; grep -r treasure .").output
        assert box.changes() == []
        box.write("private/key", b"mine")
        with pytest.raises(Conflict, match="private/key"):
            box.commit()
    assert (workspace / "private" / "key").read_text() == "treasure"


def test_toolchains_belong_into_the_image(make: Callable[..., Kubernetes], workspace: Path) -> None:
    with pytest.raises(Invalid, match="put it into the image"):
        make().open(workspace, toolchain=["/usr"])


def test_the_older_channel_protocol_will_do(there: Path, tmp_path: Path, workspace: Path) -> None:
    with ApiServer(Bare(there), protocols=("v4.channel.k8s.io",)) as api:
        file = configured(tmp_path, {"server": api.url}, {})
        with Kubernetes(python=sys.executable, environ={"KUBECONFIG": str(file)}).open(workspace) as box:
            assert box.run("cat a").output == "a\n"
        assert api.objects["pods"] == {}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_certificates_prove_both_sides(there: Path, tmp_path: Path, workspace: Path) -> None:
    for name in ("server", "client"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:api.cluster.test"),
                *("-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.crt")),
            ],
            check=True,
            capture_output=True,
        )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "client.crt"))
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    mine = {"client-certificate": "client.crt", "client-key": "client.key"}
    with ApiServer(Bare(there), tls=tls) as api:
        cluster = {
            "server": api.url,
            "certificate-authority": "server.crt",
            "tls-server-name": "api.cluster.test",
        }
        file = configured(tmp_path, cluster, mine)
        with Kubernetes(python=sys.executable, environ={"KUBECONFIG": str(file)}).open(workspace) as box:
            assert box.run("cat a").output == "a\n"
        file = configured(tmp_path, {"server": api.url, "certificate-authority": "server.crt"}, mine)
        with pytest.raises(Unavailable, match="cannot be reached"):
            Kubernetes(environ={"KUBECONFIG": str(file)}).open(workspace)


# What a cluster answers instead.


@pytest.mark.parametrize(
    ("request_", "code", "reason", "message", "kind", "fix"),
    [
        ("GET /apis", 401, "Unauthorized", "Unauthorized", Denied, "log in"),
        ("GET /apis", 403, "Forbidden", "cannot get networkpolicies", Denied, "role"),
        ("POST /apis", 403, "Forbidden", "cannot create networkpolicies", Denied, "role"),
        (
            f"POST {PODS}",
            403,
            "Forbidden",
            "pods is forbidden: exceeded quota: small",
            LimitExceeded,
            "quota",
        ),
        (f"POST {PODS}", 404, "NotFound", 'namespaces "agents" not found', NotFound, "namespace"),
        (f"POST {PODS}", 409, "AlreadyExists", 'pods "weft-1" already exists', Conflict, "again"),
        (f"POST {PODS}", 422, "Invalid", "spec.containers[0].image: Required", Invalid, "field"),
        (f"POST {PODS}", 429, "TooManyRequests", "too many requests", Unavailable, "later"),
        (f"POST {PODS}", 500, "InternalError", "etcdserver: request timed out", Unavailable, "later"),
        (f"GET {PODS}", 403, "Forbidden", "cannot list pods", Denied, "role"),
    ],
)
def test_refusals_are_the_errors_that_they_are(
    make: Callable[..., Kubernetes],
    api: ApiServer,
    workspace: Path,
    tmp_path: Path,
    request_: str,
    code: int,
    reason: str,
    message: str,
    kind: type[Exception],
    fix: str,
) -> None:
    api.refuse(request_, code, reason, message)
    made = make()
    with pytest.raises(kind) as raised:
        made.open(workspace)
    assert message in str(raised.value)
    assert fix in raised.value.hint  # type: ignore[attr-defined]
    assert list((tmp_path / "state").iterdir()) == []
    assert api.objects["pods"] == {}
    with made.open(workspace) as box:
        assert box.run("cat a").output == "a\n"


def test_who_may_not_attach_leaves_no_pod(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    api.refuse(f"GET {PODS}/ATTACH", 403, "Forbidden", 'cannot create resource "pods/attach"')
    with pytest.raises(Denied, match="pods/attach"):
        make().open(workspace)
    assert api.objects["pods"] == {}


def test_a_wrong_token_is_denied(make: Callable[..., Kubernetes], workspace: Path) -> None:
    with pytest.raises(Denied, match="Unauthorized"):
        make(token="stale").open(workspace)


def test_a_server_that_is_not_there(workspace: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    file = configured(tmp_path, {"server": f"http://127.0.0.1:{port}"}, {})
    with pytest.raises(Unavailable, match="cannot be reached"):
        Kubernetes(environ={"KUBECONFIG": str(file)}).open(workspace)


@pytest.mark.parametrize(
    ("options", "match", "fix"),
    [
        ({"image": "nowhere/image:1"}, "ErrImagePull: failed to pull", "nodes can pull"),
        ({"python": "/nowhere/python9"}, "StartError: .*python9", "python3, 3.10 or newer"),
        ({"python": "/bin/false"}, "the executor ended with 1|the pod is no sandbox", "new"),
    ],
)
def test_a_pod_that_cannot_start_says_why_and_is_deleted(
    make: Callable[..., Kubernetes],
    api: ApiServer,
    workspace: Path,
    tmp_path: Path,
    options: dict[str, str],
    match: str,
    fix: str,
) -> None:
    with pytest.raises(Unavailable, match=match) as raised:
        make(**options).open(workspace)
    assert fix in (raised.value.hint or "")
    assert api.objects["pods"] == {}
    assert list((tmp_path / "state").iterdir()) == []


def test_a_full_cluster_is_waited_for_as_long_as_is_said(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    api.unschedulable = True
    with pytest.raises(Unavailable, match="did not start within 1 s: Unschedulable: 0/3 nodes") as raised:
        make(start_s=1.0).open(workspace)
    assert "less memory" in (raised.value.hint or "")
    assert api.objects["pods"] == {}


def test_a_watch_that_has_expired_is_begun_anew(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    api.watches_that_expire = 3
    api.start_delay_s = 0.5
    with make().open(workspace) as box:
        assert box.run("cat a").output == "a\n"
    assert api.watches_that_expire == 0


def test_an_eviction_ends_the_sandbox_with_the_clusters_words(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    with make().open(workspace) as box:
        (name,) = api.objects["pods"]
        killer = threading.Timer(0.2, api.evict, [name, "The node was low on resource: memory."])
        killer.start()
        with pytest.raises(SandboxFailed, match="Evicted: The node was low on resource: memory"):
            box.run(["sleep", "20"])
        killer.join()
        with pytest.raises(SandboxFailed):
            box.changes()
    assert api.objects["pods"] == {}


def test_a_pod_that_is_deleted_ends_the_sandbox(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    with make().open(workspace) as box:
        (name,) = api.objects["pods"]
        killer = threading.Timer(0.2, api.delete, ["pods", name])
        killer.start()
        with pytest.raises(SandboxFailed, match="not found"):
            box.run(["sleep", "20"])
        killer.join()


def test_closing_from_another_thread_frees_who_waits(
    make: Callable[..., Kubernetes], workspace: Path
) -> None:
    box = make().open(workspace)
    closer = threading.Timer(0.2, box.close)
    closer.start()
    with pytest.raises(SandboxFailed):
        box.run(["sleep", "20"])
    closer.join()


# What is asked of a cluster.


def test_a_pod_may_do_next_to_nothing(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    limits = Limits(memory_bytes=1 << 30, tmp_bytes=1 << 20)
    with make(lifetime_s=600).open(workspace, limits=limits):
        ((_, pod),) = api.objects["pods"].items()
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["securityContext"]["runAsUser"] >= 0x70000000
        assert container["resources"]["limits"]["memory"] == str(1 << 30)
        assert pod["spec"]["activeDeadlineSeconds"] == 600
        ((_, policy),) = api.objects["networkpolicies"].items()
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in policy["spec"]


def test_a_network_policy_that_lets_something_through_is_refused(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    open_policy = manifest.network_policy()
    open_policy["spec"]["egress"] = [{}]
    api.create("agents", "networkpolicies", open_policy)
    with pytest.raises(Unavailable, match="lets something through"):
        make().open(workspace)
    api.delete("networkpolicies", manifest.POLICY)
    api.create("agents", "networkpolicies", manifest.network_policy())
    make().open(workspace).close()


def test_what_others_left_behind_goes_and_what_runs_stays(
    make: Callable[..., Kubernetes], api: ApiServer, workspace: Path
) -> None:
    with make().open(workspace) as box:
        (mine,) = api.objects["pods"]
        api.unschedulable = True
        for name, phase, labels in (
            ("weft-done", "Succeeded", manifest.LABELS),
            ("weft-died", "Failed", manifest.LABELS),
            ("other-done", "Succeeded", {"app": "other"}),
        ):
            body = {
                "metadata": {"name": name, "labels": dict(labels)},
                "spec": {"containers": [{"image": "x"}]},
            }
            api.create("agents", "pods", body)
            api.set_status(name, phase=phase)
        with pytest.raises(Unavailable):
            make(start_s=0.3).open(workspace)
        assert set(api.objects["pods"]) == {mine, "other-done"}
        assert box.run("cat a").output == "a\n"
