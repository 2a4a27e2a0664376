"""Hundreds of sandboxes at once: all answer, none is large, none sees another, and nothing stays."""

from __future__ import annotations

import glob
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from weft.agent.sandbox import Sandbox, session, template
from weft.agent.sandbox.confined import Confined
from weft.agent.sandbox.inside import cgroups
from weft.agent.sandbox.namespaces import Namespaces

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

SANDBOXES = 300
# A forked Python; two of them, or one that shares nothing, would be over it.
MEMORY_BYTES = 2 << 20


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Two for each sandbox, and a template that inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * SANDBOXES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this user may open {hard} files, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    template._retire()


def executor(box: Sandbox) -> Confined:
    assert isinstance(box, session.Session)
    assert isinstance(box._executor, Confined)
    return box._executor


def own_bytes(pid: int) -> int:
    """Memory of a process, a shared page divided by those who share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_hundreds_at_once(tmp_path: Path, descriptors: None) -> None:
    work, state = tmp_path / "work", tmp_path / "state"
    work.mkdir()
    state.mkdir()
    (work / "a").write_text("a\n")
    provider = Namespaces(state=str(state))
    provider.open(work).close()
    before = open_descriptors()
    boxes: list[Sandbox] = []
    with ThreadPoolExecutor(4) as threads:
        try:
            boxes.extend(threads.map(lambda _: provider.open(work), range(SANDBOXES)))
            pids = [executor(box).pid for box in boxes]
            assert len(set(pids)) == SANDBOXES
            list(threads.map(lambda n: boxes[n].run(f"echo {n} > a; echo {n} > /tmp/n"), range(SANDBOXES)))
            seen = list(threads.map(lambda box: box.run("cat a /tmp/n; ls /proc | grep -c '^[0-9]'"), boxes))
            assert [each.output.split()[:2] for each in seen] == [[str(n)] * 2 for n in range(SANDBOXES)]
            # The executor, the shell and its two children.
            assert {int(each.output.split()[2]) for each in seen} <= {3, 4}
            if os.geteuid() == 0:
                assert sum(map(own_bytes, pids)) < SANDBOXES * MEMORY_BYTES
        finally:
            list(threads.map(lambda box: box.close(), boxes))
    assert not [pid for pid in pids if _alive(pid)]
    assert list(state.iterdir()) == []
    assert open_descriptors() == before
    assert str(state) not in Path("/proc/self/mountinfo").read_text()
    assert template._template is not None
    own = template._template[0].pid
    template._retire()
    left = cgroups.named(f"weft-sandbox-*-{os.getpid()}-*-{own}-*")
    deadline = time.monotonic() + 10
    while any(glob.glob(each) for each in left):
        assert time.monotonic() < deadline, "control groups are left"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
