"""How long does a sandbox take to open, and a command to run inside?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from itertools import repeat
from pathlib import Path

from _report import Report, elapsed_s, latencies_s, scale_from_arguments

from weft.agent.sandbox import Sandbox

PYTHON = [sys.executable, "-I", "-S", "-c", "pass"]
STARTS = 100
COMMANDS = 500
FILES = 100
"""In the workspace."""


def plain(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def inside(box: Sandbox) -> None:
    assert box.run(["true"]).exit_code == 0


def start_s(workspace: Path) -> tuple[float, float, float]:
    """Seconds for opening a sandbox, for the first command in it, and for closing it."""
    opened: list[Sandbox] = []
    open_s = elapsed_s(lambda: opened.append(Sandbox.open(workspace)))
    [box] = opened
    with box:
        first_s = elapsed_s(lambda: inside(box))
        close_s = elapsed_s(box.close)
    return open_s, first_s, close_s


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    starts, commands = max(2, int(STARTS * scale)), max(5, int(COMMANDS * scale))
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        for number in range(FILES):
            (workspace / f"file{number}.txt").write_text(f"line {number}\n")

        with Sandbox.open(workspace) as box:
            outside, within = latencies_s(
                repeat(lambda: plain(["true"]), commands), repeat(lambda: inside(box), commands)
            )
        [python] = latencies_s(repeat(lambda: plain(PYTHON), starts))
        opened, first, closed = zip(*(start_s(workspace) for _ in range(starts)), strict=True)
        report.add_latencies("plain subprocess, true", outside)
        report.add_latencies("run true inside", within, floor="plain subprocess, true")
        report.add_latencies("plain subprocess, python", python)
        report.add_latencies("open", list(opened), floor="plain subprocess, python")
        report.add_latencies("first command", list(first), floor="plain subprocess, true")
        report.add_latencies("close", list(closed))
    report.print()


if __name__ == "__main__":
    main()
