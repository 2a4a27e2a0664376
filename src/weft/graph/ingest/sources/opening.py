"""Opening event files: plain or compressed, told apart by their first bytes, read as a stream."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import xxhash
import zstandard

from weft.core.errors import Conflict, Corrupt, NotFound, Unavailable
from weft.graph.ingest.model import Offset

_BUFFER_BYTES: Final = 1 << 20


def _zstd(file: BinaryIO) -> Any:
    stream: Any = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return io.BufferedReader(stream, _BUFFER_BYTES)


_DECOMPRESSORS: Final[dict[bytes, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": lambda file: io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER_BYTES),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _zstd,
}
_DAMAGE: Final = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed. Raises `NotFound`, `Unavailable`, and `Corrupt` where it does not
    decompress (bz2 says so by an error of the operating system)."""
    try:
        with path.open("rb", _BUFFER_BYTES) as file:
            decompress = _decompressor(file)
            if decompress is None:
                yield file
                return
            try:
                with decompress(file) as stream:
                    yield cast("BinaryIO", stream)
            except _DAMAGE as error:
                raise _damaged(path, error) from error
            except OSError as error:
                if error.errno is None:
                    raise _damaged(path, error) from error
                raise
    except FileNotFoundError as error:
        raise NotFound(f"there is no file `{path}`", hint="check the path") from error
    except OSError as error:
        raise Unavailable(f"`{path}` cannot be read: {error.strerror}") from error


def is_compressed(path: Path) -> bool:
    """Whether `opened` would decompress the file."""
    with path.open("rb") as file:
        return _decompressor(file) is not None


def read_to(file: BinaryIO, at: int) -> None:
    """Go from the start to byte `at`, also where the file is a stream."""
    if isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO):
        file.seek(at)
        return
    while at > 0 and (skipped := len(file.read(min(at, _BUFFER_BYTES)))):
        at -= skipped


class Mark:
    """Where a record ends in its file, and what it was, so that another file under the name is noticed."""

    def __init__(self, end: int, fingerprint: str, size: int) -> None:
        self.end = end
        self._fingerprint = fingerprint
        self._size = size

    @classmethod
    def of(cls, offset: Offset) -> Mark:
        end, fingerprint, size = offset.mark.split(":")
        return cls(int(end), fingerprint, int(size))

    def resume(self, file: BinaryIO, path: Path, what: str) -> None:
        """Go behind the record in a file just opened; `Conflict` unless it still stands there."""
        read_to(file, self.end - self._size)
        if fingerprint(file.read(self._size)) != self._fingerprint:
            raise Conflict(
                f"`{path}` is not the file that was read before: {what} has changed",
                hint="restore it, or give the source a new name to read it from the start",
            )


def mark_text(end: int, record: bytes) -> str:
    """What `Mark.of` reads: the record's end, and the fingerprint and size of `record`, its last bytes."""
    return f"{end}:{xxhash.xxh3_64_hexdigest(record)}:{len(record)}"


def fingerprint(data: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(data)


def _decompressor(file: BinaryIO) -> Callable[[BinaryIO], Any] | None:
    start = cast("io.BufferedReader", file).peek(8)
    return next((open_ for magic, open_ in _DECOMPRESSORS.items() if start.startswith(magic)), None)


def _damaged(path: Path, error: Exception) -> Corrupt:
    return Corrupt(f"`{path}` does not decompress: {error}", hint="fetch it again, or remove what follows")
