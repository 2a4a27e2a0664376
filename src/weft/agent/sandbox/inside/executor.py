"""The executor: runs commands and touches files for the host, as one more process inside the sandbox.

It has no right that a command lacks: whatever a path or a link names, it reaches what a command could.
Time is read from the standard library here: the inside has no weft.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time

from . import jobs, kernel, look, start, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CHUNK_BYTES = 1 << 16
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
# A reply is one frame in memory on both sides; nobody reads more.
_MAX_ENTRIES = 20_000
# Only a fork bomb is not dead after so many rounds; it takes the running jobs along.
_MAX_ROUNDS = 1_000


class Refused(Exception):
    """A request that cannot be served: the kind of error that the host shall raise, and why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def serve(
    sock: wire.Channel,
    workspace: str,
    environment: dict[str, str],
    cpu_s: int,
    more: dict[str, Callable[[Any], dict[str, object]]] | None = None,
) -> None:
    """Answer one request after the other until the host closes the socket.

    `cpu_s` bounds each process of a command, and not the executor, which works for all of them. `more` are
    further requests.
    """
    executor = _Executor(sock, workspace, environment, cpu_s)
    executor.requests.update(more or {})
    while True:
        executor.wait_for_request()
        request: Any = wire.receive(sock)
        try:
            reply = executor.answer(request)
        except (Refused, jobs.NoJob) as refusal:
            reply = {"error": refusal.kind, "reason": str(refusal)}
        except OSError as error:
            reply = {"error": _kind_of(error), "reason": error.strerror or str(error)}
        except (ValueError, UnicodeError) as error:
            reply = {"error": "invalid", "reason": str(error)}
        wire.send(sock, reply)


def end_children(spare: set[int] | None = None) -> None:
    """Kill and reap every process below this one; as init of a pid namespace, every other process in it.

    `spare` are children that stay, with all below them; unless it takes for ever to tell what is theirs.
    """
    if spare and jobs.end_descendants(spare, _MAX_ROUNDS):
        return
    if os.getpid() == 1:
        try:
            os.kill(-1, kernel.SIGKILL)
        except ProcessLookupError:
            pass
    jobs.end_descendants()


def _kind_of(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "not_found"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "denied"
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOMEM):
        return "limit_exceeded"
    return "invalid"


class _Executor:
    def __init__(self, sock: wire.Channel, workspace: str, environment: dict[str, str], cpu_s: int) -> None:
        self._sock = sock
        self._workspace = workspace
        self._environment = environment
        self._cpu_s = cpu_s
        self._null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._jobs = jobs.Jobs(sock.fileno(), cpu_s, self._end_others)
        self.requests: dict[str, Callable[[Any], dict[str, object]]] = {
            "run": self._run,
            "read": self._read,
            "write": self._write,
            "stat": self._stat,
            "list": self._list,
            "delete": self._delete,
            "move": self._move,
            "resolve": self._resolve,
            "start": self._start,
            "poll": self._jobs.poll,
            "feed": self._jobs.feed,
            "stop": self._jobs.stop,
            "end_jobs": self._jobs.end,
            "look": self._look,
        }
        os.chdir(workspace)
        os.umask(0o022)
        try:
            os.mkdir(environment["HOME"], 0o700)
        except OSError:
            pass

    def answer(self, request: Any) -> dict[str, object]:
        return self.requests[request["op"]](request)

    def wait_for_request(self) -> None:
        self._jobs.wait_for_request()

    def _end_others(self) -> None:
        end_children(self._jobs.pids())
        self._jobs.reap()

    def _start(self, request: Any) -> dict[str, object]:
        environment = {**self._environment, **request["environment"]}
        folder = os.path.join(self._workspace, request["folder"])
        if not os.path.isdir(folder):
            raise Refused("not_found", f"there is no folder `{request['folder']}`")
        program = _find(os.fsdecode(request["argv"][0]), environment.get("PATH", os.defpath))
        return self._jobs.start(request, program, folder, environment)

    def _run(self, request: Any) -> dict[str, object]:
        """Run one command to its end or its deadline; nothing that it started outlives it."""
        began = time.monotonic()
        output = _Output(self._sock, request["output_bytes"])
        read_end, write_end = os.pipe()
        try:
            pid = self._spawn(request, write_end)
        except OSError as error:
            os.close(read_end)
            output.add(b"cannot run `%b`: %b\n" % (request["argv"][0], (error.strerror or "").encode()))
            code = _NOT_FOUND if error.errno == errno.ENOENT else _NOT_EXECUTABLE
            return {"exit": code, "timed_out": False, "duration_s": time.monotonic() - began, **output.end()}
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        timed_out = not self._relay(pid, read_end, output, began + request["timeout_s"])
        if timed_out:
            os.kill(pid, kernel.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        self._end_others()
        while data := os.read(read_end, _CHUNK_BYTES):
            output.add(data)
        os.close(read_end)
        return {
            "exit": os.waitstatus_to_exitcode(status),
            "timed_out": timed_out,
            "duration_s": time.monotonic() - began,
            **output.end(),
        }

    def _spawn(self, request: Any, output_fd: int) -> int:
        environment = {**self._environment, **request["environment"]}
        try:
            os.chdir(os.path.join(self._workspace, request["folder"]))
        except OSError as error:
            raise Refused(_kind_of(error), f"folder `{request['folder']}`: {error.strerror}") from error
        try:
            program = _find(os.fsdecode(request["argv"][0]), environment.get("PATH", os.defpath))
            fds = self._null, output_fd, output_fd
            return start.fork(program, request["argv"], environment, fds, self._cpu_s)
        finally:
            os.chdir(self._workspace)

    def _relay(self, pid: int, read_end: int, output: _Output, deadline: float) -> bool:
        """Pass output on until the command has ended; false where the deadline comes first."""
        ended = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(read_end, select.POLLIN)
        poll.register(ended, select.POLLIN)
        poll.register(self._sock, 0)
        for fd in self._jobs.outputs():
            poll.register(fd, select.POLLIN)
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready = {fd for fd, _ in poll.poll(min(left * 1_000 + 1, 1e9))}
                if self._sock.fileno() in ready:
                    raise wire.Closed
                for fd in self._jobs.take(ready):
                    poll.unregister(fd)
                if read_end in ready:
                    data = os.read(read_end, _CHUNK_BYTES)
                    if data:
                        output.add(data)
                    else:
                        poll.unregister(read_end)
                elif ended in ready:
                    return True
            return False
        finally:
            os.close(ended)

    def _path(self, request: Any, name: str = "path") -> bytes:
        path: bytes = request[name]
        return os.path.join(os.fsencode(self._workspace), path)

    def _read(self, request: Any) -> dict[str, object]:
        fd = os.open(self._path(request), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Refused("invalid", "not a file")
            data = file.read(request["limit_bytes"] + 1)
        if len(data) > request["limit_bytes"]:
            raise Refused("limit_exceeded", f"the file is longer than {request['limit_bytes']:,} bytes")
        return {"data": data}

    def _write(self, request: Any) -> dict[str, object]:
        """Replace the file as a whole, so that nobody sees half of it."""
        path = os.path.realpath(self._path(request))
        if os.path.isdir(path):
            raise Refused("invalid", "is a folder")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = path[:-1] + b"~weft" if path.endswith(b"/") else path + b"~weft"
        try:
            with open(beside, "xb") as file:
                file.write(request["data"])
                if os.path.exists(path):
                    os.fchmod(file.fileno(), stat.S_IMODE(os.stat(path).st_mode))
            os.replace(beside, path)
        except BaseException:
            try:
                os.unlink(beside)
            except OSError:
                pass
            raise
        return {}

    def _stat(self, request: Any) -> dict[str, object]:
        found = os.lstat(self._path(request))
        return described(b"", found)

    def _list(self, request: Any) -> dict[str, object]:
        found: list[dict[str, Any]] = []
        with os.scandir(self._path(request)) as entries:
            for each in entries:
                if len(found) == _MAX_ENTRIES:
                    raise Refused("limit_exceeded", f"the folder has more than {_MAX_ENTRIES:,} entries")
                found.append(described(each.name, each.stat(follow_symlinks=False)))
        return {"entries": sorted(found, key=lambda entry: entry["name"])}

    def _delete(self, request: Any) -> dict[str, object]:
        path = self._path(request)
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
        return {}

    def _move(self, request: Any) -> dict[str, object]:
        source, target = self._path(request), self._path(request, "target")
        os.lstat(source)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.rename(source, target)
        except OSError as error:
            # An overlay does not rename a folder of its lower layer; mv copies and deletes instead.
            if error.errno != errno.EXDEV:
                raise
            pid = os.posix_spawnp("mv", [b"mv", b"-T", b"--", source, target], self._environment)
            if os.waitpid(pid, 0)[1]:
                raise
        return {}

    def _look(self, request: Any) -> dict[str, object]:
        return {"data": os.fsencode("\n".join(look.look()))}

    def _resolve(self, request: Any) -> dict[str, object]:
        path = os.path.realpath(self._path(request))
        inside = os.path.realpath(os.fsencode(self._workspace))
        within = path == inside or path.startswith(inside + b"/")
        return {"data": os.path.relpath(path, inside) if within else path}


def described(name: bytes, found: os.stat_result) -> dict[str, Any]:
    """What the host is told of a path."""
    return {
        "name": name,
        "kind": _KINDS.get(stat.S_IFMT(found.st_mode), "other"),
        "size_bytes": found.st_size,
        "mode": stat.S_IMODE(found.st_mode),
    }


def _find(command: str, path: str) -> str:
    """The file that a command names, as execvp would find it."""
    if "/" in command:
        return command
    for folder in path.split(":"):
        candidate = f"{folder}/{command}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, "command not found")


class _Output:
    """Passes the first half of the allowance on at once and keeps the last half: both ends are seen."""

    def __init__(self, sock: wire.Channel, limit_bytes: int) -> None:
        self._sock = sock
        self._head_left = limit_bytes - limit_bytes // 2
        self._tail_bytes = limit_bytes // 2
        self._tail = bytearray()
        self._omitted = 0

    def add(self, data: bytes) -> None:
        head, rest = data[: self._head_left], data[self._head_left :]
        if head:
            self._head_left -= len(head)
            wire.send(self._sock, {"out": head})
        self._tail += rest
        if len(self._tail) > 2 * self._tail_bytes + _CHUNK_BYTES:
            self._trim()

    def _trim(self) -> None:
        surplus = max(0, len(self._tail) - self._tail_bytes)
        del self._tail[:surplus]
        self._omitted += surplus

    def end(self) -> dict[str, object]:
        self._trim()
        return {"tail": bytes(self._tail), "omitted_bytes": self._omitted}
