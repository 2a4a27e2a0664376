"""Text that commands take in: files, compressed or not, and standard input."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from weft.core.errors import Denied, Invalid, NotFound, WeftError
from weft.core.limits import MAX_LINE_BYTES, within

STDIN: Final = Path("-")
_PLAIN_BYTES: Final = 1 << 16
# A block of zstd holds up to 128 KiB in 4 bytes: this many bytes become at most 64 MiB.
_ZST_BYTES: Final = 2 << 10


@contextmanager
def open_binary(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, or of standard input for `-`; what is wrong with it is one clear error."""
    if file == STDIN:
        yield sys.stdin.buffer
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise _refused(file, error) from error
    with opened:
        yield opened


def read_text(file: Path) -> str:
    """The whole text of a file, at most 16 MiB of UTF-8."""
    with open_binary(file) as opened:
        try:
            raw = opened.read(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise _refused(file, error) from error
    within(f"`{shown(file)}`", len(raw), MAX_LINE_BYTES)
    return _decoded(raw, shown(file))


def read_lines(file: Path, opened: BinaryIO) -> Iterator[str]:
    """The lines of an open file, unpacked where its name ends in `.gz` or `.zst`; memory stays bounded."""
    name = shown(file)
    for number, line in enumerate(_split(_chunks(file, opened), name), 1):
        yield _decoded(line, f"{name}: line {number}")


def shown(file: Path) -> str:
    """What messages call the file."""
    return "standard input" if file == STDIN else str(file)


def _chunks(file: Path, opened: BinaryIO) -> Iterator[bytes]:
    try:
        if file.suffix == ".zst":
            yield from _unpacked_zst(opened)
        elif file.suffix == ".gz":
            with gzip.GzipFile(fileobj=opened) as unpacked:
                while chunk := unpacked.read(_PLAIN_BYTES):
                    yield chunk
        else:
            while chunk := opened.read(_PLAIN_BYTES):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Invalid(f"`{shown(file)}` is cut off or damaged", hint="make it again") from error


def _unpacked_zst(opened: BinaryIO) -> Iterator[bytes]:
    import zstandard

    frame = None
    try:
        while raw := opened.read(_ZST_BYTES):
            while raw:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(raw)
                raw, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    except zstandard.ZstdError as error:
        raise EOFError from error
    if frame is not None:
        raise EOFError


def _split(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        within(f"a line of `{name}`", len(rest), MAX_LINE_BYTES)
    if rest:
        yield rest


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"`{where}` is not UTF-8 at byte {error.start:,}", hint="save it as UTF-8") from error


def _refused(file: Path, error: OSError) -> WeftError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"there is no file `{file}`", hint="name one that exists, or `-` for standard input")
    if isinstance(error, IsADirectoryError):
        return Invalid(f"`{file}` is a folder", hint="name a file")
    return Denied(f"cannot read `{file}`: {error.strerror}", hint="name a readable file")
