"""A real `weft serve` in a process of its own, which never outlives its test."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import httpx
import pytest


class Served(NamedTuple):
    process: subprocess.Popen[str]
    http: httpx.Client


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WEFT_")}
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**clean, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def served(command: list[str], environ: dict[str, str]) -> Iterator[Served]:
    """The command once it has said where it listens."""
    with running(command, environ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("listening on http://"):
            process.kill()
            pytest.fail(f"said {line!r}, then {process.communicate()}")
        with httpx.Client(base_url=line.split()[-1], timeout=20) as http:
            yield Served(process, http)


Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts servers on free ports that live as long as the module's tests."""
    with ExitStack() as stack:

        def start(*arguments: object, **environ: str) -> Served:
            command = ["-m", "weft", "serve", "--port", "0", *map(str, arguments)]
            return stack.enter_context(served(command, environ))

        yield start
