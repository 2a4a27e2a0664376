"""Repository snapshots: a folder packed under the name of its content, and a machine's shelf of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec
import zstandard

from weft.core.errors import Corrupt, Invalid, NotFound
from weft.core.limits import MAX_SNAPSHOT_BYTES, within

_LEVEL = 3


class _File(msgspec.Struct, array_like=True, frozen=True):
    """A file or link by its path below the root; `mode` is git's."""

    path: bytes
    mode: int
    data: bytes


_FILE, _EXECUTABLE, _LINK = 0o100644, 0o100755, 0o120000


def pack(folder: str | os.PathLike[str]) -> tuple[str, bytes]:
    """The snapshot's name, which is the SHA-256 of its content, and its bytes.

    As in git, a folder exists by its files, and of a mode only the executable bit counts; sockets, pipes and
    devices are left out. The same files always have the same name.
    """
    root = os.fsencode(os.path.realpath(folder))
    if not os.path.isdir(root):
        raise NotFound(f"there is no folder `{os.fspath(folder)}`", hint="name the repository's folder")
    body = msgspec.msgpack.encode(list(_files(root)))
    return hashlib.sha256(body).hexdigest(), zstandard.compress(body, _LEVEL)


def unpack(name: str, data: bytes, folder: str) -> None:
    """Write the snapshot to a folder that is not there yet; `Corrupt` where it is not what its name says."""
    try:
        body = zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_SNAPSHOT_BYTES)
        if hashlib.sha256(body).hexdigest() != name:
            raise ValueError("another content")
        files = msgspec.msgpack.decode(body, type=list[_File])
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise Corrupt(f"snapshot `{name}` is damaged: {error}", hint="upload it again") from error
    root = os.fsencode(folder)
    os.mkdir(root, 0o755)
    # Links come last: nothing is written through one.
    for file in sorted(files, key=lambda each: each.mode == _LINK):
        _write(root, file)


def _files(root: bytes) -> Iterator[_File]:
    total = 0
    for at, folders, names in os.walk(root):
        folders.sort()
        for name in sorted([*names, *(each for each in folders if os.path.islink(os.path.join(at, each)))]):
            full = os.path.join(at, name)
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                file = _File(os.path.relpath(full, root), _LINK, os.readlink(full))
            elif stat.S_ISREG(mode):
                with open(full, "rb") as opened:
                    data = opened.read()
                file = _File(os.path.relpath(full, root), _EXECUTABLE if mode & 0o100 else _FILE, data)
            else:
                continue
            total += len(file.data) + len(file.path)
            within("the snapshot", total, MAX_SNAPSHOT_BYTES)
            yield file


def _write(root: bytes, file: _File) -> None:
    parts = file.path.split(b"/")
    if not all(parts) or {b".", b".."} & set(parts) or file.mode not in (_FILE, _EXECUTABLE, _LINK):
        raise Corrupt(f"a snapshot cannot hold `{os.fsdecode(file.path)}`", hint="upload it again")
    full = os.path.join(root, file.path)
    os.makedirs(os.path.dirname(full), 0o755, exist_ok=True)
    if file.mode == _LINK:
        os.symlink(file.data, full)
        return
    fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode & 0o777)
    with open(fd, "wb") as opened:
        opened.write(file.data)


class Shelf:
    """The snapshots on one machine's disk: packed, for others, and as a folder, for sandboxes."""

    def __init__(self, root: str, limit_bytes: int) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self._lock = threading.Condition()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._used: dict[str, int] = {}
        self._coming: set[str] = set()

    @property
    def names(self) -> list[str]:
        """What is there, the longest unused first."""
        with self._lock:
            return list(self._sizes)

    def put(self, name: str, fetch: Callable[[], bytes]) -> None:
        """Have the snapshot, from `fetch` where it is not there; whoever else wants it meanwhile waits."""
        with self._lock:
            self._lock.wait_for(lambda: name not in self._coming)
            if name in self._sizes:
                self._sizes.move_to_end(name)
                return
            self._coming.add(name)
        try:
            data = fetch()
            self._unpack(name, data)
            with self._lock:
                self._sizes[name] = len(data)
                self._make_room()
        finally:
            with self._lock:
                self._coming.remove(name)
                self._lock.notify_all()

    def take(self, name: str) -> str:
        """The snapshot's folder, which stays until `give_back`. Nobody may write to it."""
        with self._lock:
            if name not in self._sizes:
                raise NotFound(f"snapshot `{name}` is not on this machine", hint="upload it again")
            self._sizes.move_to_end(name)
            self._used[name] = self._used.get(name, 0) + 1
        return f"{self._root}/{name}"

    def give_back(self, name: str) -> None:
        """One user fewer."""
        with self._lock:
            self._used[name] -= 1
            if not self._used[name]:
                del self._used[name]
            self._make_room()

    def read(self, name: str) -> bytes | None:
        """The packed snapshot, None where it is not here."""
        with self._lock:
            if name not in self._sizes:
                return None
            with open(f"{self._root}/{name}.packed", "rb") as file:
                return file.read()

    def _unpack(self, name: str, data: bytes) -> None:
        if len(name) != 64 or set(name) - set("0123456789abcdef"):
            raise Invalid(f"`{name}` is no snapshot's name", hint="use what `Fleet.snapshot` returned")
        part = f"{self._root}/{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            unpack(name, data, part)
            with open(f"{self._root}/{name}.packed", "wb") as file:
                file.write(data)
            os.rename(part, f"{self._root}/{name}")
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _make_room(self) -> None:
        """Drop what is longest unused; the newest stays in any case."""
        total = sum(self._sizes.values())
        for name in list(self._sizes)[:-1]:
            if total <= self._limit_bytes:
                return
            if name not in self._used:
                total -= self._sizes.pop(name)
                os.unlink(f"{self._root}/{name}.packed")
                shutil.rmtree(f"{self._root}/{name}", ignore_errors=True)
