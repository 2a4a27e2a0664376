"""Which cluster, and as whom: kubeconfig files, pods' service accounts, programs that give credentials."""

from __future__ import annotations

import base64
import datetime
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from weft.agent.sandbox.kubernetes import config
from weft.core.errors import Denied, Invalid, NotFound

NOW_US = 1_795_000_000_000_000


class Clock:
    def __init__(self) -> None:
        self.us = NOW_US

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1e6

    def sleep(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)


def write(path: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None, **more: Any) -> Path:
    told = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "work",
        "contexts": [{"name": "work", "context": {"cluster": "one", "user": "ann", "namespace": "agents"}}],
        "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:1/", **(cluster or {})}}],
        "users": [{"name": "ann", "user": user}],
    } | more
    path.write_text(yaml.safe_dump(told))
    return path


def load(*files: Path, **options: Any) -> config.Cluster:
    return config.load({"KUBECONFIG": ":".join(map(str, files))}, **options)


def test_a_kubeconfig_names_server_namespace_and_token(tmp_path: Path) -> None:
    cluster = load(write(tmp_path / "config", {"token": "secret"}))
    assert (cluster.server, cluster.namespace) == ("http://127.0.0.1:1", "agents")
    assert cluster.authorization() == "Bearer secret"
    assert load(tmp_path / "config", namespace="other").namespace == "other"


def test_the_file_at_home_is_read_where_no_variable_names_one(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube" / "config", {"token": "home"})
    assert config.load({"HOME": str(tmp_path)}).authorization() == "Bearer home"
    with pytest.raises(NotFound):
        config.load({"HOME": str(tmp_path), "KUBECONFIG": "/nowhere"})


def test_of_several_files_the_first_that_names_something_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"token": "first"}, clusters=[])
    second = write(
        tmp_path / "second", {"token": "second"}, {"tls-server-name": "api"}, **{"current-context": "x"}
    )
    cluster = load(first, second)
    assert (cluster.authorization(), cluster.server_name) == ("Bearer first", "api")


def test_other_contexts_are_taken_by_name(tmp_path: Path) -> None:
    contexts = [
        {"name": "work", "context": {"cluster": "one", "user": "ann"}},
        {"name": "home", "context": {"cluster": "one"}},
    ]
    file = write(tmp_path / "config", {"token": "secret"}, contexts=contexts)
    assert load(file).namespace == "default"
    assert load(file, context="home").authorization() == ""
    with pytest.raises(NotFound, match="no context `nowhere`; it has `work`, `home`"):
        load(file, context="nowhere")


def test_tokens_in_files_are_read_each_time_and_relative_to_their_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    cluster = load(write(tmp_path / "config", {"tokenFile": "token"}))
    assert cluster.authorization() == "Bearer one"
    (tmp_path / "token").write_text("two\n")
    assert cluster.authorization() == "Bearer two"


def test_names_and_passwords(tmp_path: Path) -> None:
    header = load(write(tmp_path / "config", {"username": "ann", "password": "x:y"})).authorization()
    assert base64.b64decode(header.removeprefix("Basic ")) == b"ann:x:y"


def test_an_unchecked_server_is_only_what_the_file_says(tmp_path: Path) -> None:
    checked = load(write(tmp_path / "config", {}))
    assert (checked.tls.verify_mode, checked.tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    open_to_all = load(write(tmp_path / "config", {}, {"insecure-skip-tls-verify": True}))
    assert open_to_all.tls.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("user", "cluster", "match"),
    [
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"),
        ({"token": "secret"}, {"server": "http://cluster.test"}, "in the clear"),
        ({}, {"proxy-url": "http://127.0.0.1:3"}, "proxy-url"),
        ({}, {"certificate-authority-data": "bm90aGluZw=="}, "certificate authority"),
        ({}, {"certificate-authority": "nowhere.crt"}, "certificate authority"),
        ({"client-certificate-data": "bm8=", "client-key-data": "bm8="}, {}, "client certificate"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], match: str
) -> None:
    with pytest.raises(Invalid, match=match):
        load(write(tmp_path / "config", user, cluster))


@pytest.mark.parametrize("text", ["{", "- a\n", "clusters: [{name: x}]", "clusters: 7"])
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(Invalid):
        load(tmp_path / "config")


def test_a_pod_is_known_by_its_service_account(tmp_path: Path) -> None:
    authority = ssl.get_default_verify_paths().cafile or ""
    if not Path(authority).is_file():
        pytest.skip("this Python has no certificates to borrow")
    (tmp_path / "ca.crt").write_bytes(Path(authority).read_bytes())
    (tmp_path / "token").write_text("mounted")
    (tmp_path / "namespace").write_text("agents")
    variables = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    cluster = config.load(variables, mounted=tmp_path)
    assert (cluster.server, cluster.namespace) == ("https://[fd00::1]:6443", "agents")
    (tmp_path / "token").write_text("renewed")
    assert cluster.authorization() == "Bearer renewed"
    with pytest.raises(NotFound, match="no Kubernetes cluster is configured"):
        config.load({}, mounted=tmp_path)


def plugin(tmp_path: Path, script: str) -> dict[str, Any]:
    program = tmp_path / "login"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(program),
            "args": ["get-token"],
            "env": [{"name": "PROFILE", "value": "work"}],
            "installHint": "install the login program",
        }
    }


def test_a_program_hands_out_tokens_until_they_end(tmp_path: Path) -> None:
    clock = Clock()
    ends = (
        datetime.datetime.fromtimestamp(NOW_US / 1e6 + 600, datetime.UTC).isoformat().replace("+00:00", "Z")
    )
    count = tmp_path / "count"
    answer = json.dumps({"status": {"token": "TOKEN", "expirationTimestamp": ends}})
    script = (
        f'echo x >> {count}; test "$PROFILE $1" = "work get-token" || exit 1; '
        f"echo \"$KUBERNETES_EXEC_INFO\" | grep -q ExecCredential || exit 2; echo '{answer}'"
    )
    cluster = load(write(tmp_path / "config", plugin(tmp_path, script)), clock=clock)
    assert not count.exists()
    assert {cluster.authorization() for _ in range(5)} == {"Bearer TOKEN"}
    assert count.read_text() == "x\n"
    clock.sleep(545)
    cluster.authorization()
    assert count.read_text() == "x\nx\n"


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ("echo 'session expired' >&2; exit 1", "session expired"),
        ("echo '{}'", "no credentials"),
        ("echo", "no cred"),
    ],
)
def test_a_program_that_gives_nothing_is_denied(tmp_path: Path, script: str, match: str) -> None:
    with pytest.raises(Denied, match=match):
        load(write(tmp_path / "config", plugin(tmp_path, script))).authorization()


def test_a_program_that_is_not_there_says_how_to_have_it(tmp_path: Path) -> None:
    user = plugin(tmp_path, "true")
    user["exec"]["command"] = "/nowhere/login"
    with pytest.raises(Denied) as raised:
        load(write(tmp_path / "config", user)).authorization()
    assert raised.value.hint == "install the login program"
