"""A Kubernetes API server on loopback, as far as sandboxes speak to one: its real wire format and its errors.

Pods, network policies, watches that end and expire, Status objects, and attach by WebSocket with the channel
protocols v4 and v5 (kubernetes.io/docs/reference/using-api; k8s.io/apimachinery/pkg/util/remotecommand). What
a node would run, a `Kubelet` runs.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from weft.core.clock import SYSTEM_CLOCK

_OBJECTS: Final = re.compile(
    r"/apis?/(?:networking\.k8s\.io/)?v1/namespaces/(?P<ns>[^/]+)/(?P<kind>pods|networkpolicies)(?:/(?P<name>[^/]+))?(?P<attach>/attach)?"
)

_END_S: Final = 10.0


def _resources(group_version: str, *names: tuple[str, str]) -> dict[str, Any]:
    verbs = ["create", "delete", "get", "list", "watch"]
    found = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for name, kind in names
    ]
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": found}


_NETWORKING: Final = {"groupVersion": "networking.k8s.io/v1", "version": "v1"}
# What kubectl asks for before it asks for anything else.
_DISCOVERY: Final[dict[str, dict[str, Any]]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": _resources("v1", ("pods", "Pod"), ("pods/attach", "PodAttachOptions")),
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {"name": "networking.k8s.io", "versions": [_NETWORKING], "preferredVersion": _NETWORKING},
        ],
    },
    "/apis/networking.k8s.io/v1": _resources("networking.k8s.io/v1", ("networkpolicies", "NetworkPolicy")),
}


class Kubelet(Protocol):
    """What runs the one container of a pod."""

    def start(self, pod: dict[str, Any]) -> subprocess.Popen[bytes]:
        """The process with pipes at its standard input, output and errors."""

    def stop(self, pod: dict[str, Any]) -> None:
        """Kill it, whatever it does."""


class Bare:
    """Runs the command as a process of this host, without walls: for commands that harm nobody.

    `workspace` is a folder of the test, the one of all pods; each finds it empty.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, pod: dict[str, Any]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        variables = {"PATH": "/usr/bin:/bin", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "FROM_IMAGE": "yes"}
        container = pod["spec"]["containers"][0]
        assert container["volumeMounts"][0]["mountPath"] == str(self._workspace)
        shutil.rmtree(self._workspace)
        self._workspace.mkdir()
        command = container["command"]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=variables, cwd="/")
        self._processes[pod["metadata"]["name"]] = process
        return process

    def stop(self, pod: dict[str, Any]) -> None:
        self._processes[pod["metadata"]["name"]].kill()


class Refusal(Exception):
    """What the server answers in place of what was asked: a Status object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


class ApiServer:
    """The server, what it knows, and the troubles that it is told to make. A context manager."""

    def __init__(
        self,
        kubelet: Kubelet,
        *,
        token: str = "",
        protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io"),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`token` is the only one that it takes, where it is not empty."""
        self.kubelet = kubelet
        self.token = token
        self.protocols = [Subprotocol(each) for each in protocols]
        self._scheme = "https" if tls else "http"
        self.objects: dict[str, dict[str, dict[str, Any]]] = {"pods": {}, "networkpolicies": {}}
        self.requests: list[str] = []
        self.unschedulable = False
        self.start_delay_s = 0.0
        self.watches_that_expire = 0
        self._refusals: list[tuple[str, Refusal]] = []
        self.threads: list[threading.Thread] = []
        self._attachable: dict[str, subprocess.Popen[bytes]] = {}
        self._events: list[tuple[int, str, dict[str, Any]]] = []
        self._version = 0
        self._changed = threading.Condition()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"api": self}))
        self._http.daemon_threads = True
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> ApiServer:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        for name in list(self.objects["pods"]):
            self.delete("pods", name)
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        for thread in self.threads:
            thread.join(_END_S)
        for process in self._attachable.values():
            _close_pipes(process)

    def start_thread(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        """One that is waited for at the end."""
        self.threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self.threads[-1].start()
        return self.threads[-1]

    def refuse(self, request: str, code: int, reason: str, message: str) -> None:
        """Answer the next request that begins so, like `POST /api`, with an error; .../pods/ATTACH is any."""
        self._refusals.append((request, Refusal(code, reason, message)))

    def refusal_of(self, request: str) -> Refusal | None:
        """The trouble for a request, once."""
        for number, (start, refusal) in enumerate(self._refusals):
            if request.startswith(start):
                del self._refusals[number]
                return refusal
        return None

    def create(self, namespace: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make an object; a pod starts at once, as far as its image allows."""
        metadata = body["metadata"]
        with self._changed:
            if "generateName" in metadata:
                metadata["name"] = f"{metadata['generateName']}{self._version:05x}"
            if metadata["name"] in self.objects[kind]:
                raise Refusal(409, "AlreadyExists", f'{kind} "{metadata["name"]}" already exists')
            metadata |= {"namespace": namespace, "uid": f"uid-{self._version}"}
            if kind == "pods":
                body["status"] = {"phase": "Pending", "conditions": []}
            self.objects[kind][metadata["name"]] = body
            self._note("ADDED", body)
            made: dict[str, Any] = json.loads(json.dumps(body))
        if kind == "pods":
            self.start_thread(self._run, body)
        return made

    def delete(self, kind: str, name: str) -> dict[str, Any]:
        """Remove an object, and end what runs for it."""
        with self._changed:
            found = self.get(kind, name)
            del self.objects[kind][name]
            self._note("DELETED", found)
        if name in self._attachable:
            self.kubelet.stop(found)
        return found

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object, or the refusal that names it."""
        if name not in self.objects[kind]:
            raise Refusal(404, "NotFound", f'{kind} "{name}" not found')
        return self.objects[kind][name]

    def listed(self, kind: str, selector: str) -> dict[str, Any]:
        """The objects that have all the labels of a selector."""
        wanted = dict(parse_qsl(selector.replace(",", "&")))
        with self._changed:
            items = [
                each
                for each in self.objects[kind].values()
                if wanted.items() <= each["metadata"]["labels"].items()
            ]
            return {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": str(self._version)},
                "items": items,
            }

    def set_status(self, name: str, **status: Any) -> None:
        """Let a pod's status say so from now on."""
        with self._changed:
            pod = self.objects["pods"].get(name)
            if pod is not None:
                pod["status"] = {**pod["status"], **status}
                self._note("MODIFIED", pod)

    def evict(self, name: str, message: str) -> None:
        """As a node does that runs out of something."""
        self.set_status(name, phase="Failed", reason="Evicted", message=message)
        self.kubelet.stop(self.get("pods", name))

    def attach(self, name: str) -> subprocess.Popen[bytes]:
        """The process of a running pod."""
        self.get("pods", name)
        if name not in self._attachable:
            raise Refusal(400, "BadRequest", f"container sandbox in pod {name} is not running")
        return self._attachable[name]

    def watch(self, name: str, version: int, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Events of one object after a version, until the time is over."""
        if self.watches_that_expire:
            self.watches_that_expire -= 1
            yield {
                "type": "ERROR",
                "object": Refusal(410, "Expired", f"too old resource version: {version}").status,
            }
            return
        sent = version
        for _ in range(int(timeout_s * 10)):
            with self._changed:
                new = [event for event in self._events if event[0] > sent]
                if not new:
                    self._changed.wait(0.1)
            for number, kind, found in new:
                sent = number
                if found["metadata"]["name"] == name:
                    yield {"type": kind, "object": found}
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(sent)}}}

    def _note(self, kind: str, found: dict[str, Any]) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, json.loads(json.dumps(found))))
        self._changed.notify_all()

    def _run(self, pod: dict[str, Any]) -> None:
        """The life of a pod on its node."""
        name, image = pod["metadata"]["name"], pod["spec"]["containers"][0]["image"]
        if self.unschedulable:
            message = "0/3 nodes are available: 3 Insufficient memory."
            told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            self.set_status(name, conditions=[told])
            return
        waiting = {"reason": "ContainerCreating"}
        if image.startswith("nowhere/"):
            waiting = {"reason": "ErrImagePull", "message": f'failed to pull "{image}": not found'}
        self.set_status(name, containerStatuses=[{"name": "sandbox", "state": {"waiting": waiting}}])
        if waiting["reason"] != "ContainerCreating":
            return
        SYSTEM_CLOCK.sleep(self.start_delay_s)
        try:
            process = self.kubelet.start(pod)
        except OSError as error:
            ended = {"exitCode": 128, "reason": "StartError", "message": f"{error}"}
            self.set_status(
                name, phase="Failed", containerStatuses=[{"name": "sandbox", "state": {"terminated": ended}}]
            )
            return
        self._attachable[name] = process
        if name not in self.objects["pods"]:
            self.kubelet.stop(pod)
        self.set_status(
            name, phase="Running", containerStatuses=[{"name": "sandbox", "state": {"running": {}}}]
        )
        code = process.wait()
        ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
        self.set_status(
            name,
            phase="Failed" if code else "Succeeded",
            containerStatuses=[{"name": "sandbox", "state": {"terminated": ended}}],
        )


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError, ValueError):
            pipe.close()  # type: ignore[union-attr]


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    api: ApiServer

    def log_message(self, *unused: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(lambda found, query: self.api.delete(found["kind"], found["name"]))

    def _answer(self, work: Callable[[dict[str, str], dict[str, str]], dict[str, Any] | None]) -> None:
        parts = urlsplit(self.path)
        self._body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = f"{self.command} {parts.path}"
        self.api.requests.append(request)
        try:
            asked = re.sub(r"[^/]+/attach$", "ATTACH", request)
            if refusal := self.api.refusal_of(asked):
                raise refusal
            if self.api.token and self.headers.get("Authorization") != f"Bearer {self.api.token}":
                raise Refusal(401, "Unauthorized", "Unauthorized")
            if parts.path in _DISCOVERY:
                self._send(200, _DISCOVERY[parts.path])
                return
            found = _OBJECTS.fullmatch(parts.path)
            if found is None:
                raise Refusal(404, "NotFound", "the server could not find the requested resource")
            answer = work(found.groupdict(), dict(parse_qsl(parts.query)))
            if answer is not None:
                self._send(201 if self.command == "POST" else 200, answer)
        except Refusal as refusal:
            self._send(refusal.code, refusal.status)

    def _get(self, found: dict[str, str], query: dict[str, str]) -> dict[str, Any] | None:
        if found["attach"]:
            self._attach(self.api.attach(found["name"]))
            return None
        if query.get("watch") == "true":
            self._watch(query)
            return None
        if found["name"]:
            return self.api.get(found["kind"], found["name"])
        return self.api.listed(found["kind"], query.get("labelSelector", ""))

    def _post(self, found: dict[str, str], query: dict[str, str]) -> dict[str, Any]:
        return self.api.create(found["ns"], found["kind"], json.loads(self._body))

    def _send(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _watch(self, query: dict[str, str]) -> None:
        name = query["fieldSelector"].removeprefix("metadata.name=")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for event in self.api.watch(name, int(query["resourceVersion"]), float(query["timeoutSeconds"])):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

    def _attach(self, process: subprocess.Popen[bytes]) -> None:
        """Hand the connection over to the channels of the process."""
        self.close_connection = True
        protocol = ServerProtocol(subprotocols=self.api.protocols, max_size=None)
        head = f"{self.requestline}\r\n" + "".join(
            f"{name}: {text}\r\n" for name, text in self.headers.items()
        )
        protocol.receive_data(f"{head}\r\n".encode())
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        _Attachment(self.api, protocol, self.connection, process).run()


class _Attachment:
    """Pumps between one WebSocket and the pipes of one process."""

    def __init__(
        self, api: ApiServer, protocol: ServerProtocol, sock: Any, process: subprocess.Popen[bytes]
    ) -> None:
        self._api = api
        self._protocol = protocol
        self._sock = sock
        self._process = process
        self._lock = threading.Lock()

    def run(self) -> None:
        """Until the client hangs up; standard input then ends, since it is to be attached once."""
        self._flush()
        pumps = [
            self._api.start_thread(self._pump, channel, pipe)
            for channel, pipe in ((1, self._process.stdout), (2, self._process.stderr))
        ]
        self._api.start_thread(self._end, pumps)
        with contextlib.suppress(OSError):
            while data := self._sock.recv(1 << 16):
                with self._lock:
                    self._protocol.receive_data(data)
                    events = self._protocol.events_received()
                self._flush()
                for event in events:
                    if isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                        self._take(bytes(event.data))
                    elif isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                        raise ConnectionResetError
        with contextlib.suppress(OSError):
            self._stdin().close()

    def _take(self, message: bytes) -> None:
        if message[0] == 0:
            with contextlib.suppress(OSError, ValueError):
                self._stdin().write(message[1:])
                self._stdin().flush()
        elif message[0] == 255 and self._protocol.subprotocol == "v5.channel.k8s.io":
            self._stdin().close()

    def _stdin(self) -> Any:
        return self._process.stdin

    def _pump(self, channel: int, pipe: Any) -> None:
        with contextlib.suppress(OSError, ValueError, InvalidState):
            while data := pipe.read1(1 << 16):
                self._send(bytes([channel]) + data)

    def _end(self, pumps: list[threading.Thread]) -> None:
        """Tell how the process ended, on the channel of errors, and close."""
        code = self._process.wait()
        for pump in pumps:
            pump.join()
        status: dict[str, Any] = {"metadata": {}, "status": "Success"}
        if code:
            message = f"command terminated with non-zero exit code: exit status {code}"
            details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
            status = {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": message}
            status |= {"details": details}
        with contextlib.suppress(OSError, ValueError, InvalidState):
            self._send(b"\x03" + json.dumps(status).encode())
            with self._lock:
                self._protocol.send_close(1000)
            self._flush()
        _close_pipes(self._process)

    def _send(self, message: bytes) -> None:
        with self._lock:
            self._protocol.send_binary(message)
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            for data in self._protocol.data_to_send():
                if data:
                    self._sock.sendall(data)
