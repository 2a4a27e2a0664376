"""Nothing is left behind: not by many runs, nor by a pool whose process was killed, alone or with its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.agent.sandbox import template
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.pool import BOX_BYTES, Pool
from weft.agent.sandbox.namespaces import Namespaces

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

RUNS = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 500
ALIVE = 1_000
CLIENTS = 4
SECONDS = 10.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def family(pid: int) -> set[int]:
    """The process and all that it is the ancestor of, without those that nobody has reaped."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return {each for each in found if lives(each)}


def lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def groups(pids: set[int]) -> list[str]:
    """Control groups of sandboxes whose name says that they belong to one of the processes."""
    names = [name for _, folders, _ in os.walk("/sys/fs/cgroup") for name in folders]
    of = [name for name in names if name.startswith("weft-sandbox-")]
    return [name for name in of if int(name.split("-")[4]) in pids]


def mounts(place: Path) -> list[str]:
    """Those that have to do with the place; others come and go on a host."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line]


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.mark.timeout(600)
def test_nothing_is_left_of_many_runs(workspace: Path, state: Path) -> None:
    def settled() -> tuple[object, ...]:
        """With the template, which ends once all that it has forked did, and nothing of theirs is left."""
        template._retire()
        return (
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            len(family(os.getpid())),
            mounts(state.parent),
            sorted(os.listdir(state)),
        )

    def work(client: str, runs: int) -> None:
        for number in range(runs):
            with pool.lease(workspace, client=client) as box:
                what = (
                    "echo x > a; echo y > /tmp/y",
                    "sleep 600 & setsid sleep 600 &",
                    "mkdir -p d/e; cat a",
                )
                assert box.run(what[number % 3]).exit_code == 0
                if number % 7 == 0:
                    box.start("sleep 600")

    policy = Policy(warm_share=0.5)
    with Pool(Namespaces(state=str(state)), memory_bytes=8 * BOX_BYTES, policy=policy) as pool:
        work("first", 8)
    until(lambda: settled()[2] == 1, "the first pool is still there")
    before = settled()
    with Pool(Namespaces(state=str(state)), memory_bytes=8 * BOX_BYTES, policy=policy) as pool:
        threads = [threading.Thread(target=work, args=(f"{n}", RUNS // CLIENTS)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        most = len(os.listdir(state))
        assert most <= 8 + 4, "no more than there are sandboxes, and those made ahead"
    kept = groups(family(os.getpid()))
    assert len(kept) <= 24, "two for each of those made ahead, and for a few to come"
    until(lambda: settled() == before, f"{settled()} is not {before}")
    assert (workspace / "a").read_text() == "a\n"


def test_a_thousand_live_at_once_each_on_its_own(workspace: Path, state: Path) -> None:
    patient = Policy(warm_share=0.0, start_us=600_000_000)
    with Pool(Namespaces(state=str(state)), memory_bytes=ALIVE * BOX_BYTES, policy=patient) as pool:
        wanted = [pool.request(workspace, client=f"client {number % 7}") for number in range(ALIVE)]
        boxes = [each.result(100) for each in wanted]
        assert pool.open_boxes == ALIVE
        late = pool.request(workspace, client="one too many")
        with pytest.raises(TimeoutError):
            late.result(0.0)
        for number, box in enumerate(boxes):
            assert box.run(f"echo {number} > a").exit_code == 0
        assert [box.read("a") for box in boxes] == [b"%d\n" % number for number in range(ALIVE)]
        wanted[0].finish()
        assert late.result(30).read("a") == b"a\n"
        for each in (*wanted, late):
            each.finish()
    assert pool.open_boxes == 0
    assert (workspace / "a").read_text() == "a\n"


OWNER = """
import sys, threading
from weft.agent.sandbox import template
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.pool import BOX_BYTES, Pool
from weft.agent.sandbox.namespaces import Namespaces
workspace, state = sys.argv[1:]
pool = Pool(Namespaces(state=state), memory_bytes=8 * BOX_BYTES, policy=Policy(warm_share=1.0))
held = [pool.request(workspace, client="ann").result(30) for _ in range(5)]
for box in held:
    box.run("echo x > a; setsid sleep 600 & sleep 600 &")
    box.start("sleep 600")
print("ready", flush=True)
held[0].run("sleep 600")
"""


@pytest.fixture
def owner(workspace: Path, state: Path) -> subprocess.Popen[bytes]:
    found = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(workspace), str(state)], stdout=subprocess.PIPE
    )
    assert found.stdout is not None
    assert found.stdout.readline() == b"ready\n"
    return found


def test_with_the_pools_process_goes_all_that_it_had(
    owner: subprocess.Popen[bytes], workspace: Path, state: Path
) -> None:
    everybody = family(owner.pid)
    assert len(everybody) > 5
    assert groups(everybody) or not os.access("/sys/fs/cgroup/pids", os.W_OK), "there is something to lose"
    with owner:
        owner.kill()
    until(lambda: not any(map(lives, everybody)), "a process outlived its owner")
    until(lambda: not os.listdir(state), "state was left behind")
    until(lambda: not groups(everybody), "a control group is left")
    assert not mounts(state.parent)
    assert (workspace / "a").read_text() == "a\n"


def test_what_remains_of_a_lost_process_family_the_next_owner_sweeps(
    owner: subprocess.Popen[bytes], workspace: Path, state: Path
) -> None:
    everybody = family(owner.pid)
    with owner:
        for pid in sorted(everybody):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(lives, everybody)), "a process outlived its owner")
    left = set(os.listdir(state))
    assert left, "nobody was there to remove it"
    again = [sys.executable, "-c", OWNER.replace("range(5)", "range(1)"), str(workspace), str(state)]
    with subprocess.Popen(again, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"ready\n"
        assert not left & set(os.listdir(state)), "swept"
        assert not groups(everybody)
        following.kill()
    until(lambda: not os.listdir(state), "state was left behind")
