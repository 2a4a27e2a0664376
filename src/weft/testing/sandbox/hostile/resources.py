"""Attempts to take more than is allowed, bounded in count, and made under tight limits of the sandbox."""

from __future__ import annotations

from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt, Ground


def _take(name: str, code: str, ground: Ground = Ground.BARE) -> Attempt:
    return Attempt(name, Promise.LIMITS, code, ground)


RESOURCES: Final = [
    _take(
        "fork_bomb",
        """
        made = []
        try:
            for _ in range(100):
                if (pid := os.fork()) == 0:
                    time.sleep(20)
                    os._exit(0)
                made.append(pid)
        finally:
            for pid in made:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
        """,
    ),
    _take(
        "thread_bomb",
        """
        import threading
        over = threading.Event()
        try:
            for _ in range(100):
                threading.Thread(target=over.wait, daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error))
        finally:
            over.set()
        """,
    ),
    _take("memory_bomb", "bytearray(384 << 20)"),
    _take("mapped_memory_bomb", "import mmap; mmap.mmap(-1, 384 << 20, flags=mmap.MAP_PRIVATE)"),
    _take(
        "big_file",
        """
        with open('big', 'wb') as file:
            file.truncate(2 << 20)
        """,
    ),
    _take(
        "big_file_bit_by_bit",
        """
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open('big', 'wb', buffering=0) as file:
            for _ in range(32):
                assert file.write(bytes(1 << 16)) == 1 << 16
        """,
    ),
    _take(
        "fill_tmp",
        """
        names = [f'/tmp/weft-{os.getpid()}-{number}' for number in range(8)]
        try:
            for name in names:
                with open(name, 'wb') as file:
                    file.write(bytes(1_000_000))
        finally:
            for name in filter(os.path.exists, names):
                os.unlink(name)
        """,
    ),
    _take(
        "fill_shared_memory",
        """
        names = [f'/dev/shm/weft-{os.getpid()}-{number}' for number in range(8)]
        try:
            for name in names:
                with open(name, 'wb') as file:
                    file.write(bytes(1_000_000))
        finally:
            for name in filter(os.path.exists, names):
                os.unlink(name)
        """,
    ),
    _take(
        "lock_memory",
        """
        import mmap
        area = mmap.mmap(-1, 64 << 20)
        checked(libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area))), 64 << 20))
        """,
        Ground.ROOT,
    ),
    _take("many_files_open", "held = [os.dup(0) for _ in range(400)]"),
    _take(
        "dump_core",
        """
        import resource
        assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
        """,
    ),
]
