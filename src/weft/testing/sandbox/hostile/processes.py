"""Attempts to see, to signal and to slow down processes outside, and to meet them in shared memory."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt
from weft.testing.sandbox.outside import Outside, running
from weft.testing.sandbox.prelude import state_of


def _process(name: str, code: str) -> Attempt:
    return Attempt(name, Promise.PROCESSES, code)


def _ended(outside: Outside) -> bool:
    with contextlib.suppress(Exception):
        outside.process.wait(0.1)
    return outside.process.returncode is not None


def _stopped(outside: Outside) -> bool:
    return state_of(outside.process.pid) in "tT"


def _renice(outside: Outside) -> bool:
    return os.getpriority(os.PRIO_PROCESS, outside.process.pid) > os.getpriority(os.PRIO_PROCESS, 0)


def _daemon_runs(outside: Outside) -> bool:
    # One process with that mark is the world's own.
    deadline = time.monotonic() + 0.3
    while not (left := set(running(outside.marker)) - {outside.process.pid}) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, 9)
    return bool(left)


PROCESSES: Final = [
    Attempt("kill_outside", Promise.PROCESSES, "os.kill(PID, 15)", seen=_ended),
    Attempt("stop_outside", Promise.PROCESSES, "os.kill(PID, 19)", seen=_stopped),
    Attempt("slow_outside", Promise.PROCESSES, "os.setpriority(os.PRIO_PROCESS, PID, 19)", seen=_renice),
    Attempt(
        "signal_by_descriptor",
        Promise.PROCESSES,
        """
        import signal
        signal.pidfd_send_signal(call('pidfd_open', PID, 0), 15)
        """,
        seen=_ended,
    ),
    _process(
        "see_outside",
        "assert any(MARKER[::-1] in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline'))",
    ),
    _process("see_the_owner", "assert os.getpid() > 1000 or os.getppid() > 1000"),
    _process("old_shared_memory", "checked(libc.shmget(KEY, 4096, 0))"),
    _process("queue_of_messages", "checked(libc.mq_open(QUEUE.encode(), os.O_RDWR))"),
    _process(
        "shared_memory_by_name", "checked(libc.shm_open(('/' + os.path.basename(SHARED)).encode(), 0, 0))"
    ),
    Attempt(
        "daemon",
        Promise.CLEANUP,
        """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for fd in range(3):
                    os.close(fd)
                os.execvp('sleep', ['sleep', MARKER[::-1].decode()])
            os._exit(0)
        """,
        seen=_daemon_runs,
    ),
    Attempt(
        "deaf_daemon",
        Promise.CLEANUP,
        """
        import signal
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            quiet = 'exec </dev/null >/dev/null 2>&1; sleep'
            os.execvp('sh', ['sh', '-c', f'{quiet} {MARKER[::-1].decode()}; :'])
        """,
        seen=_daemon_runs,
    ),
]
