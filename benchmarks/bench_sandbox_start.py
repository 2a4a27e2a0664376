"""How long does a sandbox take to open, and a command to run inside?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count, repeat
from pathlib import Path

from _report import Report, elapsed_s, latencies_s, scale_from_arguments

from weft.agent.sandbox import Limits, Sandbox
from weft.agent.sandbox.fleet import reset
from weft.agent.sandbox.fleet.pool import Pool
from weft.agent.sandbox.namespaces import Namespaces
from weft.core.clock import SYSTEM_CLOCK

PYTHON = [sys.executable, "-I", "-S", "-c", "pass"]
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork"]
BUBBLEWRAP = [
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"),
    *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
]
STARTS = 100
COMMANDS = 500
FILES = 100
"""In the workspace."""
STARTERS = 4
"""Threads that open and close sandboxes without a pause."""
MEMORY = "/dev/shm"
PAUSE_S = 0.03
"""Between openings, of which each finds the next sandbox made ahead."""

_sizes = count(1)


def plain(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def inside(box: Sandbox) -> None:
    assert box.run(["true"]).exit_code == 0


def can(command: list[str]) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True).returncode


def cycle_s(workspace: Path) -> tuple[float, ...]:
    """Seconds for opening, the first command, another inside in its place, also with the proof that a pool
    asks for, and closing."""
    SYSTEM_CLOCK.sleep(PAUSE_S)
    opened: list[Sandbox] = []
    open_s = elapsed_s(lambda: opened.append(Sandbox.open(workspace)))
    [box] = opened
    with box:
        fresh = reset.look(box)
        first_s = elapsed_s(lambda: inside(box))
        SYSTEM_CLOCK.sleep(PAUSE_S)
        discard_s = elapsed_s(box.discard)
        inside(box)
        SYSTEM_CLOCK.sleep(PAUSE_S)
        reset_s = elapsed_s(lambda: reset.reset(box, fresh))
        SYSTEM_CLOCK.sleep(PAUSE_S)
        return open_s, first_s, discard_s, reset_s, elapsed_s(box.close)


def cold_s(workspace: Path) -> float:
    """Seconds for opening one of which there is none made ahead, since none was of that size before."""
    limits = Limits(tmp_bytes=(64 << 20) + (next(_sizes) << 12))
    opened: list[Sandbox] = []
    open_s = elapsed_s(lambda: opened.append(Sandbox.open(workspace, limits=limits)))
    opened[0].close()
    return open_s


def leases_s(workspace: Path, times: int) -> list[float]:
    """Seconds until a warm pool gives a sandbox, which it resets in between."""
    taken = []
    with Pool(Namespaces(), memory_bytes=1 << 30) as pool:
        for _ in range(times + 1):
            lease = pool.lease(workspace, client="bench")
            taken.append(elapsed_s(lease.__enter__))
            lease.__exit__(None, None, None)
            SYSTEM_CLOCK.sleep(2 * PAUSE_S)
    return taken[1:]


def starts_per_s(workspace: Path, state: str, starts: int) -> float:
    """Sandboxes that are opened and closed in a second, without a pause, with their state below a folder."""
    with tempfile.TemporaryDirectory(dir=state) as folder, ThreadPoolExecutor(STARTERS) as threads:
        provider = Namespaces(state=folder)
        work = threads.map(lambda _: provider.open(workspace).close(), range(starts))
        return starts / elapsed_s(lambda: list(work))


def file_system(folder: str) -> str:
    """The kind of the file system that the folder is on."""
    device = os.stat(folder).st_dev
    with open("/proc/self/mountinfo") as lines:
        mounts = [line.split() for line in lines]
    at = f"{os.major(device)}:{os.minor(device)}"
    return next((mount[mount.index("-") + 1] for mount in mounts if mount[2] == at), "an unknown file system")


@contextmanager
def workspace_of_files() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        for number in range(FILES):
            (workspace / f"file{number}.txt").write_text(f"line {number}\n")
        yield workspace


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    starts, commands = max(2, int(STARTS * scale)), max(5, int(COMMANDS * scale))
    with workspace_of_files() as workspace:
        with Sandbox.open(workspace) as box:
            outside, within = latencies_s(
                repeat(lambda: plain(["true"]), commands), repeat(lambda: inside(box), commands)
            )
        report.add_latencies("plain subprocess, true", outside)
        report.add_latencies("run true inside", within, floor="plain subprocess, true")
        for name, wrapper in (("unshare", UNSHARE), ("bubblewrap", BUBBLEWRAP)):
            if can([*wrapper, "true"]):
                [taken] = latencies_s(repeat(partial(plain, [*wrapper, "true"]), starts))
                report.add_latencies(f"{name}, true", taken, floor="plain subprocess, true")
            else:
                report.note(f"{name} cannot make a sandbox here.")
        [python] = latencies_s(repeat(lambda: plain(PYTHON), starts))
        report.add_latencies("plain subprocess, python", python)
        cycles = zip(*(cycle_s(workspace) for _ in range(starts)), strict=True)
        opened, first, discarded, recycled, closed = map(list, cycles)
        report.add_latencies("open", opened, floor="plain subprocess, python")
        cold = [cold_s(workspace) for _ in range(starts)]
        report.add_latencies("open, none made ahead", cold, floor="plain subprocess, python")
        report.add_latencies("first command", first, floor="plain subprocess, true")
        report.add_latencies("discard", discarded)
        report.add_latencies("recycle, with its proof", recycled)
        report.add_latencies("close", closed)
        report.add_latencies("lease from a warm pool", leases_s(workspace, max(2, starts // 4)))
        for name, state in (("", tempfile.gettempdir()), (", state in memory", MEMORY)):
            rate = starts_per_s(workspace, state, 4 * starts)
            report.add(f"opened and closed{name}", rate, "sandboxes/s")
        report.note(f"The state is on {file_system(tempfile.gettempdir())}, but where it is in memory.")
    report.note(f"Opened with {PAUSE_S:g} s in between; opened and closed by {STARTERS} threads without.")
    report.print()


if __name__ == "__main__":
    main()
