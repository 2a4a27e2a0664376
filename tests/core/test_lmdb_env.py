from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from weft.core.errors import Bug, Conflict, Corrupt, Denied, Invalid, NotFound, Unavailable, WeftError
from weft.core.lmdb_env import LmdbEnv
from weft.testing.processes import child_process

SMALL_MAP_BYTES = 256 << 10


def open_env(path: Path, **options: object) -> LmdbEnv:
    options = {"format_name": "test", "format_version": 1, "databases": ["a", "b"], **options}
    return LmdbEnv.open(path, **options)  # type: ignore[arg-type]


def put(env: LmdbEnv, key: bytes, value: bytes, name: str = "a") -> None:
    env.write(lambda txn: txn.put(key, value, db=env.database(name)))


def get(env: LmdbEnv, key: bytes, name: str = "a") -> bytes | None:
    with env.read() as txn:
        return txn.get(key, db=env.database(name))


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# reads, writes


def test_keeps_databases_apart_and_over_a_reopen(tmp_path: Path) -> None:
    with open_env(tmp_path / "env") as env:
        put(env, b"k", b"1", "a")
        put(env, b"k", b"2", "b")
    with open_env(tmp_path / "env") as env:
        assert (get(env, b"k", "a"), get(env, b"k", "b")) == (b"1", b"2")


def test_a_failing_write_changes_nothing(tmp_path: Path) -> None:
    def fail(txn: lmdb.Transaction) -> None:
        txn.put(b"k", b"1", db=env.database("a"))
        raise Conflict("no")

    with open_env(tmp_path / "env") as env:
        with pytest.raises(Conflict):
            env.write(fail)
        assert get(env, b"k") is None


def test_a_read_is_a_snapshot_shared_by_nested_reads(tmp_path: Path) -> None:
    with open_env(tmp_path / "env") as env, env.read() as outer:
        writer = threading.Thread(target=put, args=(env, b"k", b"1"))
        writer.start()
        writer.join()
        with env.read() as inner:
            assert inner is outer
            assert inner.get(b"k", db=env.database("a")) is None


def test_last_commit_changes_with_every_write(tmp_path: Path) -> None:
    with open_env(tmp_path / "env") as env:
        before = env.last_commit()
        put(env, b"k", b"1")
        assert env.last_commit() > before


def test_what_would_wait_for_itself_is_an_error(tmp_path: Path) -> None:
    with open_env(tmp_path / "env") as env:
        with env.read(), pytest.raises(Bug):
            put(env, b"k", b"1")
        with env.read(), pytest.raises(Bug):
            env.close()
        with pytest.raises(Bug):
            env.write(lambda txn: put(env, b"k", b"1"))
        put(env, b"k", b"2")
        assert get(env, b"k") == b"2"


# group commit


def test_concurrent_writes_share_commits_and_fail_alone(tmp_path: Path) -> None:
    threads, rounds = 8, 20
    failures: list[int] = []

    def work(env: LmdbEnv, me: int) -> None:
        for number in range(rounds):

            def write(txn: lmdb.Transaction, number: int = number) -> int:
                txn.put(b"%d-%d" % (me, number), b"", db=env.database("a"))
                if number % 5 == 0:
                    raise Conflict("every fifth fails")
                return number

            try:
                assert env.write(write) == number
                assert get(env, b"%d-%d" % (me, number)) == b""
            except Conflict:
                failures.append(number)

    with open_env(tmp_path / "env") as env:
        before = env.last_commit()
        workers = [threading.Thread(target=work, args=(env, me)) for me in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(failures) == threads * rounds / 5
        with env.read() as txn:
            found = {bytes(key) for key, _ in txn.cursor(db=env.database("a"))}
        assert found == {b"%d-%d" % (t, n) for t in range(threads) for n in range(rounds) if n % 5}
        assert env.last_commit() - before < threads * rounds * 4 / 5


def hold_writer(
    env: LmdbEnv, release: threading.Event, error: BaseException | None = None
) -> threading.Thread:
    """A thread that leads a commit until `release`; returns once it is inside."""
    inside = threading.Event()

    def write(txn: lmdb.Transaction) -> None:
        inside.set()
        release.wait()
        if error is not None:
            raise error

    def run() -> None:
        if error is None:
            env.write(write)
        else:
            with pytest.raises(type(error)):
                env.write(write)

    thread = threading.Thread(target=run)
    thread.start()
    inside.wait()
    return thread


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_an_interrupted_leader_hands_over(tmp_path: Path) -> None:
    with open_env(tmp_path / "env") as env:
        release = threading.Event()
        leader = hold_writer(env, release, KeyboardInterrupt())
        waiting = [threading.Thread(target=put, args=(env, b"%d" % n, b"")) for n in range(3)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: len(env._queue) == 3)
        before = env.last_commit()
        release.set()
        for thread in [leader, *waiting]:
            thread.join()
        assert [get(env, b"%d" % n) for n in range(3)] == [b""] * 3
        assert env.last_commit() == before + 1


def test_an_interrupt_inside_a_group_acknowledges_nothing(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def write(env: LmdbEnv, fn: Callable[[lmdb.Transaction], object]) -> None:
        try:
            env.write(fn)
            outcomes.append("ok")
        except Unavailable:
            outcomes.append("unavailable")
        except KeyboardInterrupt:
            outcomes.append("interrupted")

    def interrupt(txn: lmdb.Transaction) -> None:
        raise KeyboardInterrupt

    with open_env(tmp_path / "env") as env:
        release = threading.Event()
        leader = hold_writer(env, release)
        threads = []
        for count, fn in enumerate([lambda txn: txn.put(b"k", b"1", db=env.database("a")), interrupt], 1):
            threads.append(threading.Thread(target=write, args=(env, fn)))
            threads[-1].start()
            wait_until(lambda count=count: len(env._queue) == count)  # type: ignore[misc]
        release.set()
        for thread in [leader, *threads]:
            thread.join()
        assert sorted(outcomes) == ["interrupted", "unavailable"]
        assert get(env, b"k") is None
        put(env, b"k", b"2")


# growth


def test_the_map_grows_under_readers_and_writers(tmp_path: Path) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    def read(env: LmdbEnv) -> None:
        try:
            while not stop.is_set():
                with env.read() as txn:
                    assert sum(1 for _ in txn.cursor(db=env.database("a"))) % 4 == 0
        except BaseException as error:
            errors.append(error)

    def write_four(env: LmdbEnv, number: int) -> None:
        def write(txn: lmdb.Transaction) -> None:
            for part in range(4):
                txn.put(b"%d-%d" % (number, part), bytes(50_000), db=env.database("a"))

        env.write(write)

    with open_env(tmp_path / "env", map_bytes=SMALL_MAP_BYTES) as env:
        readers = [threading.Thread(target=read, args=(env,)) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(30):
            write_four(env, number)
        stop.set()
        for reader in readers:
            reader.join()
        assert errors == []
        with env.read() as txn:
            assert txn.stat(db=env.database("a"))["entries"] == 120


def grow_elsewhere(report: Callable[[object], None], path: Path) -> None:
    with open_env(path, map_bytes=SMALL_MAP_BYTES) as env:
        for number in range(20):
            put(env, b"%d" % number, bytes(100_000))
    report("grown")


@pytest.mark.parametrize("readonly", [True, False])
def test_follows_a_map_grown_by_another_process(tmp_path: Path, readonly: bool) -> None:
    open_env(tmp_path / "env", map_bytes=SMALL_MAP_BYTES).close()
    with open_env(tmp_path / "env", map_bytes=SMALL_MAP_BYTES, readonly=readonly) as env:
        assert get(env, b"19") is None
        with child_process(grow_elsewhere, tmp_path / "env") as child:
            assert child.next_report() == "grown"
        if readonly:
            assert get(env, b"19") == bytes(100_000)
        else:
            put(env, b"own", b"1")
            assert get(env, b"19") == bytes(100_000)


# processes


def test_a_forked_child_is_told_so(tmp_path: Path) -> None:
    code = """
import os, sys, pathlib
from weft.core.errors import Invalid
from weft.core.lmdb_env import LmdbEnv
options = dict(format_name="test", format_version=1, databases=["a"])
env = LmdbEnv.open(sys.argv[1], **options)
pid = os.fork()
if pid == 0:
    told = 0
    for use in (env.read().__enter__, lambda: env.write(lambda txn: None)):
        try:
            use()
        except Invalid as error:
            told += "fork" in str(error)
    env.close()
    with LmdbEnv.open(sys.argv[1], **options) as own:
        own.write(lambda txn: txn.put(b"child", b"1"))
    os._exit(told)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
with env.read() as txn:
    assert txn.get(b"child") == b"1"
env.write(lambda txn: txn.put(b"parent", b"2"))
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "env"], check=True, timeout=30)


def write_until_killed(report: Callable[[object], None], path: Path, me: int) -> None:
    """Four threads write pairs of equal keys to both databases and report each acknowledged one."""
    env = open_env(path, map_bytes=SMALL_MAP_BYTES)
    lock = threading.Lock()

    def work(thread: int) -> None:
        for number in range(1_000_000):
            key = b"%d-%d-%d" % (me, thread, number)

            def write(txn: lmdb.Transaction, key: bytes = key) -> None:
                for name in ("a", "b"):
                    txn.put(key, bytes(2_000), db=env.database(name))

            env.write(write)
            with lock:
                report(key)

    for thread in range(4):
        threading.Thread(target=work, args=(thread,)).start()


@pytest.mark.slow
def test_kill_9_loses_nothing_acknowledged_and_leaves_no_half(tmp_path: Path) -> None:
    rng = random.Random(7)
    acknowledged: set[bytes] = set()
    for life in range(5):
        with (
            child_process(write_until_killed, tmp_path / "env", life * 2) as one,
            child_process(write_until_killed, tmp_path / "env", life * 2 + 1) as two,
        ):
            for child in (one, two):
                acknowledged.add(child.next_report())
            time.sleep(rng.uniform(0, 0.1))
            for child in (one, two):
                child.kill()
                acknowledged.update(child.reports())
        with open_env(tmp_path / "env") as env, env.read() as txn:
            in_a, in_b = ({bytes(k) for k, _ in txn.cursor(db=env.database(name))} for name in ("a", "b"))
        assert in_a == in_b
        assert acknowledged <= in_a


# opening


def test_creates_missing_parents(tmp_path: Path) -> None:
    open_env(tmp_path / "x" / "y" / "env").close()
    assert listing(tmp_path / "x") == ["y", "y/env", "y/env/data.mdb", "y/env/lock.mdb"]


def make_foreign_lmdb(path: Path) -> None:
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    (path / "lock.mdb").unlink()


def make_text_data(path: Path) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"hello" * 5_000)


def make_torn_data(path: Path) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"hello")


def make_other_files(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("mine")


def make_file(path: Path) -> None:
    path.write_text("mine")


FOREIGN: list[tuple[Callable[[Path], None], type[WeftError], str]] = [
    (make_foreign_lmdb, Invalid, "another program"),
    (make_text_data, Corrupt, "not LMDB"),
    (make_torn_data, Corrupt, "not LMDB"),
    (make_other_files, Invalid, "other files"),
    (make_file, Invalid, "is a file"),
    (lambda path: open_env(path, format_name="other").close(), Invalid, "`other` data"),
    (lambda path: open_env(path, format_version=2).close(), Invalid, "upgrade weft"),
    (lambda path: open_env(path, format_version=0).close(), Invalid, "export it"),
]


@pytest.mark.parametrize(("make", "kind", "message"), FOREIGN)
def test_what_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], kind: type[WeftError], message: str
) -> None:
    make(tmp_path / "env")
    before = listing(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        open_env(tmp_path / "env")
    assert caught.value.hint
    assert listing(tmp_path) == before


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("kept_bytes", [3 << 12, 100_000])
@pytest.mark.parametrize("lock_file", [False, True])
def test_a_file_that_lost_its_end_is_corrupt(
    tmp_path: Path, readonly: bool, kept_bytes: int, lock_file: bool
) -> None:
    with open_env(tmp_path / "env") as env:
        for key in range(200):
            put(env, b"%d" % key, b"v" * 1_000)
    os.truncate(tmp_path / "env/data.mdb", kept_bytes)
    if not lock_file:
        (tmp_path / "env/lock.mdb").unlink()
    with pytest.raises(Corrupt, match="is cut off"):
        open_env(tmp_path / "env", readonly=readonly)


def test_a_file_without_its_last_free_pages_is_whole(tmp_path: Path) -> None:
    data = tmp_path / "env/data.mdb"
    with open_env(tmp_path / "env") as env:
        for key in (b"k", b"gone"):
            put(env, key, b"v" * 3_000)
        env.write(lambda txn: txn.delete(b"gone", db=env.database("a")))

        def put_and_delete(txn: lmdb.Transaction) -> None:
            txn.put(b"big", b"v" * 1_000_000, db=env.database("a"))
            txn.delete(b"big", db=env.database("a"))

        env.write(put_and_delete)
    short_bytes = data.stat().st_size
    with open_env(tmp_path / "env") as env:
        assert get(env, b"k") == b"v" * 3_000
        assert data.stat().st_size > short_bytes + 900_000
        put(env, b"big", b"v" * 1_000_000)
    with open_env(tmp_path / "env") as env:
        assert get(env, b"big") == b"v" * 1_000_000


def test_reading_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        with pytest.raises(NotFound):
            open_env(tmp_path / name, readonly=True)
    assert listing(tmp_path) == ["empty"]


def test_a_reader_does_not_write(tmp_path: Path) -> None:
    open_env(tmp_path / "env").close()
    with open_env(tmp_path / "env", readonly=True) as env, pytest.raises(Invalid, match="reading only"):
        put(env, b"k", b"1")


def test_a_folder_is_open_once_per_process(tmp_path: Path) -> None:
    with open_env(tmp_path / "env"), pytest.raises(Invalid, match="already open"):
        open_env(tmp_path / "env")
    open_env(tmp_path / "env").close()


def test_closed_is_closed(tmp_path: Path) -> None:
    env = open_env(tmp_path / "env")
    env.close()
    env.close()
    for use in (lambda: get(env, b"k"), lambda: put(env, b"k", b"1"), env.last_commit):
        with pytest.raises(Invalid, match="closed"):
            use()


def test_an_empty_data_file_of_a_killed_creator_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "data.mdb").touch()
    with open_env(tmp_path / "env") as env:
        put(env, b"k", b"1")


def fill_limited_file(report: Callable[[object], None], path: Path, limit_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    try:
        with open_env(path) as env:
            for number in range(1_000):
                try:
                    put(env, b"%d" % number, bytes(20_000))
                except WeftError as error:
                    report((type(error), str(error), number))
                    break
            assert get(env, b"%d" % (number - 1)) == bytes(20_000)
            put(env, b"0", b"small")
            report(get(env, b"0"))
    except WeftError as error:
        report((type(error), str(error), -1))


def test_a_full_disk_fails_the_write_alone(tmp_path: Path) -> None:
    with child_process(fill_limited_file, tmp_path / "env", 400_000) as child:
        kind, message, number = child.next_report()
        assert kind is Unavailable
        assert "full" in message
        assert number > 3
        assert child.next_report() == b"small"
    with open_env(tmp_path / "env") as env:
        assert get(env, b"%d" % (number - 1)) == bytes(20_000)
        assert get(env, b"%d" % number) is None


def test_a_disk_full_at_once_leaves_nothing(tmp_path: Path) -> None:
    with child_process(fill_limited_file, tmp_path / "new" / "env", 4_096) as child:
        kind, _, number = child.next_report()
        assert (kind, number) == (Unavailable, -1)
    assert listing(tmp_path) == []


def open_as_nobody(report: Callable[[object], None], path: Path) -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    for readonly in (False, True):
        try:
            open_env(path, readonly=readonly).close()
            report("open")
        except WeftError as error:
            report((type(error), str(error)))


def test_a_read_only_folder_is_denied() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        open_env(folder / "old").close()
        folder.chmod(0o555)
        (folder / "old").chmod(0o555)
        for file in (folder / "old").iterdir():
            file.chmod(0o444)
        try:
            for path in (folder / "new", folder / "old"):
                with child_process(open_as_nobody, path) as child:
                    kind, message = child.next_report()
                    assert kind is Denied
                    assert f"{path}" in message
        finally:
            folder.chmod(0o755)
            (folder / "old").chmod(0o755)
