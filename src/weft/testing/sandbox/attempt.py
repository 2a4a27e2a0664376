"""What a hostile case is: an attempt, the promise it attacks, what shows that it got through, its control."""

from __future__ import annotations

import enum
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from weft.agent.sandbox import Promise
from weft.testing.sandbox import prelude


class Ground(enum.Enum):
    """Where an attempt harms nobody even though nothing stops it: there its control is run."""

    BARE = "in a scratch folder, as the user who runs the tests"
    ROOT = "in a scratch folder, as root, who alone has what is attacked"
    NAMESPACES = (
        "as root of namespaces made for it: mounts, processes, a host name, a network of one loopback"
    )


class Verdict(enum.Enum):
    """How an attempt ended, by what its program printed."""

    REACHED = "it got through"
    REFUSED = "something refused it"
    ABSENT = "the kernel does not offer it to anybody"
    BROKEN = "it broke for a reason of its own, or was never made: nothing is proved"

    @staticmethod
    def of(output: str) -> Verdict:
        """By the program's last word."""
        lines = output.strip().splitlines()
        if not any(line.strip() == "TRYING" for line in lines):
            return Verdict.BROKEN
        word = lines[-1].split(" ")[0]
        return Verdict[word] if word in ("REACHED", "REFUSED", "ABSENT") else Verdict.BROKEN


class Attempt(msgspec.Struct, frozen=True):
    """One hostile program. It gets through where its code runs to its end, or where a trace is seen outside.

    The code has `prelude` at hand, the names that `Outside.values` gives, and a folder of its own to work in.
    """

    name: str
    promise: Promise
    code: str
    ground: Ground = Ground.BARE
    seen: Callable[[Any], bool] | None = None
    """Given the `Outside`: whether a trace is seen there afterwards; then the program's word is nothing."""
    commit: bool = False
    """Whether the owner commits, before a trace is looked for."""

    def program(self, python: str, values: Mapping[str, object]) -> list[str]:
        """The command that makes the attempt."""
        return [python, "-I", "-S", "-c", _prelude(), repr(dict(values)), textwrap.dedent(self.code)]


@functools.cache
def _prelude() -> str:
    return Path(inspect.getfile(prelude)).read_text()
