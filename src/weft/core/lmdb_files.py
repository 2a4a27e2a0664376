"""What can go wrong around an LMDB directory: making it, telling whose it is, and naming its errors."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec

from weft.core.codec import decode, encode
from weft.core.errors import Bug, Corrupt, Denied, Invalid, NotFound, Unavailable, WeftError
from weft.core.lmdb_length import check_length

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "lock.mdb"
_MARKER_KEY: Final = b"weft.format"
# Each reading thread of each process keeps a slot of 64 bytes.
_MAX_READERS: Final = 2_048
_SPARE_READS: Final = 16


class Format(msgspec.Struct, frozen=True):
    """Which library wrote a directory, in which version of its layout."""

    name: str
    version: int


@contextmanager
def locked_directory(folder: Path, *, create: bool) -> Iterator[None]:
    """Hold the folder's lock against other openers; on an error take back what was made meanwhile."""
    made: list[Path] = []
    found: set[str] = set()
    try:
        if create:
            _make_folders(folder, made)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            found = set(os.listdir(folder))
            yield
        except BaseException:
            for name in {DATA_FILE, LOCK_FILE} - found:
                (folder / name).unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    except BaseException as error:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError | lmdb.Error):
            raise error_for(error, folder) from error
        raise


def _make_folders(folder: Path, made: list[Path]) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        made.append(path)


def open_environment(
    folder: Path, expected: Format, databases: Sequence[str], *, readonly: bool, map_bytes: int
) -> tuple[lmdb.Environment, dict[str, Any]]:
    """The environment and its database handles, after making sure that the folder is ours."""
    _check_files(folder, expected, databases, readonly)
    environment = lmdb.open(
        str(folder),
        map_size=map_bytes,
        max_dbs=len(databases),
        max_readers=_MAX_READERS,
        max_spare_txns=_SPARE_READS,
        readonly=readonly,
        create=not readonly,
        mode=0o600,
    )
    try:
        environment.reader_check()
        while True:
            try:
                check_length(environment, folder / DATA_FILE, databases, locked=True)
                return environment, _open_databases(environment, folder, expected, databases, readonly)
            except lmdb.MapResizedError:
                environment.set_mapsize(0)
    except BaseException:
        environment.close()
        raise


def _check_files(folder: Path, expected: Format, databases: Sequence[str], readonly: bool) -> None:
    names = {name for name in os.listdir(folder) if not name.startswith(".") and name != "lost+found"}
    data = folder / DATA_FILE
    if DATA_FILE not in names:
        if readonly:
            raise NotFound(
                f"`{folder}` holds no data", hint="check the path, or open it for writing to create it"
            )
        if names - {LOCK_FILE}:
            raise Invalid(f"`{folder}` holds other files", hint="name a new or an empty folder")
    elif LOCK_FILE not in names and data.stat().st_size:
        # Nobody has it open: look without leaving a lock file in what may be another program's folder.
        with lmdb.open(str(folder), readonly=True, lock=False) as environment:
            check_length(environment, data, databases, locked=False)
            with environment.begin() as txn:
                _check_format(txn, folder, expected)


def _check_format(txn: lmdb.Transaction, folder: Path, expected: Format) -> bool:
    """Whether the environment is marked as ours; False when it is still empty."""
    marker = txn.get(_MARKER_KEY)
    if marker is None:
        if txn.stat()["entries"]:
            raise Invalid(
                f"`{folder}` holds the LMDB data of another program", hint="name a new or an empty folder"
            )
        return False
    found = decode(marker, Format, f"the format marker of `{folder}`")
    if found.name != expected.name:
        raise Invalid(
            f"`{folder}` holds `{found.name}` data, not `{expected.name}`", hint="name another folder"
        )
    if found.version != expected.version:
        raise Invalid(
            f"`{folder}` has format version {found.version}, this weft reads {expected.version}",
            hint="upgrade weft"
            if found.version > expected.version
            else "export it with the weft that wrote it",
            found=found.version,
            expected=expected.version,
        )
    return True


def _open_databases(
    environment: lmdb.Environment, folder: Path, expected: Format, databases: Sequence[str], readonly: bool
) -> dict[str, Any]:
    with environment.begin() as txn:
        ours = _check_format(txn, folder, expected)
    if ours:
        return {name: environment.open_db(name.encode(), create=False) for name in databases}
    if readonly:
        raise NotFound(f"`{folder}` holds no data yet", hint="open it for writing once")
    with environment.begin(write=True) as txn:
        txn.put(_MARKER_KEY, encode(expected))
        return {name: environment.open_db(name.encode(), txn=txn) for name in databases}


_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
# Less than a commit writes.
_SPARE_BYTES: Final = 64 << 10
_IN_THE_WAY: Final = {errno.EEXIST, errno.ENOTDIR}


def error_for(error: BaseException, path: Path) -> WeftError:
    """The weft error that names the remedy for an error of lmdb or of the operating system."""
    if isinstance(error, WeftError):
        return error
    code = error.errno if isinstance(error, OSError) else _errno_in(str(error))
    if code in _FULL or (code == errno.EIO and _is_full(path)):
        return Unavailable(f"the disk under `{path}` is full", hint="free some space, then try again")
    if code in _FORBIDDEN:
        return Denied(
            f"this user may not write in `{path}`", hint="give the user the right, or name another folder"
        )
    if code == errno.ENOENT:
        return NotFound(f"`{path}` does not exist", hint="check the path")
    if code in _IN_THE_WAY:
        return Invalid(f"`{path}` is a file", hint="name a folder")
    if code == errno.ENOMEM:
        return Unavailable(f"no address space left to map `{path}`", hint="raise the process's memory limit")
    if isinstance(error, lmdb.ReadersFullError):
        return Unavailable(f"`{path}` has {_MAX_READERS:,} readers already", hint="close some of them")
    if isinstance(error, lmdb.PanicError):
        return Unavailable(f"a write to `{path}` failed half-way", hint="close it and open it again")
    if isinstance(error, lmdb.InvalidError | lmdb.CorruptedError | lmdb.PageNotFoundError):
        return Corrupt(f"`{path}` is damaged or not LMDB data ({error})", hint="restore it from a backup")
    if isinstance(error, lmdb.VersionMismatchError):
        return Corrupt(f"`{path}` was written by another version of LMDB", hint="export and import the data")
    if isinstance(error, OSError) or code == errno.EIO:
        return Unavailable(f"`{path}`: {error}", hint="see what the operating system says about it")
    return Bug(f"`{path}`: {error}", hint="please report it")


def _is_full(path: Path) -> bool:
    """Whether there is no space left: LMDB calls a write that the disk took in part an input/output error."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _SPARE_BYTES


def _errno_in(message: str) -> int | None:
    """lmdb's errors carry no number, only the system's text for it."""
    for code in (*_FULL, *_FORBIDDEN, errno.ENOENT, errno.ENOMEM, errno.EIO):
        if message.endswith(os.strerror(code)):
            return code
    return None
