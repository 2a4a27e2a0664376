"""Which cluster, and as whom: from a kubeconfig file as kubectl reads it, or from inside a pod."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import yaml

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Denied, Invalid, NotFound

_MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PLUGIN_S: Final = 60.0
# A token that ends within so long is fetched anew.
_MARGIN_US: Final = 60 * 1_000_000
_SECRETS: Final = frozenset({"token", "tokenFile", "password", "exec"})
_NO_CLUSTER: Final = "write ~/.kube/config, set KUBECONFIG, or run inside a pod with a service account"


class Cluster(msgspec.Struct, frozen=True):
    """Where a cluster's API is, and what proves to each side who the other is."""

    server: str
    namespace: str
    tls: ssl.SSLContext
    authorization: Callable[[], str]
    """The value of the Authorization header, fresh; empty where a certificate is the proof."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the one of the address."""


def load(
    environ: Mapping[str, str],
    *,
    context: str | None = None,
    namespace: str | None = None,
    mounted: Path = _MOUNTED,
    clock: Clock = SYSTEM_CLOCK,
) -> Cluster:
    """By KUBECONFIG or ~/.kube/config, else by the service account of the pod that this process runs in."""
    home = Path(environ.get("HOME", "/nowhere"))
    named = [Path(path) for path in environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    files = [path for path in named or [home / ".kube" / "config"] if path.is_file()]
    if files:
        found = _from_files(files, context, environ, clock)
    elif named or not (mounted / "token").is_file() or "KUBERNETES_SERVICE_HOST" not in environ:
        raise NotFound("no Kubernetes cluster is configured", hint=_NO_CLUSTER)
    else:
        found = _from_pod(mounted, environ)
    return msgspec.structs.replace(found, namespace=namespace or found.namespace)


def _from_pod(mounted: Path, environ: Mapping[str, str]) -> Cluster:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    return Cluster(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=(mounted / "namespace").read_text().strip() or "default",
        tls=ssl.create_default_context(cafile=str(mounted / "ca.crt")),
        # The kubelet renews it within the hour; so it is read for each request.
        authorization=lambda: f"Bearer {(mounted / 'token').read_text().strip()}",
    )


def _from_files(
    files: list[Path], context_name: str | None, environ: Mapping[str, str], clock: Clock
) -> Cluster:
    merged = _merged(files)
    name = context_name or merged["current-context"]
    if not name:
        raise Invalid("the kubeconfig names no current context", hint="kubectl config use-context NAME")
    context = _named(merged, "contexts", name)
    cluster = _named(merged, "clusters", context.get("cluster"))
    user = _named(merged, "users", context.get("user")) if context.get("user") else {}
    if "server" not in cluster:
        raise Invalid(f"the cluster of context `{name}` has no server", hint="name it in the kubeconfig")
    for unknown in ("auth-provider", "proxy-url"):
        if unknown in user or unknown in cluster:
            raise Invalid(
                f"`{unknown}` of context `{name}` is not supported", hint="use an exec plugin or a token"
            )
    tls = _tls(cluster)
    if set(user) & _SECRETS and not _is_private(cluster["server"]):
        raise Invalid(
            f"`{cluster['server']}` would be told in the clear who asks", hint="name the server with https://"
        )
    return Cluster(
        server=cluster["server"].rstrip("/"),
        namespace=context.get("namespace") or "default",
        tls=tls,
        authorization=_authorization(user, tls, environ, clock),
        server_name=cluster.get("tls-server-name"),
    )


def _is_private(server: str) -> bool:
    """Whether nobody on the way can listen."""
    parts = urlsplit(server)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")


def _merged(files: list[Path]) -> dict[str, Any]:
    """All files as one: of what has the same name the first counts. Paths are relative to their file."""
    merged: dict[str, Any] = {"current-context": "", "clusters": {}, "contexts": {}, "users": {}}
    for file in files:
        try:
            read = yaml.safe_load(file.read_text()) or {}
            merged["current-context"] = merged["current-context"] or read.get("current-context", "")
            for kind in ("clusters", "contexts", "users"):
                for each in read.get(kind) or []:
                    entry = each[kind[:-1]] or {}
                    for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
                        if entry.get(key):
                            entry[key] = str(file.parent / entry[key])
                    merged[kind].setdefault(each["name"], entry)
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise Invalid(f"`{file}` is no kubeconfig: {error}", hint="see `kubectl config view`") from error
    return merged


def _named(merged: Mapping[str, Any], kind: str, name: str | None) -> dict[str, Any]:
    if name not in merged[kind]:
        known = ", ".join(f"`{each}`" for each in merged[kind]) or "none"
        raise NotFound(f"the kubeconfig has no {kind[:-1]} `{name}`", hint=f"it has {known}")
    found: dict[str, Any] = merged[kind][name]
    return found


def _tls(cluster: Mapping[str, Any]) -> ssl.SSLContext:
    if cluster.get("insecure-skip-tls-verify"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    data = cluster.get("certificate-authority-data")
    try:
        return ssl.create_default_context(
            cafile=cluster.get("certificate-authority"),
            cadata=base64.b64decode(data).decode() if data else None,
        )
    except (OSError, ValueError) as error:
        raise Invalid(
            f"the cluster's certificate authority cannot be read: {error}", hint="see the kubeconfig"
        ) from error


def _authorization(
    user: Mapping[str, Any], tls: ssl.SSLContext, environ: Mapping[str, str], clock: Clock
) -> Callable[[], str]:
    """How to prove who asks; a client's certificate is put into the context at once."""
    certificate, key = _pem(user, "client-certificate"), _pem(user, "client-key")
    if certificate and key:
        _take_certificate(tls, certificate, key)
    if user.get("token"):
        return lambda: f"Bearer {user['token']}"
    if user.get("tokenFile"):
        return lambda: f"Bearer {Path(user['tokenFile']).read_text().strip()}"
    if user.get("username"):
        pair = base64.b64encode(f"{user['username']}:{user.get('password', '')}".encode()).decode()
        return lambda: f"Basic {pair}"
    if user.get("exec"):
        return Plugin(user["exec"], tls, environ, clock)
    return lambda: ""


def _pem(user: Mapping[str, Any], name: str) -> bytes | None:
    if user.get(f"{name}-data"):
        return base64.b64decode(user[f"{name}-data"])
    return Path(user[name]).read_bytes() if user.get(name) else None


def _take_certificate(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The ssl module reads keys from files alone: one that nobody else may read, and that is gone at once."""
    with _private_file(certificate + b"\n" + key) as path:
        try:
            tls.load_cert_chain(path)
        except (ssl.SSLError, OSError) as error:
            raise Invalid(
                f"the client certificate cannot be used: {error}", hint="see the kubeconfig"
            ) from error


@contextlib.contextmanager
def _private_file(data: bytes) -> Iterator[str]:
    fd, path = tempfile.mkstemp(prefix="weft-kubernetes-")
    try:
        with open(fd, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)


class Plugin:
    """A program that hands out credentials, as cloud clusters have them (client.authentication.k8s.io)."""

    def __init__(
        self, spec: Mapping[str, Any], tls: ssl.SSLContext, environ: Mapping[str, str], clock: Clock
    ) -> None:
        self._spec = spec
        self._tls = tls
        self._environ = environ
        self._clock = clock
        self._until_us = 0
        self._header = ""

    def __call__(self) -> str:
        """The header; the program is run again when what it gave is about to end."""
        if not self._header or self._clock.now_us() > self._until_us - _MARGIN_US:
            status = self._run()
            if certificate := status.get("clientCertificateData"):
                _take_certificate(self._tls, certificate.encode(), status["clientKeyData"].encode())
            self._header = f"Bearer {status['token']}" if "token" in status else ""
            self._until_us = _instant_us(status.get("expirationTimestamp"))
        return self._header

    def _run(self) -> dict[str, Any]:
        command = [self._spec["command"], *(self._spec.get("args") or [])]
        asked = {
            "apiVersion": self._spec["apiVersion"],
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        environment = {each["name"]: each["value"] for each in self._spec.get("env") or []}
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(asked)
        try:
            done = subprocess.run(
                command,
                env={**self._environ, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PLUGIN_S,
                check=True,
            )
            status: dict[str, Any] = json.loads(done.stdout)["status"]
        except subprocess.CalledProcessError as error:
            raise Denied(
                f"`{command[0]}` gives no credentials: {error.stderr.strip()[-500:]}",
                hint="log in to the cluster",
            ) from error
        except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
            raise Denied(
                f"`{command[0]}` gives no credentials: {error}",
                hint=self._spec.get("installHint") or "install it, or log in to the cluster",
            ) from error
        return status


def _instant_us(stamp: str | None) -> int:
    """A credential without an end is good for as long as this process."""
    if stamp is None:
        return 1 << 62
    return int(datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1e6)
