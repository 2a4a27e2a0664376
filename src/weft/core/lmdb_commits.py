"""The number of the last commit, one load away: LMDB keeps it in its lock file, which is mapped here.

Every reader that begins takes its snapshot's number from there. The writer puts it there inside its critical
section, once the commit is durable; where it died in between, LMDB itself puts that right before it lets the
next writer in. So the number is never ahead of what a reader would see, nor behind what was acknowledged.
"""

from __future__ import annotations

import mmap
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Final

import lmdb

from weft.core.lmdb_files import LOCK_FILE

_HEADER: Final = struct.pack("=II", 0xBEEFC0DE, 0x1_0001)
"""LMDB's mark, and the version of the lock file's layout; then come a mutex, and the number."""
_MUTEX_BYTES: Final = {("linux", "x86_64"): 40, ("linux", "aarch64"): 48}
_ATTEMPTS: Final = 100
"""While other processes commit, two ways to ask may see two numbers."""


class LastCommit:
    """One mapped lock file. Close it after the environment: closing any descriptor of the file takes LMDB's
    own locks on it away."""

    def __init__(self, folder: Path, environment: lmdb.Environment) -> None:
        self._descriptor = -1
        self._descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
        mapped = memoryview(mmap.mmap(self._descriptor, mmap.PAGESIZE, access=mmap.ACCESS_READ))
        self.number: memoryview | None = _find(mapped, environment)
        """At 0, the number of the last commit by any process; None where the file's layout is not known."""

    def close(self) -> None:
        self.number = None
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _find(mapped: memoryview, environment: lmdb.Environment) -> memoryview | None:
    mutex_bytes = _MUTEX_BYTES.get((sys.platform, platform.machine()))
    if mutex_bytes is None or mapped[: len(_HEADER)] != _HEADER:
        return None
    start = len(_HEADER) + mutex_bytes
    number = mapped[start : start + 8].cast("Q")
    agreed = any(number[0] == environment.info()["last_txnid"] for _ in range(_ATTEMPTS))
    return number if agreed else None
