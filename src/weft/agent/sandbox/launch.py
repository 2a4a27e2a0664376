"""Executors that another program holds: it starts the compiled one, or a Python to which ours is sent."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from weft.agent.sandbox import inside
from weft.agent.sandbox.inside import blank
from weft.agent.sandbox.keeper import Keeper, StartFailed
from weft.agent.sandbox.provider import SandboxFailed
from weft.agent.sandbox.wire import GRACE_S, Reply

# Reads one frame from standard input and runs it: short, since it stands in a command line.
_ARRIVE: Final = """\
import os
def take(n):
    d = b""
    while len(d) < n:
        p = os.read(0, n - len(d))
        if not p: os._exit(1)
        d += p
    return d
exec(take(int.from_bytes(take(4), "big")))
"""
_BEGIN: Final = "from inside import guest\nguest.main()\n"
# Asked for nothing else than its own standard library: no site, no user's folder, no variables.
PYTHON_ARGUMENTS: Final = ("-I", "-S", "-c", _ARRIVE)


@functools.cache
def executor_as_text() -> bytes:
    """The frame that `PYTHON_ARGUMENTS` wait for; the guest's spec follows it."""
    (folder,) = map(Path, inside.__path__)
    sources = {f"inside.{path.stem}": path.read_text() for path in sorted(folder.glob("*.py"))}
    sources["inside"] = sources.pop("inside.__init__")
    return f"{sources['inside.boot']}\n\ninstall({sources!r})\n{_BEGIN}".encode()


class Launched(Keeper):
    """A keeper that runs a program, and the executor behind the program's standard input and output."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stage: str,
        state: str,
        frames: Sequence[bytes],
        cgroups: Sequence[str] = (),
        end: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        start_s: float = GRACE_S,
    ) -> None:
        """Start it, or raise `StartFailed`; `state` goes with it either way.

        `frames` are what the executor waits for. `end` is a command that is run once all is over.
        """
        super().__init__(sys.executable)
        self.begin(
            {
                "launch": list(argv),
                "stage": stage,
                "state": state,
                "cgroups": list(cgroups),
                "end": list(end),
                "variables": dict(variables or {}),
            }
        )
        try:
            with contextlib.suppress(SandboxFailed):
                # A program that is slow to start is slow to read, too.
                for frame in frames:
                    super().send_frame(frame, start_s)
            reply = super().receive(start_s)
            if not reply.ready:
                raise StartFailed(reply.failed or "keeper", reply.reason)
            # The bound on all memory inside that a control group sets, as seen there; else a huge number.
            self.memory_bytes = reply.count
        except SandboxFailed as error:
            self.close()
            raise StartFailed(stage, f"no answer within {start_s:g} seconds") from error
        except BaseException:
            self.close()
            raise

    def send_frame(self, body: bytes, timeout_s: float = GRACE_S) -> None:
        """Pass on what is one frame already; `SandboxFailed` as for `receive`."""
        try:
            super().send_frame(body, timeout_s)
        except SandboxFailed:
            self.receive(timeout_s)
            raise

    def receive(self, timeout_s: float) -> Reply:
        """The next reply; `SandboxFailed` where the program has ended, with what it said last."""
        reply = super().receive(timeout_s)
        if reply.failed is not None:
            raise SandboxFailed(
                f"the sandbox has ended ({reply.failed}): {reply.reason}", hint="open a new one"
            )
        return reply


class Inside(NamedTuple):
    """An executor for a program to start."""

    argv: list[str]
    """Its command line."""
    frames: list[bytes]
    """What it waits for."""


def in_python(python: str, told: Mapping[str, object]) -> Inside:
    """One that a Python of the inside runs; `told` is a `guest`."""
    return Inside([python, *PYTHON_ARGUMENTS], [executor_as_text(), msgspec.msgpack.encode(told)])


def compiled(place: str, told: Mapping[str, Any]) -> Inside:
    """The one that `native.program()` names, which stands at a place inside; `told` is a `guest`."""
    order = {
        "plan": blank.guest(told["workspace"], told["rlimits"], told["uid"]),
        "workspace": told["workspace"],
        "environment": told["environment"],
        "cpu_s": told["cpu_s"],
    }
    return Inside([place, "guest"], [msgspec.msgpack.encode(order)])


def guest(
    workspace: str,
    environment: Mapping[str, str],
    rlimits: Mapping[str, int],
    cpu_s: int,
    uid: int | None = None,
    *,
    remote: bool = False,
) -> dict[str, Any]:
    """What an executor is told that another program holds.

    `cpu_s` bounds each process of a command. `uid` is who it becomes, where it starts as root. `remote` says
    that the workspace is where the host does not see it (`inside/remote.py`); the variables there are those
    of the image and of `environment`.
    """
    return {
        "workspace": workspace,
        "environment": dict(environment),
        "rlimits": dict(rlimits),
        "cpu_s": cpu_s,
        "uid": uid,
        "remote": remote,
    }
