"""Many sandboxes alive at once on one machine: all answer, none is large, none sees another, none stays."""

from __future__ import annotations

import gc
import glob
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from weft.agent.sandbox import Sandbox, native, session, template
from weft.agent.sandbox.confined import Confined
from weft.agent.sandbox.inside import cgroups
from weft.agent.sandbox.namespaces import Namespaces

_THREADS = 4


@contextmanager
def descriptors(sandboxes: int) -> Iterator[None]:
    """As many as an owner of so many needs, and a template that inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * sandboxes + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this user may open {hard} files, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        template._retire()


def live_at_once(folder: Path, count: int) -> int:
    """Open so many in an empty folder, have each do something of its own, close them and look what is left.

    Returns how many bytes less the machine has to give with all of them alive.
    """
    work, state = folder / "work", folder / "state"
    work.mkdir()
    state.mkdir()
    (work / "a").write_text("a\n")
    provider = Namespaces(state=str(state))
    provider.open(work).close()
    gc.collect()
    before, room = _open_descriptors(), available_bytes()
    boxes: list[Sandbox] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            boxes.extend(threads.map(lambda _: provider.open(work), range(count)))
            pids = [_executor(box).pid for box in boxes]
            assert len(set(pids)) == count
            began = {pid: _began(pid) for pid in pids}
            taken = room - available_bytes()
            list(threads.map(lambda n: boxes[n].run(f"echo {n} > a; echo {n} > /tmp/n"), range(count)))
            seen = list(threads.map(lambda box: box.run("cat a /tmp/n; ls /proc | grep -c '^[0-9]'"), boxes))
            assert [each.output.split()[:2] for each in seen] == [[str(n)] * 2 for n in range(count)]
            # The executor, the shell and its two children.
            assert {int(each.output.split()[2]) for each in seen} <= {3, 4}
            if os.geteuid() == 0:
                assert sum(map(_own_bytes, pids)) < count * _most_bytes()
        finally:
            list(threads.map(lambda box: box.close(), boxes))
    assert not [pid for pid in pids if _began(pid) == began[pid]]
    assert list(state.iterdir()) == []
    assert not _open_descriptors() - before, "descriptors are left"
    assert str(state) not in Path("/proc/self/mountinfo").read_text()
    _check_groups()
    return taken


def _check_groups() -> None:
    """With the template go the control groups that it has made."""
    assert template._template is not None
    own = template._template.pid
    template._retire()
    left = cgroups.named(f"weft-sandbox-*-{os.getpid()}-*-{own}-*")
    deadline = time.monotonic() + 10
    while any(glob.glob(each) for each in left):
        assert time.monotonic() < deadline, "control groups are left"
        time.sleep(0.01)


def available_bytes() -> int:
    """Memory that can be had: what the kernel uses for a sandbox is missing there too."""
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def _most_bytes() -> int:
    """What one process inside may hold for itself; two of them, or one that shares nothing, would be over."""
    return 256 << 10 if native.program() else 2 << 20


def _own_bytes(pid: int) -> int:
    """Memory of a process, a shared page divided by those who share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _executor(box: Sandbox) -> Confined:
    assert isinstance(box, session.Session)
    assert isinstance(box._executor, Confined)
    return box._executor


def _open_descriptors() -> set[str]:
    """Their numbers alone: others in this process may close theirs and open more."""
    return set(os.listdir("/proc/self/fd"))


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks, as its number is another's soon; empty once it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
