"""What a pod's status means: as clusters write it."""

from __future__ import annotations

from typing import Any

import pytest

from weft.agent.sandbox.kubernetes.status import Failed, Running, State, Waiting, fix_of_waiting, state_of


def pod(phase: str, state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    containers = [] if state is None else [{"name": "sandbox", "state": state}]
    return {"metadata": {}, "status": {"phase": phase, "containerStatuses": containers, **status}}


_FULL = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}
_OOM = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
_NO_PYTHON = {
    "terminated": {"exitCode": 128, "reason": "StartError", "message": 'exec: "python3": not found'}
}
_PULL = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"metadata": {}}, Waiting("nothing is said")),
        (pod("Pending"), Waiting("nothing is said")),
        (pod("Pending", {"waiting": {"reason": "ContainerCreating"}}), Waiting("ContainerCreating")),
        (pod("Pending", conditions=[_FULL]), Waiting(f"Unschedulable: {_FULL['message']}")),
        (pod("Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}}), Running()),
        (pod("Running", {"waiting": {"reason": "PodInitializing"}}), Waiting("PodInitializing")),
    ],
)
def test_on_its_way_or_there(found: dict[str, Any], expected: State) -> None:
    assert state_of(found) == expected


@pytest.mark.parametrize(
    ("found", "reason", "fix"),
    [
        (pod("Pending", _PULL), "ErrImagePull: not found", "name an image"),
        (pod("Pending", {"waiting": {"reason": "ImagePullBackOff"}}), "ImagePullBackOff", "name an image"),
        (
            pod("Pending", {"waiting": {"reason": "InvalidImageName"}}),
            "InvalidImageName",
            "REGISTRY/NAME:TAG",
        ),
        (pod("Running", _OOM), "OOMKilled", "more memory"),
        (pod("Failed", _NO_PYTHON), 'StartError: exec: "python3": not found', "python3, 3.10 or newer"),
        (pod("Failed", {"terminated": {"exitCode": 1}}), "the executor ended with 1", "new sandbox"),
        (pod("Failed", reason="Evicted", message="low on memory"), "Evicted: low on memory", "new sandbox"),
        (pod("Failed", _OOM, reason="DeadlineExceeded"), "DeadlineExceeded", "memory"),
        (pod("Succeeded"), "the pod has succeeded", "new sandbox"),
        (
            {"metadata": {"deletionTimestamp": "now"}, "status": {"phase": "Running"}},
            "deleted",
            "new sandbox",
        ),
    ],
)
def test_what_will_not_be_a_sandbox(found: dict[str, Any], reason: str, fix: str) -> None:
    state = state_of(found)
    assert isinstance(state, Failed)
    assert reason in state.reason
    assert fix in state.fix


def test_a_full_cluster_is_told_from_a_slow_one() -> None:
    assert "less memory" in fix_of_waiting(Waiting("Unschedulable: 0/3 nodes"))
    assert "describe" in fix_of_waiting(Waiting("ContainerCreating"))
