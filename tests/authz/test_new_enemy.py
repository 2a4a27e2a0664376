"""The new enemy problem (Zanzibar, section 2.2), in both forms: shown with the guard out, gone with it in.

A quantization window stands for any cache or replica: it serves a revision of some seconds ago. Two processes
share a directory, so the guard cannot be something that the writer's process remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from weft.authz import LATEST, Authz, Zookie
from weft.testing.clock import VirtualClock
from weft.testing.processes import child_process

WINDOW_S = 10.0
SCHEMA = """
definition user {}
definition folder { relation viewer: user }
definition doc {
  relation parent: folder
  relation viewer: user
  permission view = viewer + parent->viewer
}
"""


def write_elsewhere(report: Callable[[Any], None], folder: str, now_us: int, writes: list[Any]) -> None:
    """In another process: write, one commit after the other, and report the zookies."""
    clock = VirtualClock(now_us)
    with Authz.open(folder, clock=clock) as authz:
        for write in writes:
            clock.advance(0.001)
            report(str(authz.write(**write)))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(1_767_225_600_000_000)


@pytest.fixture
def reader(tmp_path: Path, clock: VirtualClock) -> Iterator[Authz]:
    with Authz.open(str(tmp_path / "authz"), clock=clock, window_s=WINDOW_S) as authz:
        authz.write_schema(SCHEMA)
        authz.write(touch=["folder:plans#viewer@user:bob", "doc:old#parent@folder:plans"])
        clock.advance(WINDOW_S + 1)
        yield authz


def elsewhere(tmp_path: Path, clock: VirtualClock, *writes: dict[str, list[str]]) -> list[Zookie]:
    folder = str(tmp_path / "authz")
    with child_process(write_elsewhere, folder, clock.now_us(), list(writes)) as child:
        return [Zookie(child.next_report()) for _ in writes]


@pytest.mark.slow
def test_order_of_two_access_list_updates(tmp_path: Path, clock: VirtualClock, reader: Authz) -> None:
    """Bob loses the folder; then a new document is put into it. He must never see the new document."""
    removed, moved = elsewhere(
        tmp_path,
        clock,
        {"delete": ["folder:plans#viewer@user:bob"]},
        {"touch": ["doc:new#parent@folder:plans"]},
    )
    clock.advance(0.1)
    assert reader.check("doc:new", "view", "user:bob", contextual_tuples=["doc:new#parent@folder:plans"]), (
        "without the guard a stale access list must let bob in, or this test shows nothing"
    )
    assert not reader.check("doc:new", "view", "user:bob", at=moved)
    assert not reader.check("doc:new", "view", "user:bob", at=removed)
    assert not reader.check("doc:new", "view", "user:bob", at=LATEST)


@pytest.mark.slow
def test_old_access_list_applied_to_new_content(tmp_path: Path, clock: VirtualClock, reader: Authz) -> None:
    """Bob loses the document; then its content changes. He must never see the new content."""
    [removed] = elsewhere(tmp_path, clock, {"delete": ["folder:plans#viewer@user:bob"]})
    clock.advance(0.1)
    content = reader.content_change_check("doc:old", "view", "user:bob").zookie
    assert reader.check("doc:old", "view", "user:bob"), (
        "without the content's zookie a stale access list must let bob in, or this test shows nothing"
    )
    assert not reader.check("doc:old", "view", "user:bob", at=content)
    assert not reader.check("doc:old", "view", "user:bob", at=removed)
    clock.advance(WINDOW_S)
    assert not reader.check("doc:old", "view", "user:bob")


@pytest.mark.slow
def test_other_processes_see_schema_and_tuples_at_once(tmp_path: Path, clock: VirtualClock) -> None:
    with Authz.open(str(tmp_path / "authz"), clock=clock) as authz:
        authz.write_schema(SCHEMA)
        elsewhere(tmp_path, clock, {"touch": ["doc:1#viewer@user:ann"]})
        assert authz.check("doc:1", "view", "user:ann")
