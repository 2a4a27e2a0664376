"""`weft authz export`: all tuples of one moment, to a file that a broken export goes on with.

While an export runs, its file is called `FILE.part`, and `FILE.part.state` says how much of it is whole.
Packed files are written in frames that stand alone, so that a file cut back to its whole frames can go on.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from weft.authz import EXACT, Authz
from weft.authz.zookie import Consistency, ExpiredZookie, ForeignZookie
from weft.cli.authz.options import At, Data, Exact, Latest, moment, open_authz
from weft.cli.inputs import STDIN as STDOUT
from weft.cli.output import Json, emit
from weft.cli.progress import Advance, progress
from weft.core.errors import Corrupt, Denied, Invalid

_TUPLES: Final = 50_000
"""In one frame: what a broken export does again."""


class _State(msgspec.Struct, frozen=True):
    """How much of a part is whole: it ends with the tuple `after`."""

    zookie: str
    bytes: int = 0
    tuples: int = 0
    after: str | None = None


def export(
    file: Annotated[Path, typer.Argument(help="Packed where it ends in .gz or .zst; - is standard output.")],
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Write all tuples of one moment, one on each line, in an order that depends on nothing but them.

    Run again after a break, it goes on where it stopped, at the same moment.

    Example: weft authz export all.zst
    """
    when = moment(at, exact, latest)
    with open_authz(data) as authz:
        if file == STDOUT:
            for line in authz.export_tuples(at=when):
                print(line)
            return
        try:
            with progress("export", None, "tuples", quiet=json) as advance:
                state = _export(authz, file, when, advance)
        except OSError as error:
            raise Denied(
                f"cannot write `{error.filename or file}`: {error.strerror}", hint="name another file"
            ) from error
    fields = {"file": str(file), "tuples": state.tuples, "bytes": state.bytes, "zookie": state.zookie}
    emit(json, fields, f"{state.tuples:,} tuples, zookie {state.zookie}")


def _export(authz: Authz, file: Path, at: Consistency, advance: Advance) -> _State:
    part = Path(f"{file}.part")
    progress_file = Path(f"{part}.state")
    pack = _packer(file)
    state = _resumed(part, progress_file, at) or _State(str(authz.read_schema(at).zookie))
    try:
        lines = authz.export_tuples(at=EXACT(state.zookie), after=state.after)
    except (ExpiredZookie, ForeignZookie) as error:
        raise Invalid(f"`{part}` cannot go on: {error.message}", hint=_again(progress_file)) from error
    with part.open("r+b" if part.exists() else "wb") as opened:
        _keep(progress_file, state)
        opened.truncate(state.bytes)
        opened.seek(state.bytes)
        for frame, tuples, last in _frames(lines, pack):
            opened.write(frame)
            opened.flush()
            os.fsync(opened.fileno())
            state = _State(state.zookie, opened.tell(), state.tuples + tuples, last)
            _keep(progress_file, state)
            advance(0, state.tuples)
    progress_file.unlink()
    part.replace(file)
    return state


def _frames(lines: Iterator[str], pack: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, int, str]]:
    while group := list(islice(lines, _TUPLES)):
        yield pack("".join(f"{line}\n" for line in group).encode()), len(group), group[-1]


def _packer(file: Path) -> Callable[[bytes], bytes]:
    if file.suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().compress
    if file.suffix == ".gz":
        return lambda data: gzip.compress(data, mtime=0)
    return bytes


def _resumed(part: Path, progress_file: Path, at: Consistency) -> _State | None:
    """The state of a broken export, if there is one."""
    if not part.exists() or not progress_file.exists():
        return None
    again = _again(progress_file)
    if at is not None:
        raise Invalid(f"`{part}` is an export that goes on at its own moment", hint=again)
    try:
        state = msgspec.json.decode(progress_file.read_bytes(), type=_State)
    except msgspec.DecodeError as error:
        raise Corrupt(f"`{progress_file}` is damaged", hint=again) from error
    if part.stat().st_size < state.bytes:
        raise Corrupt(f"`{part}` is shorter than its state says", hint=again)
    return state


def _again(progress_file: Path) -> str:
    return f"remove `{progress_file}` to begin again"


def _keep(progress_file: Path, state: _State) -> None:
    fresh = Path(f"{progress_file}.new")
    fresh.write_bytes(msgspec.json.encode(state))
    fresh.replace(progress_file)
