"""The keeper of an executor that another program holds, such as bubblewrap or an engine's client.

Whatever way owner, program or executor ends, it ends the others and cleans up.
"""

from __future__ import annotations

import os
import select

from . import executor, kernel, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

# Of what the program says last: enough for the sentence that tells why it failed.
_SAID_BYTES = 2_000
# An engine that does not remove a container within so long is left to itself.
_END_S = 20.0


def keep(sock: _socket.socket, lifeline: int, owner: int, spec: Any) -> int:
    """Run the program until it ends, the owner lets go of the lifeline, or the owner ends.

    `spec["launch"]` is its command line; it has the socket as standard input and output. What it says on
    standard error goes to the owner as the reason where it ends by itself. `spec["end"]`, where not empty, is
    run at the end.
    """
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    wire.send(sock, {"ready": True})
    said, said_write = os.pipe()
    child = os.fork()
    if child == 0:
        _become(sock, said_write, spec)
    os.close(said_write)
    ended = os.pidfd_open(child)
    reason = _watch(said, {lifeline, owner, ended})
    try:
        os.kill(child, kernel.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    executor.end_children()
    if spec["end"]:
        _run(spec["end"], spec["variables"])
    try:
        wire.send(sock, {"failed": spec["stage"], "reason": reason or f"it ended with {status}"})
    except OSError:
        pass
    return 0


def _become(sock: _socket.socket, said: int, spec: Any) -> None:
    """In the child: join the control groups and become the program."""
    try:
        for path in spec["cgroups"]:
            name = "tasks" if os.path.exists(f"{path}/tasks") else "cgroup.procs"
            with open(f"{path}/{name}", "w") as file:
                file.write("0")
        # An engine's monitor leaves a file where it stands when a container has run out of memory.
        os.chdir(spec["state"])
        os.dup2(said, 2)
        os.dup2(sock.fileno(), 0)
        os.dup2(sock.fileno(), 1)
        os.execve(spec["launch"][0], spec["launch"], spec["variables"])
    except BaseException as error:
        os.write(said, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(127)


def _watch(said: int, ends: set[int]) -> str:
    """Wait for one of the ends; what was said last."""
    poll = select.poll()
    for fd in (said, *ends):
        poll.register(fd, select.POLLIN)
    kept = b""
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if said in ready:
            data = os.read(said, 1 << 16)
            kept = (kept + data)[-_SAID_BYTES:]
            if not data:
                poll.unregister(said)
        elif ready & ends:
            return "; ".join(kept.decode("utf-8", "replace").split("\n")).strip("; ")[-_SAID_BYTES:]


def _run(argv: list[str], variables: dict[str, str]) -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    pid = os.posix_spawn(argv[0], argv, variables, file_actions=actions)
    ended = os.pidfd_open(pid)
    if not select.select([ended], [], [], _END_S)[0]:
        os.kill(pid, kernel.SIGKILL)
    os.waitpid(pid, 0)
