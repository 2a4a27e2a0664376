"""The pool over real sandboxes: what a holder left is gone, and nothing leaks, whatever goes wrong."""

from __future__ import annotations

import os
import re
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from weft.agent.sandbox import Sandbox, SandboxFailed, SandboxProvider
from weft.agent.sandbox.fleet.events import Priority, Reason
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.pool import BOX_BYTES, NoSandbox, Pool
from weft.agent.sandbox.fleet.reset import can_reset, look, reset
from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.unconfined import Unconfined
from weft.core.errors import Unavailable
from weft.core.telemetry import Telemetry

pytestmark = pytest.mark.sandbox


class Counting:
    """A provider that remembers what it opened, and fails when told to."""

    name = "counting"

    def __init__(self, inner: SandboxProvider) -> None:
        self.inner = inner
        self.promises = inner.promises
        self.opened: list[Any] = []
        self.fails = False

    def open(self, workspace: Any, **options: Any) -> Sandbox:
        if self.fails:
            raise Unavailable("no space left")
        box = self.inner.open(workspace, **options)
        self.opened.append(box)
        return box

    def all_closed(self) -> bool:
        return not any(box._open for box in self.opened)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    (root / "a").write_text("a\n")
    return root


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture(params=[Namespaces, Unconfined], ids=["namespaces", "unconfined"])
def provider(request: pytest.FixtureRequest, state: Path) -> Iterator[Counting]:
    provider = Counting(request.param(state=str(state)))
    yield provider
    assert provider.all_closed(), "a sandbox was left open"
    assert not list(state.glob("*box*")), "state was left behind"


@pytest.fixture
def namespaces(state: Path) -> Counting:
    return Counting(Namespaces(state=str(state)))


def one(provider: SandboxProvider, **options: Any) -> Pool:
    """A pool with room for one sandbox."""
    return Pool(provider, memory_bytes=BOX_BYTES, **options)


def test_what_one_holder_did_the_next_does_not_see(provider: Counting, workspace: Path) -> None:
    with one(provider) as pool:
        with pool.lease(workspace, client="ann") as box:
            box.run("echo secret > /tmp/weft-test-secret; echo changed > a; echo new > b")
            box.start("sleep 600")
            following = pool.request(workspace, client="bob")
        again = following.result(30)
        assert again.read("a") == b"a\n"
        assert not again.changes()
        assert again.run("test -e b").exit_code == 1
        if provider.inner.name == "namespaces":
            assert again.run("test -e /tmp/weft-test-secret").exit_code == 1
            assert len(provider.opened) == 1, "reset, and used again"
        else:
            assert len(provider.opened) == 2, "nothing to prove a reset with"
        following.finish()
    assert pool.open_boxes == 0
    Path("/tmp/weft-test-secret").unlink(missing_ok=True)


def test_an_exception_inside_gives_the_sandbox_back(provider: Counting, workspace: Path) -> None:
    with one(provider) as pool:
        with pytest.raises(ZeroDivisionError), pool.lease(workspace, client="ann") as box:
            raise ZeroDivisionError
        with pytest.raises(SandboxFailed, match="the lease has ended"):
            box.run("true")
        with pool.lease(workspace, client="ann") as box:
            assert box.run(["cat", "a"]).output == "a\n"


def test_a_keeper_that_is_killed_costs_one_lease(provider: Counting, workspace: Path) -> None:
    with one(provider) as pool:
        with pool.lease(workspace, client="ann") as box:
            kill_keeper(provider.opened[-1])
            with pytest.raises(SandboxFailed):
                box.run("true")
        with pool.lease(workspace, client="bob") as box:
            assert box.run(["cat", "a"]).output == "a\n"
    assert len(provider.opened) == 2


def kill_keeper(box: Any) -> None:
    os.kill(box._executor.pid, signal.SIGKILL)
    assert select.select([box._executor._sock], [], [], 10)[0], "the inside ends with it"


def test_a_warm_sandbox_that_was_killed_is_not_handed_out(namespaces: Counting, workspace: Path) -> None:
    with one(namespaces, policy=Policy(warm_share=1.0)) as pool:
        for _ in range(3):
            with pool.lease(workspace, client="ann"):
                following = pool.request(workspace, client="ann")
            following.result(10)
            following.finish()
        [number] = wait_for_warm(pool)
        kill_keeper(pool._machine.sandbox(number))
        with pool.lease(workspace, client="ann") as box:
            assert box.run(["cat", "a"]).output == "a\n"
        [number] = wait_for_warm(pool)
        kill_keeper(pool._machine.sandbox(number))
        wanted = pool.request(workspace, client="ann")
        assert wanted.result(10).read("a") == b"a\n", "however it was asked for"
        wanted.finish()


def wait_for_warm(pool: Pool) -> list[int]:
    with pool._dispatcher.moved:
        assert pool._dispatcher.moved.wait_for(lambda: pool._dispatcher._scheduler._idle, 10)
        return list(pool._dispatcher._scheduler._idle)


def test_a_sandbox_that_opens_too_late_is_closed(namespaces: Counting, workspace: Path) -> None:
    slow = threading.Event()
    inner_open = namespaces.inner.open

    def open_late(*arguments: Any, **options: Any) -> Sandbox:
        assert slow.wait(10)
        return inner_open(*arguments, **options)

    namespaces.inner.open = open_late  # type: ignore[method-assign]
    with one(namespaces, policy=Policy(start_us=300_000), starts_at_once=1) as pool:
        waiting = pool.request(workspace, client="ann")
        with pool._dispatcher.moved:
            while not any(box.ending for box in pool._machine._boxes.values()):
                pool._dispatcher.moved.wait(0.01)
        slow.set()
        assert waiting.result(30).read("a") == b"a\n"
        waiting.finish()
    assert namespaces.all_closed()
    assert pool.open_boxes == 0


def test_a_commit_makes_warm_ones_stale(provider: Counting, workspace: Path) -> None:
    with one(provider) as pool:
        with pool.lease(workspace, client="ann") as box:
            box.write("a", b"b\n")
            box.commit()
        with pool.lease(workspace, client="ann") as box:
            assert box.read("a") == b"b\n"
            assert not box.changes()


def test_sandboxes_that_wait_warm_are_not_handed_out_after_a_commit(
    provider: Counting, workspace: Path
) -> None:
    with Pool(provider, memory_bytes=8 * BOX_BYTES, policy=Policy(warm_share=0.5)) as pool:
        for _ in range(4):
            with pool.lease(workspace, client="ann"):
                pass
        with pool.lease(workspace, client="ann") as box:
            old = set(wait_for_warm(pool))
            box.write("a", b"b\n")
            box.commit()
        following = pool.request(workspace, client="bob")
        assert following.result(10).read("a") == b"b\n"
        assert following._granted.result().box not in old
        following.finish()


def test_a_sandbox_that_cannot_be_examined_is_closed(
    namespaces: Counting, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(box: Sandbox) -> None:
        raise SandboxFailed("the sandbox cannot be examined")

    monkeypatch.setattr("weft.agent.sandbox.fleet.machine.look", broken)
    with one(namespaces) as pool:
        with pytest.raises(NoSandbox, match="cannot be examined"):
            pool.request(workspace, client="ann").result(10)
        assert len(namespaces.opened) == 3
        assert namespaces.all_closed()


def test_closing_takes_back_what_is_never_given_back(namespaces: Counting, workspace: Path) -> None:
    pool = one(namespaces)
    box = pool.request(workspace, client="ann").result(10)
    pool.close(wait_s=0.01)
    assert namespaces.all_closed()
    with pytest.raises(SandboxFailed):
        box.run("true")


def test_a_deadline_ends_the_wait(namespaces: Counting, workspace: Path) -> None:
    with one(namespaces) as pool, pool.lease(workspace, client="ann"):
        with (
            pytest.raises(NoSandbox, match=r"before the deadline; try again in") as caught,
            pool.lease(workspace, client="bob", deadline_s=0.05),
        ):
            raise AssertionError("nobody gave it back")
        assert caught.value.reason is Reason.DEADLINE


def test_a_cancelled_request_leaves_its_place(namespaces: Counting, workspace: Path) -> None:
    with one(namespaces) as pool:
        with pool.lease(workspace, client="ann"):
            waiting = pool.request(workspace, client="bob")
            waiting.cancel()
            with pytest.raises(NoSandbox, match="cancelled"):
                waiting.result(10)
        granted = pool.request(workspace, client="bob")
        granted.result(10)
        granted.cancel()
        with pool.lease(workspace, client="cid", deadline_s=10):
            pass


def test_a_host_that_cannot_is_told_with_its_reason(namespaces: Counting, workspace: Path) -> None:
    namespaces.fails = True
    with (
        one(namespaces) as pool,
        pytest.raises(NoSandbox, match=r"could not be opened \(no space left\); try again in 10.0 s"),
        pool.lease(workspace, client="ann"),
    ):
        raise AssertionError("nothing was opened")


def test_closing_rejects_what_waits_and_outlasts_what_is_leased(
    namespaces: Counting, workspace: Path
) -> None:
    pool = one(namespaces)
    held = pool.request(workspace, client="ann")
    box = held.result(10)
    waiting = pool.request(workspace, client="bob")
    closer = threading.Thread(target=pool.close)
    closer.start()
    with pytest.raises(NoSandbox, match="closing"):
        waiting.result(10)
    assert box.run("true").exit_code == 0
    held.finish()
    closer.join(30)
    assert not closer.is_alive()
    assert namespaces.all_closed()
    with pytest.raises(NoSandbox, match="closing"), pool.lease(workspace, client="ann"):
        raise AssertionError("it is closed")


def test_many_threads_share_few_sandboxes(namespaces: Counting, workspace: Path) -> None:
    held: list[int] = []
    most = 0
    done: list[str] = []
    lock = threading.Lock()

    def work(client: str) -> None:
        nonlocal most
        for _ in range(3):
            with pool.lease(workspace, client=client, priority=Priority.NORMAL) as box:
                with lock:
                    held.append(1)
                    most = max(most, len(held))
                assert box.run(["cat", "a"]).output == "a\n"
                with lock:
                    held.pop()
                    done.append(client)

    with Pool(namespaces, memory_bytes=3 * BOX_BYTES) as pool:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(done) == 18
    assert most <= 3
    assert namespaces.all_closed()


def test_a_warm_sandbox_waits_for_the_next(namespaces: Counting, workspace: Path) -> None:
    with Pool(namespaces, memory_bytes=8 * BOX_BYTES, policy=Policy(warm_share=0.5)) as pool:
        for _ in range(4):
            with pool.lease(workspace, client="ann"):
                pass
        assert pool.open_boxes >= 1
    assert pool.open_boxes == 0
    assert namespaces.all_closed()


def test_a_reset_that_leaves_a_trace_is_found(workspace: Path) -> None:
    with Namespaces().open(workspace) as box:
        assert can_reset(box)
        fresh = look(box)
        for mess in (
            "echo x > /tmp/left",
            "mkdir /tmp/.hidden",
            "echo x > /dev/shm/left",
            "echo x > ~/deep",
            "true",
        ):
            done = box.run(mess)
            assert done.exit_code == 0, done.output
            dirty = look(box)
            assert (dirty != fresh) == (mess != "true"), mess
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(type(box), "discard", lambda _: None)
                if mess != "true":
                    with pytest.raises(SandboxFailed, match="left a trace"):
                        reset(box, fresh)
            reset(box, fresh)
        job = box.start("sleep 600")
        assert look(box) != fresh, "a process too many"
        job.stop()


def test_a_sandbox_whose_reset_does_not_hold_is_replaced(
    namespaces: Counting, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = Telemetry()
    with one(namespaces, recorder=telemetry) as pool:
        with pool.lease(workspace, client="ann") as box:
            box.run("echo for the next holder > /tmp/left; echo x > a")
            tampered = namespaces.opened[0]
            monkeypatch.setattr(tampered, "discard", lambda: None)
            following = pool.request(workspace, client="bob")
        again = following.result(30)
        assert len(namespaces.opened) == 2, "another took its place"
        assert not tampered._open
        assert again.run("cat a; cat /tmp/left 2>/dev/null").output == "a\n"
        following.finish()
    told = telemetry.exposition().decode()
    assert "weft_sandbox_failed_total 1.0" in told
    assert "weft_sandbox_recycled_total 0.0" in told


def test_it_tells_how_long_requests_waited_and_starts_took(namespaces: Counting, workspace: Path) -> None:
    telemetry = Telemetry()
    policy = Policy(lease_us=1_000_000)
    with one(namespaces, recorder=telemetry, policy=policy) as pool:
        with pool.lease(workspace, client="ann", priority=Priority.BATCH):
            following = pool.request(workspace, client="bob")
            assert 'weft_sandboxes{state="leased"} 1.0' in telemetry.exposition().decode()
        following.result(30)
        with pool.lease(workspace, client="cid") as box:  # once what bob never gives back is taken back
            assert box.read("a") == b"a\n"
    told = telemetry.exposition().decode()
    for line in (
        'weft_sandbox_queue_seconds_count{priority="normal"} 2.0',
        'weft_sandbox_queue_seconds_count{priority="batch"} 1.0',
        'weft_sandbox_start_seconds_count{how="open"} 2.0',
        'weft_sandbox_start_seconds_count{how="reset"} 1.0',
        "weft_sandbox_recycled_total 1.0",
        "weft_sandbox_leaked_total 1.0",
        "weft_sandbox_failed_total 0.0",
        'weft_sandboxes{state="alive"} 0.0',
        'weft_sandboxes{state="idle"} 0.0',
        'weft_sandboxes{state="leased"} 0.0',
    ):
        assert line in told
    waited = re.search(r'queue_seconds_sum{priority="normal"} ([0-9.]+)', told)
    assert waited is not None
    assert 1.0 <= float(waited[1]) < 20, "cid waited for the lease to be taken back"


def test_what_is_hidden_from_one_is_not_hidden_from_another(provider: Counting, workspace: Path) -> None:
    (workspace / "secret").write_text("s\n")
    with Pool(provider, memory_bytes=4 * BOX_BYTES, policy=Policy(warm_share=1.0)) as pool:
        for _ in range(3):
            with pool.lease(workspace, client="ann", hidden=["secret"]) as box:
                assert box.run("cat secret 2>/dev/null").output == ""
            with pool.lease(workspace, client="ann") as box:
                assert box.read("secret") == b"s\n"


def test_a_toolchain_is_shown_to_who_asks_for_it(
    namespaces: Counting, workspace: Path, tmp_path: Path
) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "tool").write_text("tool\n")
    show = f"cat {tmp_path}/tools/tool"
    with Pool(namespaces, memory_bytes=4 * BOX_BYTES) as pool:
        with pool.lease(workspace, client="ann", toolchain=[tmp_path / "tools"]) as box:
            assert box.run(show).output == "tool\n"
        with pool.lease(workspace, client="ann") as box:
            assert box.run(show).exit_code != 0
