"""What is asked of an engine, and what is made of its refusals: recorded ones; Podman is in tests/engines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.agent.sandbox import Limits, engines, native
from weft.agent.sandbox.container import Container
from weft.core.errors import Invalid, NotFound, Unavailable

pytestmark = pytest.mark.sandbox

# Says what the real ones of these versions say, and notes what it was asked.
_ENGINE = """\
#!/bin/sh
printf '%s\\n' "$*" >> {log}
case "$1" in
  version) {version} ;;
  image) {image} ;;
  ps) printf '%s\\n' {names} ;;
  run) {run} ;;
esac
"""
_PODMAN_MISSING = 'echo "Error: inspecting object: x: image not known" >&2; exit 125'
_DOCKER_MISSING = 'echo "Error: No such image: x" >&2; exit 1'
_DOCKER_DOWN = (
    'echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. '
    'Is the docker daemon running?" >&2; exit 1'
)
_NO_PYTHON = (
    'echo \'Error: runc: runc create failed: unable to start container process: exec: "python3": '
    "executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found' >&2; "
    "exit 127"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    (root / "private").mkdir(parents=True)
    (root / "key").write_text("treasure")
    return root


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., None]:
    """Put an engine of this name on the PATH that a provider is given, and nothing else."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "state").mkdir()

    def install(name: str, **says: str) -> None:
        told = {"version": ":", "image": """echo '["PATH=/opt/bin:/bin","LANG=C.UTF-8"]'""", "names": "''"}
        told |= {"run": "echo no >&2; exit 1"} | says
        program = tmp_path / "bin" / name
        program.write_text(_ENGINE.format(log=tmp_path / f"{name}.log", **told))
        program.chmod(0o755)

    return install


def opened(tmp_path: Path, workspace: Path, **options: object) -> Unavailable:
    """The refusal to open a sandbox, which leaves nothing behind."""
    provider = Container(environ={"PATH": str(tmp_path / "bin")}, state=str(tmp_path / "state"), image="x")
    with pytest.raises(Unavailable) as raised:
        provider.open(workspace, **options)  # type: ignore[arg-type]
    assert list((tmp_path / "state").iterdir()) == []
    return raised.value


def asked(tmp_path: Path, name: str, verb: str) -> list[str]:
    """What came after the verb, the last time."""
    lines = (tmp_path / f"{name}.log").read_text().split("\n")
    return next(line for line in reversed(lines) if line.startswith(verb + " ")).split(" ")


def test_a_host_without_an_engine_is_refused_with_the_fix(
    install: Callable[..., None], tmp_path: Path, workspace: Path
) -> None:
    refusal = opened(tmp_path, workspace)
    assert "`podman` and `docker` is not installed" in str(refusal)
    assert refusal.hint == "apt-get install podman"


def test_the_first_that_answers_is_taken(
    install: Callable[..., None], tmp_path: Path, workspace: Path
) -> None:
    install("podman")
    install("docker", version=_DOCKER_DOWN)
    variables = {"PATH": str(tmp_path / "bin")}
    assert engines.find(None, variables).name == "podman"
    with pytest.raises(Unavailable, match="Cannot connect") as raised:
        engines.find("docker", variables)
    assert raised.value.hint == "start it: systemctl start docker"
    install("podman", version="exit 1")
    install("docker")
    assert engines.find(None, variables).name == "docker"


@pytest.mark.parametrize(("name", "says"), [("podman", _PODMAN_MISSING), ("docker", _DOCKER_MISSING)])
def test_an_image_that_is_not_here_is_named_with_the_command_that_pulls_it(
    install: Callable[..., None], tmp_path: Path, workspace: Path, name: str, says: str
) -> None:
    install(name, image=says)
    assert opened(tmp_path, workspace).hint == f"{name} pull x"


@pytest.mark.parametrize(
    ("says", "fix"),
    [
        (_NO_PYTHON, "choose an image with python3, 3.10 or newer, or install it in this one"),
        (
            "echo 'python3 is 3.8 here, and 3.10 is the oldest that will do' >&2; exit 1",
            "choose an image with",
        ),
        (
            "echo 'Error: crun: cgroups in hybrid mode not supported' >&2; exit 126",
            "boot with cgroup v2 alone",
        ),
        ("echo 'Error: something else' >&2; exit 126", "see what `podman run --rm x true` says"),
    ],
)
def test_what_an_engine_says_comes_with_the_fix(
    install: Callable[..., None], tmp_path: Path, workspace: Path, says: str, fix: str
) -> None:
    install("podman", run=says)
    refusal = opened(tmp_path, workspace)
    assert fix in (refusal.hint or "")
    assert "podman cannot make a sandbox: " in str(refusal)
    removed = asked(tmp_path, "podman", "rm")
    assert removed[:3] == ["rm", "--force", "--volumes"]
    assert f"--name={removed[3]}" in asked(tmp_path, "podman", "run")


@pytest.mark.parametrize("built", [True, False])
def test_the_image_needs_a_python_only_where_no_program_was_built(
    install: Callable[..., None],
    tmp_path: Path,
    workspace: Path,
    built: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "program", lambda: "/built" if built else "")
    monkeypatch.setattr(native, "stands_alone", bool)
    install("podman")
    opened(tmp_path, workspace)
    options = asked(tmp_path, "podman", "run")
    shown = "--mount=type=bind,source=/built,target=/run/weft-inside,readonly"
    assert (f"--entrypoint={native.PLACE if built else 'python3'}" in options, shown in options) == (
        True,
        built,
    )
    assert (options[-1] == "guest") == built


def test_what_needs_a_linker_does_not_stand_alone() -> None:
    assert not native.stands_alone("/bin/sh")
    assert not native.stands_alone("")
    assert not native.program() or native.stands_alone(native.program())


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_a_container_may_do_next_to_nothing(
    install: Callable[..., None], tmp_path: Path, workspace: Path, name: str
) -> None:
    install(name)
    limits = Limits(memory_bytes=1 << 28, processes=33, tmp_bytes=1 << 20)
    opened(tmp_path, workspace, limits=limits, toolchain=["/usr/lib"], hidden=["key"])
    options = asked(tmp_path, name, "run")
    assert {
        *("--rm", "--interactive", "--read-only", "--network=none", "--cap-drop=ALL", "--pull=never"),
        *("--security-opt=no-new-privileges", "--memory=268435456", "--memory-swap=268435456"),
        *("--pids-limit=33", "--shm-size=1048576", "--cgroupns=private"),
        "--mount=type=bind,source=/usr/lib,target=/usr/lib,readonly",
    } <= set(options)
    assert not [
        option for option in options if "privileged" in option or option.startswith(("--env", "--cap-add"))
    ]
    (mount,) = [option for option in options if option.endswith("target=/workspace")]
    assert mount.startswith(f"--mount=type=bind,source={tmp_path}/state/weft-container-")
    assert options.index(mount) < next(
        at
        for at, option in enumerate(options)
        if option.endswith("hidden-file,target=/workspace/key,readonly")
    )
    assert ("--http-proxy=false" in options) is (name == "podman")
    if os.geteuid() == 0:
        (user,) = [option for option in options if option.startswith("--user=")]
        assert int(user.split("=")[1].split(":")[0]) >= 0x70000000


def test_orphans_go_and_those_of_the_living_stay(
    install: Callable[..., None], tmp_path: Path, workspace: Path
) -> None:
    mine, dead = engines.new_name(7), "weft-4194399-1-0"
    reused = f"weft-{os.getpid()}-1-0"
    install("podman", names=f"{mine} {dead} {reused} postgres weft-db")
    engines.find("podman", {"PATH": str(tmp_path / "bin")}).remove_orphans()
    assert asked(tmp_path, "podman", "rm") == ["rm", "--force", dead, reused]
    assert any(word.startswith("label=dev.weft.host=") for word in asked(tmp_path, "podman", "ps"))


def test_requests_that_are_wrong(install: Callable[..., None], tmp_path: Path, workspace: Path) -> None:
    install("podman")
    provider = Container(environ={"PATH": str(tmp_path / "bin")}, state=str(tmp_path / "state"), image="x")
    with pytest.raises(NotFound):
        provider.open(workspace, toolchain=["/nowhere"])
    with pytest.raises(Invalid):
        provider.open(workspace, toolchain=["/"])
    (tmp_path / "a,b").mkdir()
    with pytest.raises(Invalid, match="a,b"):
        provider.open(workspace, toolchain=[tmp_path / "a,b"])
    assert list((tmp_path / "state").iterdir()) == []


def test_an_engine_that_answers_nonsense_is_refused(
    install: Callable[..., None], tmp_path: Path, workspace: Path
) -> None:
    install("podman", image="echo '{'")
    assert "no JSON" in str(opened(tmp_path, workspace))
