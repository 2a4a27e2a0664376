"""The controls: outside, where nothing stops it, each attempt gets through."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from weft.testing.sandbox import scratch
from weft.testing.sandbox.attempt import Attempt, Ground, Verdict
from weft.testing.sandbox.hostile import ATTEMPTS
from weft.testing.sandbox.outside import TIMEOUT_S, Outside, outside_world

LINK_LOCAL: Final = "169.254.169.254"
"""Where clouds keep the credentials of a machine."""

# CPU seconds, blocks of 512 bytes in a file, KiB of addresses, descriptors; no core.
_LIMITS: Final = "ulimit -t 20; ulimit -f 65536; ulimit -v 4000000; ulimit -n 512; ulimit -S -c 0;"
# The shell stays, as the process that an attempt may take for an executor.
_AS_A_CHILD: Final = ["/bin/sh", "-c", _LIMITS + ' "$@"; exit $?', "sh"]
_NEW_NAMESPACES: Final = [
    *("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--mount-proc"),
    *("--uts", "--ipc", "--cgroup", "--kill-child"),
]


def run_control(outside: Outside, attempt: Attempt) -> tuple[Verdict, str]:
    """Make the attempt with nothing in its way but harmless bounds: how it ended, and what it printed."""
    command = attempt.program(sys.executable, outside.values(str(outside.workspace)))
    if attempt.ground is Ground.NAMESPACES:
        text = Path(inspect.getfile(scratch)).read_text()
        there = [sys.executable, "-I", "-S", "-c", text, LINK_LOCAL, str(outside.port)]
        command = [*_NEW_NAMESPACES, *there, *command]
    folder = outside.workspace / attempt.name
    folder.mkdir()
    done = subprocess.run(
        [*_AS_A_CHILD, *command],
        cwd=folder,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        timeout=TIMEOUT_S,
        text=True,
        errors="replace",
        check=False,
    )
    return verdict(outside, attempt, done.stdout), done.stdout


def verdict(outside: Outside, attempt: Attempt, output: str) -> Verdict:
    """By the trace that is seen outside, where the attempt leaves one; else by the program's word."""
    word = Verdict.of(output)
    if attempt.seen is None or word is Verdict.BROKEN:
        return word
    return Verdict.REACHED if attempt.seen(outside) else Verdict.REFUSED


class ControlContract:
    """An attempt that cannot succeed anywhere proves nothing: each has to succeed here."""

    @pytest.fixture
    def outside(self, tmp_path: Path) -> Iterator[Outside]:
        """A world of its own for each attempt, which is not spared."""
        with outside_world(tmp_path) as world:
            yield world

    @pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
    def test_attempt_gets_through(self, outside: Outside, attempt: Attempt) -> None:
        if attempt.ground is Ground.ROOT and os.geteuid() != 0:
            pytest.skip(f"{attempt.name} gets through as root only")
        how, output = run_control(outside, attempt)
        if how is Verdict.ABSENT:
            pytest.skip(f"{attempt.name}: {output.strip().splitlines()[-1]}")
        assert how is Verdict.REACHED, output
