"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weft.core.errors import Conflict, Denied


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` once all is written."""
    part = Path(f"{path}.part")
    with _explained(path):
        try:
            yield part
            _sync(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to write to, which is `path` once all is written; `Conflict` when that holds anything."""
    part = Path(f"{path}.part")
    with _explained(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Conflict(f"there is something in `{path}` already", hint="name a new folder")
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            yield part
            for file in part.iterdir():
                _sync(file)
            part.replace(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Denied(
            f"cannot write `{path}`: {error.strerror or error}", hint="name another place"
        ) from error


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
