"""The few verbs of the Kubernetes API that a sandbox needs, over httpx and websockets.

The official package brings the whole API, some hundred models and a second of import; this needs seven calls,
and its attach speaks the newest of the channel protocols, by which standard input can be closed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from weft.agent.sandbox.kubernetes.config import Cluster
from weft.agent.sandbox.kubernetes.manifest import CONTAINER
from weft.core.errors import Conflict, Denied, Invalid, LimitExceeded, NotFound, Unavailable, WeftError
from weft.core.extras import require

if TYPE_CHECKING:
    import httpx
    from websockets.sync.client import ClientConnection

_EXTRA: Final = "kubernetes"
_TIMEOUT_S: Final = 30.0
_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
# A frame of the executor comes in pieces of what one read of its output gives.
_MAX_MESSAGE_BYTES: Final = 16 << 20
_PING_S: Final = 20.0
_SILENCE_S: Final = 60.0


class Client:
    """One cluster's API, in one namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._httpx = require("httpx", _EXTRA)
        require("websockets", _EXTRA)
        self._cluster = cluster
        self.pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
        self.policies = f"/apis/networking.k8s.io/v1/namespaces/{cluster.namespace}/networkpolicies"
        # A provider is never closed, and asks a few times for each sandbox: no connection is kept.
        alone = self._httpx.Limits(max_keepalive_connections=0)
        self._http: httpx.Client = self._httpx.Client(
            base_url=cluster.server, verify=cluster.tls, timeout=_TIMEOUT_S, limits=alone
        )

    def create(self, collection: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The object as the server made it."""
        return self._ask("POST", collection, json=body)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """One object, or a list of a collection."""
        return self._ask("GET", path, params=query)

    def delete(self, path: str) -> None:
        """Delete at once; nothing where it is gone already."""
        with contextlib.suppress(NotFound):
            self._ask("DELETE", path, params={"gracePeriodSeconds": "0", "propagationPolicy": "Background"})

    def watch(self, pod: Mapping[str, Any], timeout_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens to a pod since the state that is given: the kind of event, and the object.

        It ends when the server ends it, which may be at any time; what was missed is then to be got.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "fieldSelector": f"metadata.name={pod['metadata']['name']}",
            "resourceVersion": pod["metadata"]["resourceVersion"],
            "timeoutSeconds": str(max(1, int(timeout_s))),
        }
        timeout = self._httpx.Timeout(_TIMEOUT_S, read=timeout_s + 1)
        try:
            with self._http.stream(
                "GET",
                self.pods,
                params=query,
                headers=self._headers(),
                extensions=self._extensions(),
                timeout=timeout,
            ) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response.status_code, response.content)
                for line in response.iter_lines():
                    event = json.loads(line)
                    yield event["type"], event["object"]
        except (self._httpx.TimeoutException, self._httpx.RemoteProtocolError):
            return
        except self._httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"the cluster's answer is none: {error}", hint="see the server's address"
            ) from error

    def attach(self, name: str, stack: contextlib.ExitStack) -> ClientConnection:
        """Standard input, output and errors of a pod's process, by channels of one WebSocket.

        It is closed with the stack.
        """
        from websockets.exceptions import InvalidStatus, WebSocketException
        from websockets.sync.client import connect
        from websockets.typing import Subprotocol

        server = self._cluster.server.replace("http", "ws", 1)
        query = f"container={CONTAINER}&stdin=true&stdout=true&stderr=true&tty=false"
        secure = server.startswith("wss")
        try:
            connection = connect(
                f"{server}{self.pods}/{name}/attach?{query}",
                ssl=self._cluster.tls if secure else None,
                server_hostname=self._cluster.server_name if secure else None,
                additional_headers=self._headers(),
                subprotocols=[Subprotocol(each) for each in _PROTOCOLS],
                compression=None,
                open_timeout=_TIMEOUT_S,
                max_size=_MAX_MESSAGE_BYTES,
                ping_interval=_PING_S,
                ping_timeout=_SILENCE_S,
            )
            return stack.enter_context(connection)
        except InvalidStatus as error:
            raise refusal(error.response.status_code, bytes(error.response.body or b"")) from error
        except (OSError, WebSocketException) as error:
            raise self._unreachable(error) from error

    def _ask(self, verb: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._http.request(
                verb, path, headers=self._headers(), extensions=self._extensions(), **options
            )
        except self._httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise refusal(response.status_code, response.content)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise Unavailable(
                f"the cluster's answer is none: {error}", hint="see the server's address"
            ) from error
        return answer

    def _headers(self) -> dict[str, str]:
        proof = self._cluster.authorization()
        return {"Authorization": proof} if proof else {}

    def _extensions(self) -> dict[str, str]:
        name = self._cluster.server_name
        return {"sni_hostname": name} if name else {}

    def _unreachable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the cluster at `{self._cluster.server}` cannot be reached: {error or type(error).__name__}",
            hint="see `kubectl cluster-info`",
        )


def refusal(code: int, body: bytes) -> WeftError:
    """The error that a Status object of the API stands for (kubernetes.io/docs/reference/using-api)."""
    try:
        status = json.loads(body)
        reason, message = status.get("reason") or "", status.get("message") or ""
    except (ValueError, AttributeError):
        reason, message = "", body.decode("utf-8", "replace").strip()[:500]
    told = f"the cluster refuses: {message or reason or f'HTTP {code}'}"
    if code == 401:
        return Denied(told, hint="log in to the cluster: see `kubectl auth whoami`")
    if code == 403 and "exceeded quota" in message:
        return LimitExceeded(told, hint="close sandboxes, ask for less, or have the quota raised")
    if code == 403:
        return Denied(told, hint="give this account the role that docs/agent/providers.md lists")
    if code == 404:
        return NotFound(told, hint="see that the namespace is there: `kubectl get namespaces`")
    if code == 409:
        return Conflict(told, hint="try again")
    if code == 410:
        return Unavailable(told, hint="ask for the present state")
    if code in (400, 405, 413, 415, 422):
        return Invalid(told, hint="see the field that it names")
    return Unavailable(told, hint="try again later")
