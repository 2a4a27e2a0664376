"""An executor that is sent to a program: plain Python here, which has no walls and obeys in all else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weft.agent.sandbox import SandboxFailed, launch
from weft.agent.sandbox.keeper import StartFailed
from weft.agent.sandbox.launch import PYTHON_ARGUMENTS, Launched

pytestmark = pytest.mark.sandbox

PYTHON = [sys.executable, *PYTHON_ARGUMENTS]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Make one around `tmp_path/work`, with its state in `tmp_path/state`."""
    (tmp_path / "state").mkdir()
    (tmp_path / "work").mkdir()

    def start(argv: list[str], **options: object) -> Launched:
        told = launch.guest(str(tmp_path / "work"), {"HOME": "/tmp/home", "PATH": os.defpath}, {}, 60)
        frames = launch.in_python(sys.executable, told).frames
        given = {"stage": "engine", "state": str(tmp_path / "state"), "frames": frames} | options
        made.append(Launched(argv, **given))  # type: ignore[arg-type]
        return made[-1]

    made: list[Launched] = []
    yield start
    for executor in made:
        executor.close()


def run(executor: Launched, *argv: str) -> bytes:
    """What a command prints."""
    request = {"op": "run", "argv": [os.fsencode(each) for each in argv], "timeout_s": 20.0, "folder": "."}
    executor.send(request | {"environment": {}, "output_bytes": 10_000})
    output = b""
    while (reply := executor.receive(20.0)).out is not None:
        output += reply.out
    return output + reply.tail


def eventually(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_the_executor_takes_on_its_layers_and_runs_commands(start: Callable[..., Launched]) -> None:
    executor = start(PYTHON)
    status = run(executor, "cat", "/proc/self/status").decode()
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert f"{name}:\t{'0' * 16}\n" in status
    outside = f"/var/tmp/weft-test-{os.getpid()}"
    tried = run(executor, "sh", "-c", f"echo x > f && cat f; touch {outside}")
    assert tried.startswith(b"x\n")
    assert b"Permission denied" in tried
    assert not os.path.exists(outside)
    assert run(executor, "cat") == b""
    executor.close()


def test_closing_ends_the_program_runs_the_end_and_removes_the_state(
    start: Callable[..., Launched], tmp_path: Path
) -> None:
    executor = start(
        PYTHON, end=["/bin/sh", "-c", f"echo $GREETING > {tmp_path}/ended"], variables={"GREETING": "bye"}
    )
    assert not (tmp_path / "ended").exists()
    executor.close()
    executor.close()
    assert (tmp_path / "ended").read_text() == "bye\n"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["/bin/sh", "-c", "echo 'no such image' >&2; exit 125"], "no such image"),
        (["/bin/sh", "-c", "exit 3"], "it ended with 3"),
        (["/nowhere/engine"], "FileNotFoundError"),
        (["/bin/sh", "-c", "yes filler | head -c 100000 >&2; echo 'the last words' >&2"], "the last words"),
    ],
)
def test_what_the_program_says_last_is_the_reason(
    start: Callable[..., Launched], tmp_path: Path, argv: list[str], reason: str
) -> None:
    with pytest.raises(StartFailed, match=reason) as raised:
        start(argv)
    assert raised.value.stage == "engine"
    assert len(raised.value.reason) <= 2_000
    assert not (tmp_path / "state").exists()


def test_a_program_that_says_nothing_is_given_up(start: Callable[..., Launched], tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"no answer within 0\.2 seconds"):
        start(["/bin/sleep", "1000"], start_s=0.2)
    assert not (tmp_path / "state").exists()


def test_a_python_that_is_too_old_says_so(
    start: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = launch.executor_as_text().replace(b"OLDEST = (3, 10)", b"OLDEST = (3, 99)")
    monkeypatch.setattr(launch, "executor_as_text", lambda: text)
    with pytest.raises(StartFailed, match=r"python3 is 3\.\d+ here, and 3\.99 is the oldest that will do"):
        start(PYTHON)


def test_layers_that_cannot_be_taken_on_are_a_refusal(start: Callable[..., Launched], tmp_path: Path) -> None:
    told = launch.guest(str(tmp_path / "nowhere"), {"HOME": "/tmp/home"}, {}, 60)
    with pytest.raises(StartFailed, match="nowhere") as raised:
        start(PYTHON, frames=launch.in_python(sys.executable, told).frames)
    assert raised.value.stage == "confinement"


def test_a_program_that_ends_in_between_is_a_failed_sandbox_and_no_result(
    start: Callable[..., Launched], tmp_path: Path
) -> None:
    """Its last words must not be taken for the reply to a command, which would have succeeded."""
    executor = start(["/bin/sh", "-c", '"$@"; echo "out of memory" >&2', "sh", *PYTHON])
    executor.send({"op": "read", "path": b"nowhere", "limit_bytes": 1})
    executor.receive(5.0)
    (child,) = Path(f"/proc/{executor.pid}/task/{executor.pid}/children").read_text().split()
    (python,) = Path(f"/proc/{child}/task/{child}/children").read_text().split()
    os.kill(int(python), signal.SIGKILL)
    with pytest.raises(SandboxFailed, match=r"the sandbox has ended \(engine\): .*; out of memory"):
        run(executor, "true")
    executor.close()
    assert not (tmp_path / "state").exists()


_OWNER = """
import sys
sys.path.insert(0, {here!r})
from weft.agent.sandbox import launch
work, state, ended = sys.argv[1:]
told = launch.guest(work, {{"HOME": "/tmp/home"}}, {{}}, 60)
end = ["/bin/touch", ended]
argv, frames = launch.in_python(sys.executable, told)
box = launch.Launched(argv, stage="x", state=state, frames=frames, end=end)
print(box.pid, flush=True)
sys.stdin.read()
"""


def test_the_program_goes_with_its_owner(tmp_path: Path) -> None:
    for name in ("work", "state"):
        (tmp_path / name).mkdir()
    paths = [str(tmp_path / name) for name in ("work", "state", "ended")]
    command = [sys.executable, "-c", _OWNER.format(here=str(Path(__file__).parent)), *paths]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        owner.kill()
    eventually("the keeper is gone", lambda: not Path(f"/proc/{pid}").exists())
    assert (tmp_path / "ended").exists()
    assert not (tmp_path / "state").exists()
