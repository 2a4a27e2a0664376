"""Attempts on wide or young faces of the kernel, whose flaws would undo every other layer.

Allowed on purpose, for it gives a command nothing that it lacks: files in memory and their execution
(memfd_create, fexecve), since the workspace can be executed from too; filters of system calls that a command
puts on itself. Left to each provider: `personality`, which weakens only who calls it.
"""

from __future__ import annotations

from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt, Ground


def _kernel(name: str, code: str, ground: Ground = Ground.BARE) -> Attempt:
    return Attempt(name, Promise.PRIVILEGE, code, ground)


KERNEL: Final = [
    _kernel(
        "io_uring",
        """
        off('kernel/io_uring_disabled', '2')
        call('io_uring_setup', 4, ctypes.create_string_buffer(256))
        """,
    ),
    _kernel("userfaultfd", "call('userfaultfd', 0)", Ground.ROOT),
    _kernel(
        "bpf_map",
        """
        call('bpf', 0, struct.pack('4I', 2, 4, 8, 1) + bytes(112), 128)
        """,
        Ground.ROOT,
    ),
    _kernel(
        "performance_counters",
        """
        about = struct.pack('IIQ', 1, 128, 0) + bytes(112)
        call('perf_event_open', about, 0, -1, -1, 0)
        """,
        Ground.ROOT,
    ),
    _kernel("watch_files", "call('fanotify_init', 0, 0)", Ground.ROOT),
    _kernel("add_key", "call('add_key', b'user', b'weft', b'x', 1, -2)"),
    _kernel("keyring", "call('keyctl', 0, -3, 1)"),
    _kernel("load_module", "reach('init_module', None, 0, b'')", Ground.ROOT),
    # The time is none that a clock can show: it is refused by its value where it is not by its caller.
    _kernel("set_clock", "reach('clock_settime', 0, struct.pack('2q', 0, 1 << 40))"),
    _kernel(
        "advise_for_another",
        """
        vector = (ctypes.c_ulong * 2)(0x1000, 4096)
        reach('process_madvise', call('pidfd_open', EXECUTOR, 0), vector, 1, 99, 0)
        """,
    ),
    _kernel(
        "calls_of_32_bits",
        """
        import mmap
        if os.uname().machine != 'x86_64':
            raise Absent('another architecture')
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(bytes.fromhex('b814000000cd80c3'))
        getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        def work():
            if getpid() != os.getpid():
                raise OSError(errno.ENOSYS, 'none')
        ended = child(work)
        if ended in (-11, errno.ENOSYS):
            raise Absent('this kernel has no such calls')
        assert ended == 0, ended
        """,
    ),
    _kernel(
        "calls_of_x32",
        """
        if os.uname().machine != 'x86_64':
            raise Absent('another architecture')
        ended = child(lambda: checked(libc.syscall(ctypes.c_long(0x40000000 | 39))))
        if ended == errno.ENOSYS:
            raise Absent('this kernel has no such calls')
        assert ended == 0, ended
        """,
    ),
]
