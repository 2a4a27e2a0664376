"""What hostile programs have at hand. This text is run where there is no weft: it needs Python alone."""

import contextlib
import ctypes
import errno
import glob
import os
import socket
import stat
import struct
import sys
import time
from typing import Any, NoReturn

__all__ = ["contextlib", "glob", "socket", "stat", "struct", "time"]

EXECUTOR = os.getppid()
"""What runs the commands of a sandbox; in a control, a process that is there to be attacked."""

_COLUMN = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine, 0)
_NUMBERS = {
    "clone": (56, 220),
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "init_module": (175, 105),
    "clock_settime": (227, 112),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "prlimit64": (302, 261),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
}
_ABSENT = (errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Absent(Exception):
    """This kernel does not offer what is attempted, to nobody."""


def call(name: str, *arguments: Any) -> int:
    """A system call, by its name; `OSError` where it fails."""
    passed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return checked(libc.syscall(ctypes.c_long(_NUMBERS[name][_COLUMN]), *passed))


def checked(result: int) -> int:
    """What a function of libc returns, unless it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def reach(name: str, *arguments: Any) -> None:
    """A call that is harmless since its arguments are wrong: any answer but a refusal comes from within."""
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, *_ABSENT):
            raise


def off(switch: str, value: str) -> None:
    """Leave where the host has switched something off for everybody."""
    with contextlib.suppress(OSError), open(f"/proc/sys/{switch}") as file:
        if file.read().strip() == value:
            raise Absent(f"{switch} is {value}")


def any_of(pattern: str) -> str:
    """One path of this pattern; outside, there may be none on this host."""
    for path in sorted(glob.glob(pattern)):
        return path
    raise Absent(f"there is no {pattern}")


def touch(path: str) -> None:
    """Open for writing, and write nothing."""
    try:
        os.close(os.open(path, os.O_WRONLY))
    except OSError as error:
        # What is being executed is busy, which only those are told who might have written to it.
        if error.errno != errno.ETXTBSY:
            raise


def unnamed_file_in(folder: str) -> None:
    """Make a file without a name, which vanishes with this process."""
    os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))


def state_of(pid: int) -> str:
    """The letter that stands for what a process is doing."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def child(work: Any) -> int:
    """Do it in a process of its own: how that ended, minus the signal's number where a signal ended it."""
    if (pid := os.fork()) == 0:
        try:
            work()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def said_by(program: str, *arguments: str) -> str:
    """What a program prints that is run as a user who is nobody, as far as this process may be another."""
    fd = os.open(program, os.O_RDONLY)
    os.set_inheritable(fd, True)
    read_end, write_end = os.pipe()

    def work() -> NoReturn:
        os.dup2(write_end, 1)
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        # By the descriptor: the folders above it may be closed to the new user.
        os.execv(f"/proc/self/fd/{fd}", [program, *arguments])

    child(work)
    os.close(write_end)
    with open(read_end) as file:
        return file.read()


def main() -> None:
    """Make the attempt: argv holds the values that it may use, and its code.

    An `OSError`, want of memory or a failed `assert` say that it was refused. Any other error is one of the
    attempt's own: neither word is printed then, and nothing is proved.
    """
    values, code = sys.argv[1:]
    print("TRYING", flush=True)
    try:
        exec(code, globals() | eval(values))
    except Absent as absence:
        print("ABSENT", absence)
    except OSError as error:
        print("ABSENT" if error.errno in _ABSENT else "REFUSED", repr(error))
    except (AssertionError, MemoryError) as error:
        print("REFUSED", repr(error))
    else:
        print("REACHED")


if __name__ == "__main__":
    main()
