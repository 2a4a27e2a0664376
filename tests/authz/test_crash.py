"""Writers are killed at any instant: what was acknowledged is there, and no write is there by half."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from weft.authz import Authz
from weft.testing.processes import child_process

SCHEMA = "definition user {} definition doc { relation viewer: user }"
TUPLES_PER_WRITE = 5
KILLS = 4


def write_for_ever(report: Callable[[Any], None], folder: str, life: int) -> None:
    """Two threads write batches of tuples, and report each one once it is acknowledged."""
    authz = Authz.open(folder)
    reporting = Lock()

    def write(thread: int) -> None:
        number = 0
        while True:
            name = f"{life}-{thread}-{number}"
            authz.write(create=[f"doc:{name}#viewer@user:{part}" for part in range(TUPLES_PER_WRITE)])
            with reporting:
                report(name)
            number += 1

    threads = [Thread(target=write, args=(thread,), daemon=True) for thread in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_killed_writers_lose_nothing_and_leave_no_halves(tmp_path: Path) -> None:
    folder = str(tmp_path / "authz")
    with Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
    rng = random.Random(7)
    acknowledged: set[str] = set()
    for life in range(KILLS):
        with (
            child_process(write_for_ever, folder, 2 * life) as one,
            child_process(write_for_ever, folder, 2 * life + 1) as other,
        ):
            acknowledged |= {one.next_report(), other.next_report()}
            time.sleep(rng.uniform(0, 0.1))
            one.kill()
            other.kill()
            acknowledged |= set(one.reports()) | set(other.reports())
        with Authz.open(folder) as authz:
            stored: dict[str, int] = {}
            for line in authz.export_tuples():
                name = line.partition("#")[0].removeprefix("doc:")
                stored[name] = stored.get(name, 0) + 1
            assert set(stored.values()) == {TUPLES_PER_WRITE}
            assert acknowledged <= stored.keys()
            logged = [c.item for event in history(authz) for c in event.changes]
            assert len(logged) == len(stored) * TUPLES_PER_WRITE


def history(authz: Authz) -> list[Any]:
    """All events until the first heartbeat."""
    events = []
    for event in authz.watch("earliest", heartbeat_s=0.2):
        if not event.changes and event.schema is None:
            return events
        events.append(event)
    raise AssertionError("watch is endless")
