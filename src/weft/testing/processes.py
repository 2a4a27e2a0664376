"""Child processes for crash tests: started from a function, killed at any instant."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_spawn = multiprocessing.get_context("spawn")


class Child:
    """A process that runs one function; what the function passes to its `report` arrives here in order."""

    def __init__(self, process: BaseProcess, reports: Connection) -> None:
        self.process = process
        self._reports = reports

    def next_report(self, timeout_s: float = 30) -> Any:
        """The next report; raises `EOFError` once the process has ended and all reports are read."""
        if not self._reports.poll(timeout_s):
            raise TimeoutError("the child process reported nothing")
        return self._reports.recv()

    def reports(self) -> list[Any]:
        """Everything reported until the process ended."""
        found = []
        while True:
            try:
                found.append(self.next_report())
            except EOFError:
                return found

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


@contextmanager
def child_process(function: Callable[..., None], *arguments: Any) -> Iterator[Child]:
    """Run the module-level `function(report, *arguments)` in a new process, killed when the block ends.

    The function's file is executed anew there, so it need not be importable by name.
    """
    receiver, sender = _spawn.Pipe(duplex=False)
    where = function.__code__.co_filename, function.__name__
    process = _spawn.Process(target=_run, args=(where, sender, arguments), daemon=True)
    process.start()
    sender.close()
    child = Child(process, receiver)
    try:
        yield child
    finally:
        child.kill()
        receiver.close()


def _run(where: tuple[str, str], reports: Connection, arguments: tuple[Any, ...]) -> None:
    file, name = where
    runpy.run_path(file)[name](reports.send, *arguments)
