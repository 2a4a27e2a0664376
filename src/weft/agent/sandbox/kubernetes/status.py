"""What a pod's status means for a sandbox: ready, to be waited for, or failed, and why. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

# Reasons for which a container waits that time does not heal, and what does.
_HOPELESS: Final = {
    "ErrImagePull": "name an image that the nodes can pull, with its secret in the service account",
    "ImagePullBackOff": "name an image that the nodes can pull, with its secret in the service account",
    "ErrImageNeverPull": "put the image on the nodes",
    "InvalidImageName": "name an image as REGISTRY/NAME:TAG",
    "CreateContainerConfigError": "see `kubectl describe pod`",
    "CreateContainerError": "choose an image with python3, 3.10 or newer",
    "RunContainerError": "choose an image with python3, 3.10 or newer",
}
_NO_ROOM: Final = "ask for less memory, or add nodes"


class Failed(msgspec.Struct, frozen=True):
    """The pod will not be a sandbox, or no longer is one."""

    reason: str
    fix: str


class Waiting(msgspec.Struct, frozen=True):
    """The pod is on its way; what it waits for, as far as it says."""

    reason: str


class Running(msgspec.Struct, frozen=True):
    """The executor's process is there."""


State = Failed | Waiting | Running


def state_of(pod: Mapping[str, Any]) -> State:
    """What a pod is, by its phase, its container and its conditions."""
    status = pod.get("status") or {}
    statuses: list[dict[str, Any]] = status.get("containerStatuses") or [{}]
    container = statuses[0].get("state") or {}
    if pod.get("metadata", {}).get("deletionTimestamp"):
        return Failed("the pod is being deleted", "open a new sandbox")
    if ended := container.get("terminated"):
        return Failed(_ending(status, ended), _fix_of_ending(ended))
    if status.get("phase") in ("Failed", "Succeeded"):
        return Failed(_told(status) or f"the pod has {status['phase'].lower()}", "open a new sandbox")
    waiting = container.get("waiting") or {}
    if waiting.get("reason") in _HOPELESS:
        return Failed(_told(waiting), _HOPELESS[waiting["reason"]])
    if status.get("phase") == "Running" and "running" in container:
        return Running()
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Waiting(_told(condition))
    return Waiting(_told(waiting) or "nothing is said")


def fix_of_waiting(state: Waiting) -> str:
    """What to do about a pod that waited for too long."""
    return (
        _NO_ROOM if "Unschedulable" in state.reason else "see `kubectl describe pod` and `kubectl get events`"
    )


def _ending(status: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    """An eviction is told of the pod, a want of memory of the container."""
    if status.get("reason"):
        return _told(status)
    return _told(ended) or f"the executor ended with {ended.get('exitCode')}"


def _fix_of_ending(ended: Mapping[str, Any]) -> str:
    if ended.get("reason") == "OOMKilled":
        return "give it more memory"
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return _HOPELESS["RunContainerError"]
    return "open a new sandbox"


def _told(source: Mapping[str, Any]) -> str:
    return ": ".join(text for text in (source.get("reason"), source.get("message")) if text)
