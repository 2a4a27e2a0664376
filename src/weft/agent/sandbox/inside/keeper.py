"""The keeper of an executor that no namespace holds: cleans up whatever way either side dies."""

from __future__ import annotations

import _socket
import os
import select

from . import confine, executor, kernel, plan, warden, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def serve(sock: _socket.socket, lifeline: int, owner: int) -> NoReturn:
    """Serve one sandbox and end the process; `owner` is a pidfd, `lifeline` a socket that the owner holds."""
    try:
        spec: Any = wire.receive(sock)
    except wire.Closed:
        os._exit(1)
    try:
        keep = warden.keep if "launch" in spec else _keep
        status = keep(sock, lifeline, owner, spec)
    finally:
        clean_up(spec)
    os._exit(status)


def _keep(sock: _socket.socket, lifeline: int, owner: int, spec: Any) -> int:
    """Run the executor as a child until it ends, the owner lets go of the lifeline, or the owner ends."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = os.fork()
    except OSError as error:
        _report(sock, "keeper", error)
        return 1
    if child == 0:
        os.close(lifeline)
        os.close(owner)
        _become_executor(sock, spec)
    sock.close()
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(owner, select.POLLIN)
    poll.register(ended, select.POLLIN)
    poll.poll()
    try:
        os.kill(child, kernel.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    executor.end_children()
    return status


def _become_executor(sock: _socket.socket, spec: Any) -> None:
    """In the child: say so, and serve until the owner goes."""
    try:
        layers = plan.Plan("confinement")
        confine.limit(layers, spec["rlimits"])
        confine.adopt(layers)
        plan.run(layers.raw())
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
    except BaseException as error:
        _report(sock, "confinement", error)
        os._exit(1)
    try:
        wire.send(sock, {"ready": True})
        executor.serve(sock, spec["workspace"], spec["environment"], spec["cpu_s"])
    except (wire.Closed, OSError):
        pass
    os._exit(0)


def _report(sock: _socket.socket, stage: str, error: BaseException) -> None:
    try:
        wire.send(sock, {"failed": stage, "reason": f"{type(error).__name__}: {error}"})
    except OSError:
        pass


def clean_up(spec: Any) -> None:
    """Remove the control groups and the state folder of a sandbox whose processes have ended."""
    for path in spec["cgroups"]:
        try:
            os.rmdir(path)
        except OSError:
            pass
    remove_tree(spec["state"])


def remove(path: str) -> None:
    """Delete what is at the path, be it a file, a link or a folder with all in it."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        try:
            os.unlink(path)
        except OSError:
            pass


def remove_tree(path: str) -> None:
    """Delete a folder and all in it, also what was made unreadable; links are deleted, never followed."""
    try:
        top = _opened(path)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(path)
    except OSError:
        pass


def _opened(name: str, below: int | None = None) -> int:
    """A folder that its owner may have closed to himself; what is a link by now is none."""
    place = os.open(name, os.O_PATH | _FOLDER, dir_fd=below)
    try:
        os.chmod(f"/proc/self/fd/{place}", 0o700)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _empty(top: int) -> None:
    """Folders come up to the top before they are emptied: so none lies too deep to be named or opened."""
    waiting = os.listdir(top)
    taken, number = set(waiting), 0
    while waiting:
        name = waiting.pop()
        if _removed(name, top):
            continue
        folder = _opened(name, top)
        try:
            for below in os.listdir(folder):
                if _removed(below, folder):
                    continue
                while str(number) in taken:
                    number += 1
                os.close(_opened(below, folder))
                os.rename(below, str(number), src_dir_fd=folder, dst_dir_fd=top)
                waiting.append(str(number))
                number += 1
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)


def _removed(name: str, folder: int) -> bool:
    """Whether it was no folder, or an empty one: it has gone."""
    try:
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            os.rmdir(name, dir_fd=folder)
    except OSError:
        return False
    return True
