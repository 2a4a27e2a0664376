"""The inside of a sandbox as a small program, built at install where there is a C compiler.

It does what `inside/mould.py` and `inside/executor.py` do, in a tenth of the memory.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

_NAME = "weft-inside"
# What it ends with where it is not told what to be.
_USAGE = 2
_LONGEST_S = 10.0
# Of an ELF file's head: its word size and byte order, and its machine (elf(5)).
_WORDS, _MACHINE = slice(4, 6), slice(18, 20)
# Where a 64-bit ELF file says where its program headers are, how long each is, and how many (elf(5)); and the
# kind of the one that names a dynamic linker.
_TABLE = ((32, 8), (54, 2), (56, 2))
_INTERPRETER = 3


PLACE = "/run/weft-inside"
"""Where it stands in a sandbox that another program makes."""


@functools.cache
def program() -> str:
    """The path of the program, empty where none was built that runs on this machine."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), _NAME)
    try:
        if _built_for(path) != _built_for("/proc/self/exe"):
            return ""  # it may run all the same, in an emulator, where the calls that it makes are not
        done = subprocess.run([path], stdin=subprocess.DEVNULL, timeout=_LONGEST_S)
    except (OSError, subprocess.SubprocessError):
        return ""
    return path if done.returncode == _USAGE else ""


def _built_for(path: str) -> tuple[bytes, bytes]:
    with open(path, "rb") as file:
        head = file.read(64)
    return head[_WORDS], head[_MACHINE]


@functools.cache
def stands_alone(path: str) -> bool:
    """Whether a program runs under any libc, since it is linked with all that it needs."""
    if not path:
        return False
    with open(path, "rb") as file:
        head = file.read(64)
        start, size, count = (int.from_bytes(head[at : at + length], sys.byteorder) for at, length in _TABLE)
        file.seek(start)
        kinds = [int.from_bytes(file.read(size)[:4], sys.byteorder) for _ in range(count)]
    return _INTERPRETER not in kinds
