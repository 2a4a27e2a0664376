"""Whether an LMDB file has lost its end: to read a page that is not there kills the process that reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import lmdb

from weft.core.errors import Corrupt

_READ_ALL: Final = """
import sys, lmdb
folder, locked, *names = sys.argv[1:]
with lmdb.open(folder, readonly=True, lock=locked == "True", max_dbs=len(names)) as environment:
    with environment.begin() as txn:
        found = [name.encode() for name in names if txn.get(name.encode()) is not None]
        for database in [None, *(environment.open_db(name, txn=txn, create=False) for name in found)]:
            for item in txn.cursor(database):
                pass
"""


def check_length(
    environment: lmdb.Environment, data: Path, databases: Sequence[str], *, locked: bool
) -> None:
    """`Corrupt` when the file ends before what is in it.

    It may end before its last page without harm: LMDB does not write pages that the transaction which took
    them also gave back. So in that case, which is rare, another process reads everything; and then the file
    gets its full length, so that it is asked once. `locked` says whether others may be writing.
    """
    whole_bytes = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    found_bytes = data.stat().st_size
    if found_bytes >= whole_bytes:
        return
    command = [sys.executable, "-I", "-c", _READ_ALL, str(data.parent), str(locked), *databases]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise Corrupt(
            f"`{data}` is cut off: {found_bytes:,} bytes of {whole_bytes:,}", hint="restore it from a backup"
        )
    with suppress(OSError), data.open("r+b") as file:
        os.posix_fallocate(file.fileno(), found_bytes, whole_bytes - found_bytes)
