"""The executor as a guest of bubblewrap, a container or a pod: the walls are theirs, the layers its own."""

from __future__ import annotations

import os

from . import blank, confine, executor, kernel, plan, remote, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MEMORY = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Pipes:
    """Standard input and output as the one connection that a socket would be."""

    def __init__(self) -> None:
        """Take both away from the commands that follow, which find nothing there."""
        self._read, self._write = (os.dup(fd) for fd in (0, 1))
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        os.close(null)

    def fileno(self) -> int:
        return self._read

    def recv(self, count: int) -> bytes:
        return os.read(self._read, count)

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._write, rest) :]


def main() -> None:
    """Take on every layer, say so, and serve until the host goes."""
    pipes = Pipes()
    try:
        spec: Any = wire.receive(pipes)
        if spec["remote"]:
            # An image's own variables, without those by which a cluster announces itself.
            own = {name: text for name, text in os.environ.items() if not name.startswith("KUBERNETES_")}
            spec["environment"] = {**own, **spec["environment"]}
        _confine(spec)
    except BaseException as error:
        wire.send(pipes, {"failed": "confinement", "reason": f"{type(error).__name__}: {error}"})
        os._exit(1)
    try:
        held = "landlock" if kernel.landlock_abi() else ""
        wire.send(pipes, {"ready": True, "count": _memory_bound(), "kind": held})
        more = remote.Workspace(spec["workspace"]).requests() if spec["remote"] else None
        executor.serve(pipes, spec["workspace"], spec["environment"], spec["cpu_s"], more)
    except (wire.Closed, OSError):
        pass
    os._exit(0)


def _memory_bound() -> int:
    """The memory of all that is inside, as its control group bounds it; a huge number where none is seen."""
    for path in _MEMORY:
        try:
            with open(path) as file:
                return int(file.read())
        except (OSError, ValueError):
            continue
    return (1 << 63) - 1


def _confine(spec: Any) -> None:
    devices = [path for path in confine.DEVICES if os.path.exists(path)]
    # The host looks at its own kernel; that of another machine is known here only.
    landlocked = bool(kernel.landlock_abi()) or not spec["remote"]
    workspace, rlimits, uid = spec["workspace"], spec["rlimits"], spec["uid"]
    plan.run(blank.guest(workspace, rlimits, uid, devices=devices, landlocked=landlocked))
