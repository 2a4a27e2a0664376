"""The host's end of a sandbox: an executor, and the two folders that tell what it changed."""

from __future__ import annotations

import _thread
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from weft.agent.sandbox import commit, diff
from weft.agent.sandbox.changes import Change, Pair, content_at, folder
from weft.agent.sandbox.denials import denials
from weft.agent.sandbox.jobs import Job
from weft.agent.sandbox.provider import Denial, Entry, Limits, Promise, Result, Sandbox, SandboxFailed
from weft.agent.sandbox.wire import GRACE_S, Executor, Reply
from weft.core.clock import SYSTEM_CLOCK
from weft.core.errors import Conflict, Denied, Invalid, LimitExceeded, NotFound, WeftError
from weft.core.limits import MAX_FILE_BYTES, within

_KINDS: dict[str, type[WeftError]] = {
    "not_found": NotFound,
    "denied": Denied,
    "limit_exceeded": LimitExceeded,
    "invalid": Invalid,
}


class Started(NamedTuple):
    """What one beginning of a sandbox makes anew."""

    executor: Executor
    pair: Pair
    """The folders to compare."""
    workspace: str
    """Where the workspace is inside."""
    promises: frozenset[Promise]


class Session(Sandbox):
    """A sandbox made of an executor and a pair of folders."""

    def __init__(
        self,
        *,
        root: str,
        start: Callable[[], Started],
        limits: Limits,
        shown: Sequence[str] = ("/",),
    ) -> None:
        """`shown` are the paths of the host that can be seen inside, beside the workspace."""
        self._root = root
        self._shown = shown
        self._start = start
        self._limits = limits
        self._lock = threading.RLock()
        self._jobs = itertools.count(1)
        # Returns once what was before the last discard has been taken down.
        self._wait_for_old: Callable[[], object] = lambda: None
        commit.recover(root)
        self._begin()

    def _begin(self) -> None:
        self._executor, self._pair, self._workspace, self._promises = self._start()
        self._opened_ns = os.stat(os.path.dirname(self._pair.other)).st_ctime_ns
        self._open = True

    @property
    def workspace(self) -> str:
        return self._workspace

    @property
    def promises(self) -> frozenset[Promise]:
        return self._promises

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout_s: float = 600.0,
        folder: str = ".",
        environment: Mapping[str, str] | None = None,
        output_bytes: int | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Result:
        limit = self._limits.output_bytes if output_bytes is None else output_bytes
        request = _command("run", command, timeout_s, folder, environment, limit)
        head = bytearray()

        def take(data: bytes) -> None:
            head.extend(data)
            if len(head) > limit:
                raise SandboxFailed("the sandbox sends more than was asked for", hint="open a new one")
            if on_output is not None:
                on_output(data)

        reply = self._ask(request, timeout_s, take)
        gap = b"\n[... %d bytes omitted ...]\n" % reply.omitted_bytes if reply.omitted_bytes else b""
        output = (bytes(head) + gap + reply.tail).decode("utf-8", "replace")
        return Result(
            exit_code=reply.exit,
            output=output,
            timed_out=reply.timed_out,
            duration_s=reply.duration_s,
            omitted_bytes=reply.omitted_bytes,
            denied=self._denied(output),
        )

    def _denied(self, output: str) -> tuple[Denial, ...]:
        if Promise.FILES not in self._promises:
            return ()
        return denials(output, workspace=self._workspace, shown=self._shown)

    def start(
        self,
        command: str | Sequence[str],
        *,
        timeout_s: float = 3_600.0,
        folder: str = ".",
        environment: Mapping[str, str] | None = None,
        output_bytes: int | None = None,
        feed: bool = False,
    ) -> Job:
        limit = self._limits.output_bytes if output_bytes is None else output_bytes
        request = _command("start", command, timeout_s, folder, environment, limit)
        number = next(self._jobs)
        self._ask(request | {"job": number, "feed": feed}, GRACE_S)
        return Job(lambda op, **fields: self._ask({"op": op, "job": number, **fields}, GRACE_S))

    def end_jobs(self) -> None:
        self._ask({"op": "end_jobs"}, GRACE_S)

    def read(self, path: str) -> bytes:
        return self._file("read", path, limit_bytes=MAX_FILE_BYTES).data

    def write(self, path: str, data: bytes) -> None:
        within(f"`{path}`", len(data), MAX_FILE_BYTES)
        self._file("write", path, data=data)

    def stat(self, path: str) -> Entry:
        reply = self._file("stat", path)
        name = os.path.basename(path.rstrip("/"))
        return Entry(name=name, kind=reply.kind, size_bytes=reply.size_bytes, mode=reply.mode)

    def entries(self, path: str = ".") -> list[Entry]:
        return [
            Entry(name=os.fsdecode(each.name), kind=each.kind, size_bytes=each.size_bytes, mode=each.mode)
            for each in self._file("list", path).entries
        ]

    def resolve(self, path: str) -> str:
        return os.fsdecode(self._file("resolve", path).data)

    def look(self) -> list[str]:
        """Mounts, processes, private files, control groups and limits, as they are seen inside."""
        return os.fsdecode(self._ask({"op": "look"}, GRACE_S).data).splitlines()

    def delete(self, path: str) -> None:
        self._file("delete", path)

    def move(self, path: str, target: str) -> None:
        self._file("move", path, target=os.fsencode(target))

    def changes(self) -> list[Change]:
        with self._lock:
            self._check_open()
            return self._pair.changes()

    def diff(self) -> str:
        return diff.unified(self.changes())

    def commit(self) -> list[Change]:
        with self._lock:
            changes = [
                change
                for change in self.changes()
                if commit.lands(change.path) and not commit.makes_repository(change)
            ]
            for change in changes:
                if self._changed_outside(change):
                    raise Conflict(
                        f"`{change.path}` was changed outside the sandbox since it opened",
                        hint="read it again, or discard",
                        path=change.path,
                    )
            if changes:
                commit.write(self._root, changes)
                # An overlay does not learn of files that appear below it: a deletion of one would go unseen.
                self.discard()
            return changes

    def _changed_outside(self, change: Change) -> bool:
        if not self._pair.layer:
            with folder(self._root) as root:
                return content_at(root, change.path) != change.before
        changed_ns = commit.changed_ns(self._root, change.path)
        return changed_ns is not None and changed_ns > self._opened_ns

    def discard(self) -> None:
        """As new by construction: another inside takes the place of the old, of which nothing is used again.

        The old one ends while the other begins, and its state is removed behind the caller's back: `close`
        waits for that. To empty it instead would be no faster, and would have to be proved.
        """
        with self._lock:
            self._check_open()
            self._open = False
            old = self._executor
            old.break_off()
            try:
                self._wait_for_old()
                self._begin()
            finally:
                self._wait_for_old = _in_background(old.close)

    def close(self) -> None:
        # A thread that waits for a command holds the lock for as long.
        self._executor.break_off()
        with self._lock:
            if self._open:
                self._open = False
                self._executor.close()
            self._wait_for_old()

    def _file(self, op: str, path: str, **fields: object) -> Reply:
        return self._ask({"op": op, "path": os.fsencode(path), **fields}, GRACE_S)

    def _ask(
        self,
        request: Mapping[str, object],
        timeout_s: float,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Reply:
        with self._lock:
            self._check_open()
            try:
                deadline = SYSTEM_CLOCK.monotonic_s() + timeout_s + GRACE_S
                self._executor.send(request)
                reply = self._executor.receive(timeout_s + GRACE_S)
                while reply.out is not None:
                    if on_output is not None:
                        on_output(reply.out)
                    reply = self._executor.receive(max(0.001, deadline - SYSTEM_CLOCK.monotonic_s()))
            except BaseException:
                # Whatever broke it off, the next reply would be taken for an answer to another request.
                self.close()
                raise
        if reply.error is not None:
            _refuse(request, reply)
        return reply

    def _check_open(self) -> None:
        if not self._open:
            raise SandboxFailed("the sandbox is closed", hint="open a new one")


def _in_background(work: Callable[[], None]) -> Callable[[], None]:
    """Have another thread do the work, where there can be one more; what is returned waits for its end.

    `threading` waits until its thread runs, which takes as long as a tenth of a sandbox.
    """
    ended, done, process = False, threading.Lock(), os.getpid()
    done.acquire()

    def run() -> None:
        nonlocal ended
        try:
            work()
        finally:
            ended = True
            done.release()

    def wait() -> None:
        # Whom a signal's handler interrupts may hold the lock; and in a fork there is no such thread.
        if not ended and os.getpid() == process:
            done.acquire()
            done.release()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:
        run()
    return wait


def _command(
    op: str,
    command: str | Sequence[str],
    timeout_s: float,
    folder: str,
    environment: Mapping[str, str] | None,
    output_bytes: int,
) -> dict[str, object]:
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    if not argv:
        raise Invalid("the command is empty", hint="name a program")
    if timeout_s <= 0:
        raise Invalid(f"the timeout `{timeout_s}` is not positive", hint="give seconds")
    return {
        "op": op,
        "argv": [os.fsencode(each) for each in argv],
        "timeout_s": float(timeout_s),
        "folder": folder,
        "environment": dict(environment or {}),
        "output_bytes": output_bytes,
    }


def _refuse(request: Mapping[str, Any], reply: Reply) -> NoReturn:
    what = os.fsdecode(request["path"]) if "path" in request else str(request["op"])
    kind = _KINDS.get(reply.error or "", Invalid)
    raise kind(f"`{what}`: {reply.reason.lower()}", hint="name a path that the sandbox can reach")
