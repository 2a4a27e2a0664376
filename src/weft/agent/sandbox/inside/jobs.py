"""Commands that run on while requests come and go, each below a process that ends all that it started."""

from __future__ import annotations

import os
import select
import time

from . import kernel, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# As many as a person would keep open; each costs a process, two pipes and its output.
_MAX_JOBS = 16
_CHUNK_BYTES = 1 << 16
_TIMED_OUT = 124  # as timeout(1) has it
_SIGNALLED = 128


class NoJob(Exception):
    """There is no job of that number, or no room for one more: the kind of error, and why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class _Job:
    """Output is taken as it comes, so that it never waits for a reader; the oldest gives way."""

    def __init__(self, pid: int, output: int, feed: int, limit_bytes: int) -> None:
        self.pid = pid
        self.output = output
        self.feed = feed
        self.limit_bytes = limit_bytes
        self.kept = bytearray()
        self.omitted = 0
        self.exit: int | None = None

    def take(self) -> bool:
        """Read what is there; false at the end of the output."""
        try:
            data = os.read(self.output, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        self.kept += data
        surplus = len(self.kept) - self.limit_bytes
        if surplus > 0:
            del self.kept[:surplus]
            self.omitted += surplus
        return bool(data)

    def reap(self, options: int = os.WNOHANG) -> None:
        """Notice the end, if it has come."""
        if self.exit is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                # It was ended along with a fork bomb beside it.
                pid, status = self.pid, kernel.SIGKILL
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit = code if code >= 0 else _SIGNALLED - code

    def drain(self) -> None:
        """Take the rest of the output."""
        while self.take() and select.select([self.output], [], [], 0)[0]:
            pass

    def close(self) -> None:
        os.close(self.output)
        if self.feed >= 0:
            os.close(self.feed)


class Jobs:
    """The running jobs by the numbers that the host gave them."""

    def __init__(self, sock_fd: int, cpu_s: int, end_others: Callable[[], None]) -> None:
        """`cpu_s` bounds each process; `end_others` kills every process that belongs to no job."""
        self._sock_fd = sock_fd
        self._cpu_s = cpu_s
        self._end_others = end_others
        self._jobs: dict[int, _Job] = {}
        self._silent: set[int] = set()

    def pids(self) -> set[int]:
        """The processes below which jobs run; they and their descendants outlive a command."""
        return {job.pid for job in self._jobs.values() if job.exit is None}

    def reap(self) -> None:
        """Notice which have ended: a fork bomb takes jobs along, whose numbers are soon those of others."""
        for job in self._jobs.values():
            job.reap()

    def outputs(self) -> list[int]:
        """Descriptors to watch, so that no job waits for room in its pipe."""
        return [job.output for job in self._jobs.values() if job.output not in self._silent]

    def take(self, ready: set[int]) -> list[int]:
        """Read from those descriptors that are jobs' outputs; those that have ended."""
        ended = [job.output for job in self._jobs.values() if job.output in ready and not job.take()]
        self._silent.update(ended)
        return ended

    def wait_for_request(self) -> None:
        """Return once the host has a request; until then take what the jobs say."""
        while self._wait(None) is None:
            pass

    def start(
        self, request: Any, program: str, folder: str, environment: dict[str, str]
    ) -> dict[str, object]:
        if len(self._jobs) >= _MAX_JOBS:
            raise NoJob("limit_exceeded", f"{_MAX_JOBS} commands are running already; stop one")
        output, write_end = os.pipe()
        read_end, feed = os.pipe()
        pid = os.fork()
        if pid == 0:
            _keep(program, request, folder, environment, (read_end, write_end, write_end), self._cpu_s)
        os.close(write_end)
        os.close(read_end)
        os.set_blocking(output, False)
        os.set_blocking(feed, False)
        if not request["feed"]:
            os.close(feed)
            feed = -1
        self._jobs[request["job"]] = _Job(pid, output, feed, request["output_bytes"])
        return {}

    def poll(self, request: Any) -> dict[str, object]:
        """What a job has said since the last time, at once or as soon as it says something."""
        job = self._job(request)
        deadline = time.monotonic() + request["wait_s"]
        job.reap()
        while not job.kept and job.exit is None and (left := deadline - time.monotonic()) > 0:
            self._wait(left, job)
            job.reap()
        return self._told(request["job"], job)

    def feed(self, request: Any) -> dict[str, object]:
        """Write to a job's standard input as much as goes in at once; nothing at all closes it."""
        job = self._job(request)
        if job.feed < 0:
            raise NoJob("invalid", "its standard input is closed")
        if not request["data"]:
            os.close(job.feed)
            job.feed = -1
            return {"count": 0}
        try:
            return {"count": os.write(job.feed, request["data"])}
        except BlockingIOError:
            return {"count": 0}
        except BrokenPipeError as error:
            raise NoJob("invalid", "it no longer reads its standard input") from error

    def stop(self, request: Any) -> dict[str, object]:
        """Kill a job and all that it started."""
        job = self._job(request)
        job.reap()
        if job.exit is None:
            os.kill(job.pid, kernel.SIGKILL)
            job.reap(0)
        return self._told(request["job"], job)

    def end(self, request: Any) -> dict[str, object]:
        """Kill every job, and all that they started."""
        while self._jobs:
            self.stop({"job": next(iter(self._jobs))})
        return {}

    def _told(self, number: int, job: _Job) -> dict[str, object]:
        if job.exit is not None:
            # Where its keeper was killed, by whomever, what it started is now nobody's.
            self._end_others()
            job.drain()
        told = {"data": bytes(job.kept), "omitted_bytes": job.omitted, "ended": job.exit is not None}
        job.kept.clear()
        job.omitted = 0
        if job.exit is not None:
            told["exit"] = job.exit
            self._silent.discard(job.output)
            job.close()
            del self._jobs[number]
        return told

    def _wait(self, seconds: float | None, job: _Job | None = None) -> int | None:
        """Until a job says something or the time is over; the socket's descriptor when a request came."""
        poll = select.poll()
        poll.register(self._sock_fd, 0 if job else select.POLLIN)
        for fd in self.outputs():
            poll.register(fd, select.POLLIN)
        ended = os.pidfd_open(job.pid) if job else -1
        if job:
            poll.register(ended, select.POLLIN)
        try:
            ready = {fd for fd, _ in poll.poll(None if seconds is None else seconds * 1_000 + 1)}
        finally:
            if job:
                os.close(ended)
        self.take(ready)
        if job and self._sock_fd in ready:
            raise ConnectionResetError("the host has gone")
        return self._sock_fd if self._sock_fd in ready else None

    def _job(self, request: Any) -> _Job:
        job = self._jobs.get(request["job"])
        if job is None:
            raise NoJob("not_found", "there is no such running command")
        return job


def _keep(
    program: str,
    request: Any,
    folder: str,
    environment: dict[str, str],
    fds: tuple[int, int, int],
    cpu_s: int,
) -> None:
    """In the child: run the command to its end or its deadline, then end what it left behind."""
    code = 127
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.chdir(folder)
        pid = start.fork(program, request["argv"], environment, (0, 1, 2), cpu_s)
        code = _wait(pid, request["timeout_s"])
        end_descendants()
    except OSError as error:
        os.write(1, b"cannot run `%b`: %b\n" % (os.fsencode(program), (error.strerror or "").encode()))
    finally:
        os._exit(code)


def _wait(pid: int, seconds: float) -> int:
    ended = os.pidfd_open(pid)
    if not select.select([ended], [], [], seconds)[0]:
        os.kill(pid, kernel.SIGKILL)
        os.waitpid(pid, 0)
        return _TIMED_OUT
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else _SIGNALLED - code


def end_descendants(spare: set[int] | None = None, rounds: int | None = None) -> bool:
    """Kill and reap all below this process but `spare`; false where that many rounds were not enough.

    Orphans of the killed become children of this subreaper, so repeating it reaches every descendant.
    """
    while rounds is None or rounds > 0:
        rounds = None if rounds is None else rounds - 1
        with open("/proc/thread-self/children") as file:
            children = {int(pid) for pid in file.read().split()} - (spare or set())
        if not children:
            return True
        for pid in children:
            os.kill(pid, kernel.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
    return False
