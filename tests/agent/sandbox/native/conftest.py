"""The compiled executor and the one in Python, each outside any sandbox, at the end of two pipes."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import msgspec
import pytest

ROOT = Path(__file__).parents[4]
SANDBOX = ROOT / "src/weft/agent/sandbox"
SANITIZED = "-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
_IN_PYTHON = f"""
import sys
sys.path.insert(0, {str(SANDBOX)!r})
from inside import executor, guest, kernel, wire
pipes = guest.Pipes()
told = wire.receive(pipes)
kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
wire.send(pipes, {{"ready": True}})
try:
    executor.serve(pipes, told["workspace"], told["environment"], told["cpu_s"])
except (wire.Closed, OSError):
    pass
"""
_IN_PYTHON_ARGV = [sys.executable, "-I", "-S", "-c", _IN_PYTHON]


def load(path: Path) -> ModuleType:
    """A module that is no part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Peer:
    """An executor and the pipes to it."""

    def __init__(self, argv: list[str], workspace: Path, cpu_s: int = 60) -> None:
        self.workspace = workspace
        environment = {"PATH": "/usr/bin:/bin", "HOME": f"{workspace}/home", "LC_ALL": "C"}
        # Leaks are of no account: every request's memory is, and that is looked at by its size.
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=0", "PATH": "/usr/bin:/bin"},
        )
        self.send({"plan": b"", "workspace": str(workspace), "environment": environment, "cpu_s": cpu_s})
        assert self.receive()["ready"] is True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> int:
        """Go away, and see how the executor ends."""
        with self.process:
            self._close_input()
            try:
                return self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise

    def _close_input(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def send(self, value: object) -> None:
        self.send_raw(msgspec.msgpack.encode(value))

    def send_raw(self, body: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack(">I", len(body)) + body)
        self.process.stdin.flush()

    def receive(self) -> Any:
        """The next frame's value."""
        assert self.process.stdout is not None
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise EOFError(self.process.wait(10), self.process.stderr and self.process.stderr.read().decode())
        return msgspec.msgpack.decode(self.process.stdout.read(*struct.unpack(">I", head)))

    def ask(self, op: str, **fields: object) -> Any:
        """What is replied in the end; for a command with `out`, all that came before."""
        self.send({"op": op, **fields})
        out = b""
        while "out" in (reply := self.receive()):
            out += reply["out"]
        return reply | ({"out": out} if op == "run" and "error" not in reply else {})

    def run(self, *argv: str | bytes, **fields: object) -> Any:
        return self.ask("run", **command(*argv) | fields)

    def start(self, job: int, *argv: str | bytes, **fields: object) -> Any:
        return self.ask("start", **command(*argv) | {"job": job, "feed": False} | fields)


def command(*argv: str | bytes) -> dict[str, object]:
    """A request's fields that say what to run."""
    encoded = [each if isinstance(each, bytes) else os.fsencode(each) for each in argv]
    limits = {"timeout_s": 20.0, "output_bytes": 100_000}
    return {"argv": encoded, "folder": ".", "environment": {}, **limits}


def is_alive(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="session")
def hook() -> ModuleType:
    """The build hook of the package."""
    return load(ROOT / "hatch_build.py")


@pytest.fixture(scope="session")
def program(hook: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sources as they are now, compiled."""
    return _compiled(hook, tmp_path_factory, "")


@pytest.fixture(scope="session")
def sanitized(hook: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, which ends by itself on whatever C leaves undefined."""
    return _compiled(hook, tmp_path_factory, SANITIZED)


def _compiled(hook: ModuleType, factory: pytest.TempPathFactory, flags: str) -> str:
    """Once for all processes that run these tests."""
    if not hook.compilers():
        pytest.skip("there is no C compiler")
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"native{len(flags)}"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made := folder / hook.PROGRAM).exists():
            _build(hook, folder, flags)
    return str(made)


def _build(hook: ModuleType, folder: Path, flags: str) -> None:
    simple = folder / "simple"
    simple.mkdir(exist_ok=True)
    (simple / "main.c").write_text("int main(void) { return 2; }\n")
    for path in (SANDBOX / "native").glob("*.[ch]"):
        (folder / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CFLAGS", f"-Werror {flags}".strip())
        if flags and hook.compile_inside(simple) is None:
            pytest.skip("the C compiler has no sanitizers")
        assert hook.compile_inside(folder) is not None


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    path.mkdir()
    return path


@pytest.fixture
def peer(program: str, workspace: Path) -> Iterator[Peer]:
    """The compiled executor of an empty workspace."""
    with Peer([program, "guest"], workspace) as opened:
        yield opened


@pytest.fixture(scope="session")
def pair(program: str) -> Callable[[Path, Path], tuple[Peer, Peer]]:
    """Opens the compiled executor and the one in Python, each in a folder of its own."""
    return lambda one, other: (Peer([program, "guest"], one), Peer(_IN_PYTHON_ARGV, other))


@pytest.fixture(scope="session")
def peer_type() -> type[Peer]:
    return Peer


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    return is_alive


@pytest.fixture(scope="session")
def bare() -> Callable[[list[str], bytes], int]:
    """How an executor ends that gets one frame and no more."""

    def end(argv: list[str], body: bytes) -> int:
        frame = struct.pack(">I", len(body)) + body
        return subprocess.run(argv, input=frame, capture_output=True, timeout=20).returncode

    return end
