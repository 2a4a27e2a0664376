"""Attempts on what runs the commands: it stands nearer to the owner than they do."""

from __future__ import annotations

from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt, Ground


def _executor(name: str, code: str, ground: Ground = Ground.BARE) -> Attempt:
    return Attempt(name, Promise.PROCESSES, code, ground)


_SEIZE = 0x4206

EXECUTOR: Final = [
    _executor("kill_executor", "os.kill(EXECUTOR, 9); time.sleep(0.1); assert os.getppid() != EXECUTOR"),
    _executor("end_executor", "os.kill(EXECUTOR, 15); time.sleep(0.1); assert os.getppid() != EXECUTOR"),
    _executor(
        "stop_executor",
        """
        os.kill(EXECUTOR, 19)
        time.sleep(0.05)
        stopped = state_of(EXECUTOR) in 'tT'
        os.kill(EXECUTOR, 18)
        assert stopped
        """,
    ),
    _executor("trace_executor", f"call('ptrace', {_SEIZE}, EXECUTOR, 0, 0)"),
    _executor("memory_of_executor", "touch(f'/proc/{EXECUTOR}/mem')"),
    _executor("memory_map_of_executor", "assert open(f'/proc/{EXECUTOR}/maps').read()"),
    _executor(
        "read_memory_of_executor",
        """
        vector = (ctypes.c_ulong * 2)(0x1000, 8)
        reach('process_vm_readv', EXECUTOR, vector, 1, vector, 1, 0)
        """,
    ),
    _executor(
        "write_memory_of_executor",
        """
        vector = (ctypes.c_ulong * 2)(0x1000, 8)
        reach('process_vm_writev', EXECUTOR, vector, 1, vector, 1, 0)
        """,
    ),
    _executor("descriptors_of_executor", "assert os.listdir(f'/proc/{EXECUTOR}/fd')"),
    _executor("descriptor_of_executor", "call('pidfd_getfd', call('pidfd_open', EXECUTOR, 0), 0, 0)"),
    _executor("root_of_executor", "os.listdir(f'/proc/{EXECUTOR}/root/')"),
    _executor("folder_of_executor", "os.listdir(f'/proc/{EXECUTOR}/cwd/')"),
    _executor("program_of_executor", "os.open(f'/proc/{EXECUTOR}/exe', os.O_RDONLY)"),
    # As runc was broken out of (CVE-2019-5736): what runs a command is overwritten for the next one.
    _executor("overwrite_executor", "touch(f'/proc/{EXECUTOR}/exe')", Ground.ROOT),
    _executor("overwrite_interpreter", "touch('/proc/self/exe')", Ground.ROOT),
    _executor("preload_into_others", "touch('/etc/ld.so.cache')", Ground.ROOT),
    _executor("plant_beside_interpreter", "unnamed_file_in(os.path.dirname(os.__file__))", Ground.ROOT),
    _executor("namespace_of_executor", "os.open(f'/proc/{EXECUTOR}/ns/mnt', os.O_RDONLY)"),
    _executor("compare_with_executor", "call('kcmp', os.getpid(), EXECUTOR, 2, 0, 0)"),
    _executor("trace_outside", f"call('ptrace', {_SEIZE}, PID, 0, 0)"),
]
