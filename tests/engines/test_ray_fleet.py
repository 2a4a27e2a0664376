"""Many machines: a real Ray cluster of four nodes here, whose processes are killed while it works."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from weft.agent.sandbox import SandboxFailed
from weft.agent.sandbox.fleet.dispatcher import NoSandbox
from weft.agent.sandbox.fleet.events import Priority
from weft.agent.sandbox.fleet.on_ray import Fleet, FleetSettings
from weft.agent.sandbox.fleet.on_ray.client import MachineLost
from weft.agent.sandbox.fleet.on_ray.settings import COORDINATOR, NAMESPACE, RESOURCE
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.pool import BOX_BYTES
from weft.agent.sandbox.inside import kernel
from weft.core.errors import Denied, NotFound, Unavailable

pytestmark = [pytest.mark.slow, pytest.mark.service, pytest.mark.sandbox, pytest.mark.xdist_group("ray")]

BOXES = 4
HEAD = "127.0.0.2"
MEMBERS = ["127.0.0.3", "127.0.0.4", "127.0.0.5"]
CLONE_NEWNET = 0x40000000
PAGE = Path(__file__).parents[2] / "docs" / "agent" / "fleet.md"


def the_engine() -> Any:
    try:
        import ray
        import ray.cluster_utils
    except ModuleNotFoundError:
        if os.environ.get("WEFT_ENGINES"):
            raise
        pytest.skip("`ray` is not installed: pip install 'weft[ray]'")
    return ray


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Root's cluster has a network with nothing but a loopback; others rely on the cluster's token."""
    if os.geteuid():
        yield
        return
    with open("/proc/thread-self/ns/net") as before:
        kernel.unshare(CLONE_NEWNET)
        try:
            with socket.socket() as any_socket:
                up = struct.pack("16sh", b"lo", 1)
                fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS, IFF_UP
            yield
        finally:
            assert ctypes.CDLL(None).setns(before.fileno(), CLONE_NEWNET) == 0


class Nodes:
    """The cluster, and what a test may break of it."""

    def __init__(self, ray: Any, state: Path) -> None:
        self.ray = ray
        self.state = state
        self.cluster = ray.cluster_utils.Cluster()
        quick = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 4,
        }
        self.cluster.add_node(
            num_cpus=1,
            object_store_memory=80 << 20,
            include_dashboard=False,
            node_ip_address=HEAD,
            _system_config=quick,
        )
        self.raylets = {address: self.add(address) for address in MEMBERS}

    def add(self, address: str) -> Any:
        return self.cluster.add_node(
            wait=False,
            num_cpus=1,
            object_store_memory=80 << 20,
            node_ip_address=address,
            resources={RESOURCE: BOXES * (BOX_BYTES >> 20)},
        )

    def kill(self, address: str) -> None:
        """A machine is lost: its raylet, and all that it had started."""
        [raylet] = self.raylets.pop(address).all_processes["raylet"]
        for pid in family(raylet.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self.ray.shutdown()
        self.cluster.shutdown()


def family(pid: int) -> list[int]:
    """The process and all that it is the ancestor of."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tempfile.mkdtemp(prefix="ray-")  # short, for the sockets' sake
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TMPDIR": folder,
    }
    with pytest.MonkeyPatch.context() as patch, own_network():
        for name, text in variables.items():
            patch.setenv(name, text)
        ray = the_engine()  # which looks at the variables when it is imported
        cluster = Nodes(ray, tmp_path_factory.mktemp("fleet"))
        try:
            ray.init(
                address=cluster.cluster.address,
                namespace=NAMESPACE,
                _node_ip_address=HEAD,
                log_to_driver=False,
                logging_level="ERROR",
            )
            yield cluster
        finally:
            cluster.close()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def fleet(nodes: Nodes) -> Iterator[Fleet]:
    policy = Policy(burst=1, credits_per_s=0.0, warm_share=0.0)
    settings = FleetSettings(lease_s=3.0, watch_s=0.2, policy=policy, state=str(nodes.state))
    with Fleet.connect(client="test", settings=settings) as fleet:
        until(lambda: len(fleet.state()["machines"]) == len(MEMBERS))
        yield fleet
    with Fleet.connect() as fleet:
        fleet.stop()
    assert not list(nodes.state.iterdir()), "state was left behind, be it by the machine that was lost"


@pytest.fixture
def snapshot(fleet: Fleet, tmp_path: Path) -> str:
    (tmp_path / "repository" / "src").mkdir(parents=True)
    (tmp_path / "repository" / "a").write_text(f"a of {tmp_path.name}\n")
    (tmp_path / "repository" / "src" / "tool").write_text("#!/bin/sh\necho tool\n")
    (tmp_path / "repository" / "src" / "tool").chmod(0o755)
    (tmp_path / "repository" / "link").symlink_to("a")
    return fleet.snapshot(tmp_path / "repository")


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.05)


def settled(fleet: Fleet) -> None:
    """Nothing is leased or waits, and nothing is left of it."""
    until(lambda: fleet.state()["boxes"] == 0 and fleet.state()["waiting"] == 0)


def test_a_command_runs_on_what_was_uploaded(fleet: Fleet, snapshot: str) -> None:
    done = fleet.run(snapshot, "cat link; ./src/tool; echo new > src/b; rm a")
    assert done.result.exit_code == 0
    assert done.result.output.endswith("tool\n")
    assert done.result.output.startswith("a of ")
    assert [(change.path, change.kind) for change in done.changes] == [("a", "deleted"), ("src/b", "added")]
    assert done.machine in MEMBERS
    assert done.runs == 1
    assert fleet.run(snapshot, "cat a").result.exit_code == 0, "nothing was kept"


def test_a_lease_is_a_sandbox(fleet: Fleet, snapshot: str) -> None:
    with fleet.lease(snapshot, hidden=["a"]) as box:
        with pytest.raises(Denied):
            box.read("a")
        box.write("b", b"b\n")
        box.move("b", "c")
        assert box.read("c") == b"b\n"
        assert {entry.name for entry in box.entries()} == {"a", "c", "link", "src"}
        assert box.stat("src").kind == "folder"
        assert "+b" in box.diff()
        with pytest.raises(NotFound, match="nowhere"):
            box.read("nowhere")
        box.discard()
        assert not box.changes()
    with pytest.raises(SandboxFailed, match="the lease has ended"):
        box.run("true")


def test_the_pages_example(
    nodes: Nodes,
    fleet: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [(code, printed)] = [
        (code, printed)
        for code, printed in itertools.pairwise(blocks)
        if code.startswith("from weft.agent.sandbox.fleet.on_ray")
    ]
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "hello.txt").write_text("hello\n")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == printed


def test_a_snapshot_that_nobody_has_is_not_found(fleet: Fleet) -> None:
    with pytest.raises(NotFound, match="upload it again"):
        fleet.run("0" * 64, "true")


def test_machines_that_have_the_snapshot_come_first(fleet: Fleet, snapshot: str) -> None:
    state = fleet.state()
    holders = {state["machines"][node] for node in state["snapshots"][snapshot]}
    assert len(holders) == 2, "uploaded to two"
    assert {fleet.run(snapshot, "true").machine for _ in range(4)} <= holders
    settled(fleet)
    with contextlib.ExitStack() as held:
        boxes = [held.enter_context(fleet.lease(snapshot)) for _ in range(2 * BOXES + 1)]
        assert Counter(box.machine for box in boxes[:-1]) == dict.fromkeys(holders, BOXES)
        assert boxes[-1].machine not in holders, "where there is room"
        assert boxes[-1].read("a") == boxes[0].read("a"), "fetched from where it was"


def test_no_machine_has_more_than_it_bears(fleet: Fleet, snapshot: str) -> None:
    lock, now, most = threading.Lock(), Counter[str](), Counter[str]()

    def work(number: int) -> int:
        with fleet.lease(snapshot, client=f"client {number % 3}") as box:
            with lock:
                now[box.machine] += 1
                most.update({box.machine: max(0, now[box.machine] - most[box.machine])})
            code = box.run("sleep 0.05").exit_code
            with lock:
                now[box.machine] -= 1
        return code

    with ThreadPoolExecutor(30) as threads:
        assert set(threads.map(work, range(36))) == {0}
    assert len(most) == len(MEMBERS), "all of them worked"
    assert max(most.values()) <= BOXES
    settled(fleet)


def test_one_that_asks_for_much_waits_in_turn_with_others(fleet: Fleet, snapshot: str) -> None:
    order: list[str] = []

    def work(client: str) -> None:
        with fleet.lease(snapshot, client=client) as box:
            order.append(client)
            box.run("sleep 0.05")

    with ThreadPoolExecutor(70) as threads:
        with contextlib.ExitStack() as held:
            for _ in range(BOXES * len(MEMBERS)):
                held.enter_context(fleet.lease(snapshot, client="first"))
            for _ in range(50):
                threads.submit(work, "hog")
            until(lambda: fleet.state()["waiting"] == 50)
            modest = [threads.submit(work, "modest") for _ in range(4)]
            until(lambda: fleet.state()["waiting"] == 54)
        for each in modest:
            each.result(60)
    assert max(place for place, client in enumerate(order) if client == "modest") < 30
    assert len(order) == 54


def test_who_waits_too_long_is_told(fleet: Fleet, snapshot: str) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(BOXES * len(MEMBERS)):
            held.enter_context(fleet.lease(snapshot))
        with pytest.raises(NoSandbox, match="before the deadline; try again in"):
            fleet.run(snapshot, "true", deadline_s=0.2, priority=Priority.INTERACTIVE)


CLIENT = """
import sys, time, ray
address, head, snapshot = sys.argv[1:]
ray.init(address=address, namespace="weft", _node_ip_address=head, log_to_driver=False)
from weft.agent.sandbox.fleet.on_ray import Fleet
fleet = Fleet.connect(client="mortal")
with fleet.lease(snapshot) as box:
    print("held", flush=True)
    box.run("sleep 600")
"""


def test_what_a_dead_client_held_is_taken_back(nodes: Nodes, fleet: Fleet, snapshot: str) -> None:
    settled(fleet)
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, nodes.cluster.address, HEAD, snapshot], stdout=subprocess.PIPE
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"held\n"
        assert fleet.state()["leased"] == 1
        time.sleep(4.0)
        assert fleet.state()["leased"] == 1, "it lives, and says so, for longer than a lease"
        client.kill()
    settled(fleet)
    assert "weft_sandbox_leaked_total 1.0" in fleet.metrics()


def test_a_coordinator_that_is_killed_forgets_no_lease(nodes: Nodes, fleet: Fleet, snapshot: str) -> None:
    settled(fleet)
    with ThreadPoolExecutor(4) as threads, contextlib.ExitStack() as held:
        boxes = [held.enter_context(fleet.lease(snapshot)) for _ in range(BOXES * len(MEMBERS))]
        waiting = [threads.submit(fleet.run, snapshot, "echo served") for _ in range(4)]
        until(lambda: fleet.state()["waiting"] == 4)
        before = fleet.state()["incarnation"]
        coordinator = nodes.ray.get_actor(COORDINATOR, namespace=NAMESPACE)
        nodes.ray.kill(coordinator, no_restart=False)
        until(lambda: fleet.state()["incarnation"] != before)
        assert fleet.state()["leased"] == len(boxes)
        until(lambda: fleet.state()["waiting"] == 4)
        assert [box.run("echo on").output for box in boxes] == ["on\n"] * len(boxes)
        held.pop_all().close()
        assert [each.result(30).result.output for each in waiting] == ["served\n"] * 4
    settled(fleet)


def test_a_lost_machine_loses_only_what_ran_there(nodes: Nodes, fleet: Fleet, snapshot: str) -> None:
    settled(fleet)
    lost = fleet.run(snapshot, "true").machine
    ran: dict[int, Any] = {}

    def work(number: int) -> None:
        try:
            ran[number] = fleet.run(
                snapshot, f"sleep 4; echo {number}", client=f"c{number % 3}", safe_to_retry=number % 2 == 0
            )
        except MachineLost as error:
            ran[number] = error

    with ThreadPoolExecutor(40) as threads:
        for number in range(20):
            threads.submit(work, number)
        until(lambda: fleet.state()["leased"] == BOXES * len(MEMBERS))
        time.sleep(1.0)  # all of them have begun to run
        nodes.kill(lost)
    errors = {number for number, each in ran.items() if isinstance(each, MachineLost)}
    again = {number for number, each in ran.items() if number not in errors and each.runs > 1}
    assert len(ran) == 20, "every run has an outcome"
    assert all(number % 2 for number in errors), "what is safe to retry was retried"
    assert all(number % 2 == 0 for number in again), "and nothing else"
    assert len(errors) + len(again) == BOXES, "just what ran there"
    assert all(f"`{lost}` was lost" in str(ran[number]) for number in errors)
    for number in set(ran) - errors:
        assert ran[number].result.output == f"{number}\n"
    assert lost not in {ran[number].machine for number in again}
    settled(fleet)
    assert sorted(fleet.state()["machines"].values()) == sorted(set(MEMBERS) - {lost})
    assert fleet.run(snapshot, "cat link").result.exit_code == 0, "another machine has the snapshot"


def test_a_machine_that_joins_takes_part(nodes: Nodes, fleet: Fleet, snapshot: str) -> None:
    members = len(fleet.state()["machines"])
    nodes.raylets["127.0.0.6"] = nodes.add("127.0.0.6")
    until(lambda: len(fleet.state()["machines"]) == members + 1)
    with contextlib.ExitStack() as held:
        boxes = [
            held.enter_context(fleet.lease(snapshot, deadline_s=30.0)) for _ in range(BOXES * (members + 1))
        ]
        assert "127.0.0.6" in {box.machine for box in boxes}


def test_a_fleet_that_was_stopped_begins_anew(nodes: Nodes, fleet: Fleet, tmp_path: Path) -> None:
    fleet.stop()
    with pytest.raises(Unavailable, match="the fleet was stopped"):
        fleet.state()
    assert not list(nodes.state.iterdir()), "nothing is left on the machines"
    (tmp_path / "a").write_text("a")
    with Fleet.connect(settings=FleetSettings(state=str(nodes.state))) as again:
        until(lambda: len(again.state()["machines"]) == len(nodes.raylets))
        assert again.run(again.snapshot(tmp_path), "cat a").result.output == "a"
