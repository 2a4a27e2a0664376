"""The sandbox of a Kubernetes cluster: a pod for each, closed by the cluster and by layers of our own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from weft.agent.sandbox import shown
from weft.agent.sandbox.inside.keeper import remove
from weft.agent.sandbox.kubernetes import config
from weft.agent.sandbox.kubernetes.attached import Attached
from weft.agent.sandbox.kubernetes.client import Client
from weft.agent.sandbox.kubernetes.manifest import POLICY, SELECTOR, WORKSPACE, network_policy, pod
from weft.agent.sandbox.kubernetes.status import Failed, Running, State, Waiting, fix_of_waiting, state_of
from weft.agent.sandbox.kubernetes.workspace import Remote
from weft.agent.sandbox.launch import executor_as_text, guest
from weft.agent.sandbox.namespaces import checked_workspace, copy_tree, rlimits
from weft.agent.sandbox.provider import DEFAULT_LIMITS, REQUIRED, Limits, Promise, Sandbox, SandboxFailed
from weft.agent.sandbox.session import Session, Started
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, NotFound, Unavailable
from weft.core.randomness import system_random

IMAGE: Final = "docker.io/library/python:3.12-slim"
_FIRST_UID: Final = 0x70000000
_UIDS: Final = 0x0FFFFFFF
_AGAIN_S: Final = 0.2
_FINISHED: Final = ("Succeeded", "Failed")


class Kubernetes:
    """Makes sandboxes that hold `REQUIRED` but LANDLOCK, each a pod; where its node has that, it holds it.

    The executor is sent to the image's own `python3`, 3.10 or newer, as process 1 of the pod; nothing is
    installed. The workspace is sent along and changes are fetched, so nodes need nothing of this host; the
    image brings the toolchain. `hidden` files are not sent.

    A pod ends by itself when its owner is gone; the object that is left is deleted when the next one opens.
    What a cluster does with its nodes, volumes and logs is its own.
    """

    name = "kubernetes"

    def __init__(
        self,
        *,
        image: str = IMAGE,
        python: str = "python3",
        context: str | None = None,
        namespace: str | None = None,
        workspace_bytes: int = 10 << 30,
        lifetime_s: int = 86_400,
        start_s: float = 180.0,
        state: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`context` and `namespace` are those of the kubeconfig unless named.

        `lifetime_s` after its start a pod is ended by the cluster; it may take `start_s` to start.
        `state` is the folder for what the workspace was (the system's temporary one).
        """
        self._image = image
        self._python = python
        self._context = context
        self._namespace = namespace
        self._workspace_bytes = workspace_bytes
        self._lifetime_s = lifetime_s
        self._start_s = start_s
        self._state = state
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._client: Client | None = None

    @property
    def promises(self) -> frozenset[Promise]:
        return REQUIRED - {Promise.LANDLOCK}

    def open(
        self,
        workspace: str | os.PathLike[str],
        *,
        limits: Limits = DEFAULT_LIMITS,
        toolchain: Iterable[str | os.PathLike[str]] = (),
        hidden: Iterable[str] = (),
    ) -> Sandbox:
        root = checked_workspace(workspace)
        for path in toolchain:
            raise Invalid(f"a pod cannot show `{os.fspath(path)}` of this host", hint="put it into the image")
        covered = shown.covered(root, hidden)
        client = self._prepared()
        return Session(
            root=root, start=lambda: self._start(client, root, covered, limits), limits=limits, shown=[]
        )

    def _start(self, client: Client, root: str, covered: Iterable[str], limits: Limits) -> Started:
        state = tempfile.mkdtemp(prefix="weft-kubernetes-", dir=self._state)
        made: dict[str, Any] = {}
        try:
            copy_tree(root, f"{state}/base")
            for path in covered:
                remove(f"{state}/base/{path}")
            made = client.create(client.pods, self._manifest(limits))
            self._wait(client, made)
            executor = Attached(client, made["metadata"]["name"], state)
        except BaseException:
            if made:
                client.delete(f"{client.pods}/{made['metadata']['name']}")
            shutil.rmtree(state, ignore_errors=True)
            raise
        try:
            held = self._begin(executor, limits)
            pair = Remote(f"{state}/base", f"{state}/there", layer=False, executor=executor)
            pair.fill()
        except BaseException:
            executor.close()
            raise
        return Started(executor, pair, WORKSPACE, self.promises | held)

    def _manifest(self, limits: Limits) -> dict[str, Any]:
        return pod(
            image=self._image,
            python=self._python,
            uid=_FIRST_UID + system_random().randrange(_UIDS),
            limits=limits,
            workspace_bytes=self._workspace_bytes,
            lifetime_s=self._lifetime_s,
        )

    def _begin(self, executor: Attached, limits: Limits) -> set[Promise]:
        """Send the executor and have it take on its layers; what it found there to hold beside."""
        variables = shown.environment("/", [], {})
        del variables["PATH"]
        told = guest(WORKSPACE, variables, rlimits(limits), limits.cpu_s, remote=True)
        try:
            executor.send_frame(executor_as_text())
            executor.send_frame(msgspec.msgpack.encode(told))
            reply = executor.receive(self._start_s)
        except SandboxFailed as error:
            raise Unavailable(f"the pod is no sandbox: {error}", hint=error.hint) from error
        if not reply.ready:
            raise Unavailable(
                f"the pod is no sandbox ({reply.failed}): {reply.reason}",
                hint="let the runtime's seccomp profile be RuntimeDefault, on nodes of Linux 5.13 or newer",
            )
        held = {Promise.LANDLOCK} if reply.kind == "landlock" else set()
        return held | ({Promise.TOTAL_MEMORY} if reply.count <= limits.memory_bytes else set())

    def _wait(self, client: Client, made: Mapping[str, Any]) -> None:
        """Until the executor's process is there; `Unavailable` where it will not be, or not in time."""
        deadline = self._clock.monotonic_s() + self._start_s
        path = f"{client.pods}/{made['metadata']['name']}"
        found: Mapping[str, Any] = made
        while True:
            state = self._checked(state_of(found))
            if isinstance(state, Running):
                return
            left = deadline - self._clock.monotonic_s()
            if left <= 0:
                raise Unavailable(
                    f"the pod did not start within {self._start_s:g} s: {state.reason}",
                    hint=fix_of_waiting(state),
                )
            for kind, now in client.watch(found, left):
                if kind == "DELETED":
                    raise Unavailable(
                        "the pod was deleted while it started", hint="see who deletes pods there"
                    )
                if kind == "ERROR":
                    # Most often 410: what happened since is forgotten, and the present state is to be got.
                    break
                if kind in ("ADDED", "MODIFIED") and isinstance(self._checked(state_of(now)), Running):
                    return
            self._clock.sleep(_AGAIN_S)
            found = client.get(path)

    def _checked(self, state: State) -> Running | Waiting:
        if isinstance(state, Failed):
            raise Unavailable(f"the pod cannot be a sandbox: {state.reason}", hint=state.fix)
        return state

    def _prepared(self) -> Client:
        """The client of a namespace whose sandboxes are closed, and free of what others left behind."""
        if self._client is None:
            cluster = config.load(self._environ, context=self._context, namespace=self._namespace)
            client = Client(cluster)
            _close_the_network(client)
            for found in client.get(client.pods, labelSelector=SELECTOR).get("items") or []:
                if (found.get("status") or {}).get("phase") in _FINISHED:
                    client.delete(f"{client.pods}/{found['metadata']['name']}")
            self._client = client
        return self._client


def _close_the_network(client: Client) -> None:
    """See that the rule is there. What a network plugin does not carry out, the executor's filter does."""
    wanted = network_policy()
    try:
        found = client.get(f"{client.policies}/{POLICY}")
    except NotFound:
        found = client.create(client.policies, wanted)
    rules = found.get("spec") or {}
    if (
        rules.get("ingress")
        or rules.get("egress")
        or rules.get("podSelector") != wanted["spec"]["podSelector"]
    ):
        raise Unavailable(
            f"the network policy `{POLICY}` lets something through",
            hint=f"kubectl delete networkpolicy {POLICY}",
        )
