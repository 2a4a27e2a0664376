"""The mapped number of the last commit: what a read would see, at once and everywhere, after every crash."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.core.lmdb_env import LmdbEnv
from weft.core.lmdb_files import LOCK_FILE
from weft.testing.processes import child_process

WRITES = 200


def open_env(path: Path) -> LmdbEnv:
    return LmdbEnv.open(path, format_name="test", format_version=1, databases=["a"])


def put(env: LmdbEnv, key: bytes) -> None:
    env.write(lambda txn: txn.put(key, b"", db=env.database("a")))


def seen(env: LmdbEnv) -> int:
    with env.read() as txn:
        return txn.id()


def test_the_number_is_mapped_here_and_is_what_a_read_sees(tmp_path: Path) -> None:
    with open_env(tmp_path / "env") as env:
        assert env._last_commit.number is not None
        for number in range(5):
            put(env, b"%d" % number)
            assert env.last_commit() == env._last_commit.number[0] == seen(env)


def write_and_report(report: Callable[[Any], None], folder: Path) -> None:
    with open_env(folder) as env:
        for number in range(WRITES):
            put(env, b"%d" % number)
            report(env.last_commit())


def test_a_commit_of_another_process_is_there_when_it_is_acknowledged(tmp_path: Path) -> None:
    with open_env(tmp_path / "env") as env, child_process(write_and_report, tmp_path / "env") as child:
        for _ in range(WRITES):
            acknowledged = child.next_report()
            assert env.last_commit() >= acknowledged
        assert env.last_commit() == acknowledged == seen(env)


def write_for_ever(report: Callable[[Any], None], folder: Path) -> None:
    with open_env(folder) as env:
        number = 0
        while True:
            put(env, b"%d" % number)
            report(env.last_commit())
            number += 1


@pytest.mark.slow
def test_it_survives_writers_that_are_killed_at_any_instant(tmp_path: Path) -> None:
    rng = random.Random(3)
    with open_env(tmp_path / "env") as env:
        last = env.last_commit()
        for _ in range(6):
            with child_process(write_for_ever, tmp_path / "env") as child:
                child.next_report()
                time.sleep(rng.uniform(0, 0.02))
                child.kill()
                acknowledged = max(child.reports(), default=last)
            assert env.last_commit() >= acknowledged
            assert env.last_commit() == seen(env)
            put(env, b"mine")
            assert env.last_commit() == seen(env) > acknowledged
            last = env.last_commit()


TAKE_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""


def test_mapping_the_lock_file_does_not_lose_its_locks(tmp_path: Path) -> None:
    take = [sys.executable, "-c", TAKE_LOCK, str(tmp_path / "env" / LOCK_FILE)]
    with open_env(tmp_path / "env") as env:
        put(env, b"k")
        assert b"BlockingIOError" in subprocess.run(take, capture_output=True, check=False).stderr
    assert subprocess.run(take, capture_output=True, check=False).returncode == 0
