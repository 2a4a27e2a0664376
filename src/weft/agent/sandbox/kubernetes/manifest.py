"""What is asked of a cluster: one pod for each sandbox, and one rule for the network of all of them."""

from __future__ import annotations

from typing import Any, Final

from weft.agent.sandbox.launch import PYTHON_ARGUMENTS
from weft.agent.sandbox.provider import Limits

WORKSPACE: Final = "/workspace"
CONTAINER: Final = "sandbox"
LABELS: Final = {"app.kubernetes.io/name": "weft-sandbox", "app.kubernetes.io/managed-by": "weft"}
SELECTOR: Final = ",".join(f"{name}={value}" for name, value in LABELS.items())
POLICY: Final = "weft-sandboxes-closed"
# A pod of this policy asks for next to nothing and is bounded by its limits; the scheduler sees the memory.
_CPU_ASKED: Final = "100m"


def pod(
    *, image: str, python: str, uid: int, limits: Limits, workspace_bytes: int, lifetime_s: int
) -> dict[str, Any]:
    """A pod whose one process is the executor, sent to it through its standard input.

    It meets the restricted level of the Pod Security Standards (kubernetes.io/docs/concepts/security), and
    ends when its standard input does: nobody has to find it when its owner is gone.
    """
    memory = str(limits.memory_bytes)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "weft-", "labels": LABELS},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": lifetime_s,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostname": "sandbox",
            "hostNetwork": False,
            "hostPID": False,
            "hostIPC": False,
            "shareProcessNamespace": False,
            # Names cannot be resolved, nor is the cluster's own server for them told.
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": uid,
                "runAsGroup": uid,
                "fsGroup": uid,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": [python, *PYTHON_ARGUMENTS],
                    "stdin": True,
                    "stdinOnce": True,
                    "workingDir": "/",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "privileged": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {
                        "requests": {"cpu": _CPU_ASKED, "memory": memory},
                        "limits": {"memory": memory, "ephemeral-storage": str(workspace_bytes)},
                    },
                    "volumeMounts": [
                        {"name": "workspace", "mountPath": WORKSPACE},
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "shm", "mountPath": "/dev/shm"},
                    ],
                }
            ],
            "volumes": [
                {"name": "workspace", "emptyDir": {"sizeLimit": str(workspace_bytes)}},
                _in_memory("tmp", limits.tmp_bytes),
                _in_memory("shm", limits.tmp_bytes),
            ],
        },
    }


def network_policy() -> dict[str, Any]:
    """Nothing may reach a sandbox, and it may reach nothing: both directions are named, and no exception."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": POLICY, "labels": LABELS},
        "spec": {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress", "Egress"]},
    }


def _in_memory(name: str, size_bytes: int) -> dict[str, Any]:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size_bytes)}}
