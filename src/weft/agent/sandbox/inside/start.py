"""How a command starts: a fork with a limit of its own, which posix_spawn cannot give."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the signal module would bring enum along
import os
import resource

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def fork(
    program: str,
    argv: list[bytes],
    environment: dict[str, str],
    fds: tuple[int, int, int],
    cpu_s: int,
) -> int:
    """The process that runs the program in a session of its own, with `fds` as its standard ones.

    `cpu_s` bounds its time on a processor. `OSError` where the program cannot be executed, `ValueError` for
    what no program can be given.
    """
    texts = [*map(os.fsdecode, argv), *environment, *environment.values()]
    if any("\0" in text for text in texts) or any("=" in name for name in environment):
        raise ValueError("a zero byte, or a variable with `=` in its name")
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(program, argv, environment, fds, cpu_s, tell)
    os.close(tell)
    # The other end is closed as the program is executed.
    reason = os.read(told, 16)
    os.close(told)
    if reason:
        os.waitpid(pid, 0)
        raise OSError(int(reason), os.strerror(int(reason)))
    return pid


def _become(
    program: str,
    argv: list[bytes],
    environment: dict[str, str],
    fds: tuple[int, int, int],
    cpu_s: int,
    tell: int,
) -> NoReturn:
    try:
        os.setsid()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        # Those that Python ignores, or handles.
        for number in (kernel.SIGPIPE, kernel.SIGXFSZ, kernel.SIGINT):
            _signal.signal(number, _signal.SIG_DFL)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        bound = cpu_s if hard == resource.RLIM_INFINITY else min(cpu_s, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (bound, bound))
        os.execve(program, argv, environment)
    except OSError as error:
        os.write(tell, b"%d" % (error.errno or 1))
    finally:
        os._exit(127)
