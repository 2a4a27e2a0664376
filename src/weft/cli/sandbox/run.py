"""`weft sandbox run`: one command in a fresh sandbox."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from weft.agent.sandbox import Change, Denial, Result
from weft.cli.output import Json, emit, note
from weft.cli.sandbox import changed
from weft.cli.sandbox.options import (
    Image,
    Keep,
    Memory,
    Provider,
    ProviderName,
    Timeout,
    Workspace,
    open_sandbox,
)
from weft.cli.terminal import escaped

_TIMED_OUT: Final = 124  # as timeout(1) has it
_SIGNALLED: Final = 128


def run(
    command: Annotated[
        list[str],
        typer.Argument(metavar="CMD", help="After `--`, as it is, without a shell.", show_default=False),
    ],
    workspace: Workspace = Path("."),
    timeout: Timeout = 600.0,
    memory: Memory = None,
    keep: Keep = False,
    provider: ProviderName = Provider.NAMESPACES,
    image: Image = None,
    json: Json = False,
) -> None:
    """Run a command on a throw-away copy of a workspace, with no network and no way out.

    What it prints is standard output, what it changed is told on standard error. The exit code is its own, or
    124 where its time was over, 128 and the number of the signal that ended it, 2 where there was no sandbox.

    Example: weft sandbox run --timeout 60 -- make test
    """
    with open_sandbox(provider, workspace, memory, image) as box:
        shown = _Output(quiet=json)
        result = box.run(command, timeout_s=timeout, on_output=shown.take)
        shown.rest(result.output)
        kept = keep and not result.timed_out
        changes = changed.settle(box, keep=kept)
    if json:
        emit(True, _fields(result, changes, kept), "")
    else:
        _tell(result, changes, kept, timeout)
    raise typer.Exit(_exit_code(result))


class _Output:
    """Prints output as it comes: as it is, except that a terminal is kept from obeying it."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._shown = 0

    def take(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        self._shown += len(text)
        self._print(text)

    def rest(self, whole: str) -> None:
        """Print what has not come before the command ended."""
        self._print(whole[self._shown :])

    def _print(self, text: str) -> None:
        if text and not self._quiet:
            safe = "\n".join(map(escaped, text.split("\n"))) if sys.stdout.isatty() else text
            print(safe, end="", flush=True)


def _tell(result: Result, changes: list[Change], kept: bool, timeout_s: float) -> None:
    if result.timed_out:
        note(f"the time of {timeout_s:g} s was over")
    for denial in result.denied:
        note(_lacked(denial))
    for line in changed.summary(changes, kept=kept):
        note(line)


def _lacked(denial: Denial) -> str:
    """What the command seems to have lacked, and how it could have it."""
    what = f"the sandbox seems to have refused {denial.kind}: {denial.what}"
    match denial.kind:
        case "place":
            what = f"the sandbox does not show `{denial.target}`"
            way = "copy it into the workspace"
        case "network":
            way = "fetch it beforehand"
        case "path":
            way = "write in the workspace or in /tmp"
        case "call":
            way = "do without it"
    return f"{what}; {way}, or run with --provider unconfined"


def _fields(result: Result, changes: list[Change], kept: bool) -> dict[str, object]:
    return {
        "exit_code": _exit_code(result),
        "timed_out": result.timed_out,
        "duration_s": result.duration_s,
        "output": result.output,
        "omitted_bytes": result.omitted_bytes,
        "denied": [msgspec.structs.asdict(denial) for denial in result.denied],
        "changes": [changed.fields(change) for change in changes],
        "kept": kept,
    }


def _exit_code(result: Result) -> int:
    if result.timed_out:
        return _TIMED_OUT
    return result.exit_code if result.exit_code >= 0 else _SIGNALLED - result.exit_code
