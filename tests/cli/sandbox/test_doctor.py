"""`weft sandbox doctor` and `bench`: what is here, what is missing, and what to do about it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weft.agent.sandbox import layers
from weft.agent.sandbox.host import host_report
from weft.agent.sandbox.inside import kernel, probes
from weft.agent.sandbox.provider import REQUIRED, Promise

pytestmark = pytest.mark.sandbox


def lines(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def test_every_layer_and_promise_is_told_and_the_answer_is_yes(weft: Any) -> None:
    done = weft("doctor")
    assert done.code == 0
    for name in (*probes.PROBES, "Landlock", "control groups", *(one.name.lower() for one in Promise)):
        assert f"\n{name} " in done.out
    assert done.out.endswith("\nnamespaces holds all that a sandbox must hold\n")


def test_a_provider_that_does_not_hold_what_is_required_is_no_answer(weft: Any) -> None:
    done = weft("doctor --provider unconfined --json")
    assert done.code == 1
    told = {line["promise"]: line for line in lines(done) if "promise" in line}
    assert set(told) == {one.name.lower() for one in Promise}
    assert told["changes"] == {
        "provider": "unconfined",
        "promise": "changes",
        "held": True,
        "required": True,
        "fix": "",
    }
    assert told["network"]["fix"] == "`unconfined` never promises it: use `namespaces`"
    assert lines(done)[-1] == {"provider": "unconfined", "holds_required": False}


def test_a_host_without_landlock_fails_with_the_fix(weft: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "landlock_abi", lambda: 0)
    done = weft("doctor --json")
    assert done.code == 1
    landlock = next(line for line in lines(done) if line.get("layer") == "Landlock")
    assert (landlock["available"], landlock["needed"]) == (False, True)
    assert "lsm=" in landlock["fix"]
    required = [line for line in lines(done) if line.get("provider") == "namespaces" and line.get("required")]
    assert len(required) == len(REQUIRED)
    assert not any(line["held"] for line in required)
    text = weft("doctor")
    assert text.code == 1
    assert "\nnamespaces does not hold changes, cleanup," in text.out


def test_what_can_be_done_without_does_not_fail(weft: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.sandbox.inside.cgroups.create", lambda memory_bytes, processes: {})
    unbounded = property(lambda executor: False, lambda executor, bounded: None)
    monkeypatch.setattr("weft.agent.sandbox.confined.Confined.bounded", unbounded, raising=False)
    done = weft("doctor")
    assert done.code == 0
    assert "control groups    no, can do without   none can be made by this process" in done.out
    assert "\nnamespaces: total_memory\n  let this process make control groups: " in done.out


def test_the_switch_that_is_closed_is_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may make no user namespace: the probe fails, and the fix names what denies it."""
    monkeypatch.setattr(layers, "_closed_switches", lambda: [("user/max_user_namespaces", "10000")])
    monkeypatch.setattr(
        layers,
        "_ENTRY",
        "import sys; sys.path.insert(0, {!r})\n"
        "from inside import kernel, probes\n"
        "def refuse(flags): raise PermissionError(1, 'Operation not permitted')\n"
        "kernel.unshare = refuse\n"
        "probes.main()",
    )
    found = {layer.name: layer for layer in layers.layers()}
    for name in ("user namespaces", "mounts", "processes", "network", "overlay", "idmapped mounts"):
        assert (found[name].available, found[name].detail) == (False, "operation not permitted")
        assert found[name].fix
    assert found["user namespaces"].fix == "sysctl -w user.max_user_namespaces=10000"
    assert found["seccomp"].available
    assert [name for name, layer in found.items() if not layer.needed] == [
        "overlay",
        "idmapped mounts",
        "control groups",
        "compiled inside",
    ]


def test_an_inside_in_python_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.sandbox.native.program", lambda: "")
    *_, last = layers.layers()
    assert (last.name, last.available, last.needed) == ("compiled inside", False, False)
    assert "C compiler" in last.fix


def test_a_probe_that_is_killed_is_a_layer_that_is_missing(tmp_path: Path) -> None:
    code = (
        f"import os, sys; sys.path.insert(0, {str(Path(probes.__file__).parents[1])!r})\n"
        "from inside import probes\n"
        "probes.PROBES = {'deadly': lambda folder: os.kill(os.getpid(), 31)}\n"
        f"sys.argv = ['', {str(tmp_path)!r}]; probes.main()"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.stdout == "deadly\tended with -31\n"


def test_there_are_no_layers_but_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert [(layer.name, layer.available, layer.needed) for layer in layers.layers()] == [
        ("Linux", False, True)
    ]
    assert {finding.how_to_improve for finding in host_report()} == {
        "namespaces need Linux, this is `darwin`; use another provider"
    }


def test_bench_times_each_step(weft: Any) -> None:
    told = lines(weft("bench --rounds 2 --json"))
    assert [one["what"] for one in told] == [
        "fork and exec `true`, no sandbox",
        "open a sandbox",
        "run `true` in it",
        "write a file in it",
        "tell what changed",
        "begin anew",
        "close it",
    ]
    assert all(0 < one["p50_us"] <= one["p95_us"] and one["rounds"] == 2 for one in told)
    assert "open a sandbox" in weft("bench --rounds 1").out


def test_each_provider_has_a_column_and_what_is_not_installed_a_fix(
    weft: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is neither bubblewrap nor an engine; a pod is started only where one asks for it."""
    for name in ("cp", "chown"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = weft("doctor")
    (head,) = [line.split() for line in done.out.splitlines() if line.startswith("promise ")]
    assert head == ["promise", "namespaces", "bubblewrap", "container", "unconfined", "which", "is"]
    assert "\nbubblewrap: everything\n  `bwrap` is not installed; apt-get install bubblewrap\n" in done.out
    assert "`podman` and `docker` is not installed; apt-get install podman\n" in done.out
    assert done.code == 0


def test_kubernetes_is_tried_where_it_is_named(weft: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    done = weft("doctor --provider kubernetes --json")
    told = [line for line in lines(done) if "promise" in line]
    assert {line["provider"] for line in told} == {"kubernetes"}
    assert {line["fix"].split(";")[0] for line in told} == {"no Kubernetes cluster is configured"}
    assert done.code == 1


def test_an_image_is_taken_for_what_is_made_of_one(weft: Any) -> None:
    done = weft("run --image x -- true")
    assert done.code != 0
    assert "`namespaces` uses no image" in done.err
