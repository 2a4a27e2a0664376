"""Watch, export and import: nothing missed, nothing twice, nothing unbounded."""

from __future__ import annotations

import asyncio
import random
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.authz import EXACT, AsyncAuthz, Authz
from weft.authz.results import WatchEvent
from weft.authz.zookie import ExpiredZookie
from weft.core.errors import Invalid
from weft.testing.clock import VirtualClock
from weft.testing.processes import child_process

SCHEMA = """
definition user {}
definition group { relation member: user | group#member | user:* }
definition doc { relation viewer: user | group#member }
"""


@pytest.fixture(params=["memory", "lmdb"])
def authz(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Authz]:
    url = "memory:" if request.param == "memory" else str(tmp_path / "authz")
    with Authz.open(url, clock=VirtualClock(), retention_s=3_600) as authz:
        authz.write_schema(SCHEMA)
        yield authz


def shown(event: WatchEvent) -> list[str]:
    return [f"{change.operation} {change.item}" for change in event.changes]


def test_watch_gives_each_commit_once_in_order(authz: Authz) -> None:
    zookies = [authz.write(touch=[f"doc:{n}#viewer@user:ann"]) for n in range(250)]
    last = authz.write(delete=["doc:0#viewer@user:ann"])
    events = list(islice(authz.watch(zookies[9]), 241))
    assert [shown(event) for event in events] == [
        *([f"touch doc:{n}#viewer@user:ann"] for n in range(10, 250)),
        ["delete doc:0#viewer@user:ann"],
    ]
    assert [event.zookie for event in events] == [*zookies[10:], last]


def swapped(commits: list[Any]) -> list[Any]:
    return commits[1::-1] + commits[2:]


def skipping(commits: list[Any]) -> list[Any]:
    return commits[:1] + commits[2:]


def repeating(commits: list[Any]) -> list[Any]:
    return commits[:1] + commits


@pytest.mark.parametrize("broken", [swapped, skipping, repeating])
def test_a_watch_out_of_order_with_a_gap_or_a_repetition_would_be_noticed(
    authz: Authz, broken: Callable[[list[Any]], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails where watch breaks any part of its promise."""
    changes = authz._store.changes
    monkeypatch.setattr(
        authz._store, "changes", lambda after, *, limit: broken(changes(after, limit=limit)), raising=True
    )
    with pytest.raises(AssertionError):
        test_watch_gives_each_commit_once_in_order(authz)


def test_watch_from_the_earliest_tells_of_schemas_too(authz: Authz) -> None:
    authz.write(touch=["doc:1#viewer@user:ann"])
    first, second = islice(authz.watch("earliest"), 2)
    assert first.schema is not None
    assert first.schema.text == SCHEMA
    assert shown(second) == ["touch doc:1#viewer@user:ann"]


def test_watch_filters_by_namespace_and_sends_heartbeats(authz: Authz) -> None:
    events = authz.watch(namespaces=["group"], heartbeat_s=5)
    authz.write(touch=["doc:1#viewer@user:ann"])
    after = authz.write(touch=["doc:2#viewer@user:ann", "group:1#member@user:ann"])
    skipped = authz.write(touch=["doc:3#viewer@user:ann"])
    event, heartbeat = islice(events, 2)
    assert shown(event) == ["touch group:1#member@user:ann"]
    assert event.zookie == after
    assert shown(heartbeat) == []
    assert heartbeat.zookie == skipped
    authz.write(touch=["group:2#member@user:ann"])
    assert shown(next(events)) == ["touch group:2#member@user:ann"]


def test_watch_of_forgotten_history_says_so(authz: Authz) -> None:
    clock: Any = authz._clock
    old = authz.write(touch=["doc:1#viewer@user:ann"])
    authz.write(touch=["doc:2#viewer@user:ann"])
    clock.advance(4_000)
    authz.collect()
    with pytest.raises(ExpiredZookie, match="older"):
        next(authz.watch(old))
    authz.write(touch=["doc:3#viewer@user:ann"])
    assert shown(next(authz.watch("earliest"))) == ["touch doc:3#viewer@user:ann"]


def test_writes_collect_history_by_themselves(authz: Authz) -> None:
    clock: Any = authz._clock
    authz.write(touch=["doc:1#viewer@user:ann"])
    for _ in range(2):
        clock.advance(4_000)
        authz.write(touch=[f"doc:{clock.now_us()}#viewer@user:ann"])
    assert authz._store.oldest() == 3


def write_elsewhere(report: Callable[[Any], None], folder: str, count: int) -> None:
    with Authz.open(folder) as authz:
        for number in range(count):
            report(str(authz.write(touch=[f"doc:{number}#viewer@user:ann"])))


@pytest.mark.slow
def test_watch_follows_another_process(tmp_path: Path) -> None:
    folder = str(tmp_path / "authz")
    with Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
        events = authz.watch()
        with child_process(write_elsewhere, folder, 30) as child:
            seen = [event for event in islice(events, 30) if event.changes]
            assert [event.zookie for event in seen] == child.reports()


_lines = st.lists(
    st.builds(
        "{}#{}".format,
        st.sampled_from(["doc:a", "doc:B", "doc:é", "doc:\\#", "doc:" + "x" * 500, "doc:" + "x" * 500 + "y"]),
        st.sampled_from(["viewer@user:ann", "viewer@user:*x", "viewer@group:g#member"]),
    )
    | st.sampled_from(["group:1#member@user:*", "group:z#member@group:1#member"]),
    unique=True,
    max_size=12,
)


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
@settings(max_examples=20)
@given(lines=_lines, gone=st.integers(0, 3))
def test_what_is_exported_is_imported_and_exported_alike(kind: str, lines: list[str], gone: int) -> None:
    """Pages and runs of two lines, so that most objects are too large for one; and what was deleted since is
    exported at its moment."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
        Authz.open("memory:" if kind == "memory" else folder + "/one") as one,
        Authz.open("memory:" if kind == "memory" else folder + "/other") as other,
    ):
        patch.setattr("weft.authz.stores.lmdb_export._PAGE_ROWS", 2)
        patch.setattr("weft.authz.stores.lmdb_export._RUN_LINES", 2)
        for authz in (one, other):
            authz.write_schema(SCHEMA)
        imported = one.import_tuples(lines)
        assert imported.tuples == len(lines)
        one.write(delete=lines[:gone])
        at = EXACT(imported.zookie)
        exported = list(one.export_tuples(at=at))
        assert sorted(exported) == sorted(lines)
        other.import_tuples(line + "\n" for line in reversed(exported))
        assert list(other.export_tuples()) == exported
        for place, line in enumerate(exported):
            assert list(one.export_tuples(at=at, after=line)) == exported[place + 1 :]
        assert sorted(one.export_tuples()) == sorted(lines[gone:])


def test_large_objects_and_busy_users_go_out_and_in_again_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.authz.stores.lmdb_export._RUN_LINES", 6_000)
    lines = [f"doc:all#viewer@user:{n}" for n in range(20_000)]
    lines += [f"doc:{n}#viewer@user:busy" for n in range(20_000)]
    lines += [f"group:{n % 3}#member@group:{n}#member" for n in range(5_000)]
    shuffled = random.Random(1).sample(lines, len(lines))
    exports: list[list[str]] = []
    for name, order in (("one", shuffled), ("two", reversed(lines)), ("three", None)):
        with Authz.open(tmp_path / name) as authz:
            authz.write_schema(SCHEMA)
            authz.import_tuples(exports[0] if order is None else order)
            exports.append(list(authz.export_tuples()))
            middle = exports[0].index("doc:all#viewer@user:5")
            assert list(authz.export_tuples(after=exports[0][middle])) == exports[0][middle + 1 :]
    assert sorted(exports[0]) == sorted(lines)
    assert exports[0] == exports[1] == exports[2]


def test_every_store_exports_alike(tmp_path: Path) -> None:
    lines = [f"doc:{n % 7}{'é' * (n % 3)}#viewer@user:{n}" for n in range(50)]
    with Authz.open("memory:") as memory, Authz.open(str(tmp_path / "authz")) as lmdb:
        for authz, order in ((memory, lines), (lmdb, lines[::-1])):
            authz.write_schema(SCHEMA)
            authz.import_tuples(order)
        assert list(memory.export_tuples()) == list(lmdb.export_tuples())


def test_an_export_is_of_one_moment(authz: Authz) -> None:
    zookie = authz.import_tuples(f"doc:{n}#viewer@user:ann" for n in range(10)).zookie
    lines = authz.export_tuples(at=EXACT(zookie))
    first = next(lines)
    authz.write(delete=["doc:5#viewer@user:ann"], touch=["doc:99#viewer@user:ann"])
    assert len([first, *lines]) == 10
    assert len(list(authz.export_tuples(at=EXACT(zookie), after=first))) == 9


def test_a_bad_line_is_named_and_its_commit_not_written(authz: Authz) -> None:
    for bad, message in (
        ("doc:1", "line 3: .*lacks|line 3: .*not"),
        ("doc:1#owner@user:ann", "line 3: .*`owner`"),
        ("doc:1#viewer@doc:1", "line 3: .*takes"),
    ):
        with pytest.raises(Invalid, match=message):
            authz.import_tuples(["doc:1#viewer@user:ann", "", bad])
    assert list(authz.export_tuples()) == []


def test_transfers_take_memory_for_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.authz.transfer._IMPORT_TUPLES", 500)
    monkeypatch.setattr("weft.authz.stores.lmdb_export._PAGE_ROWS", 500)
    with Authz.open(str(tmp_path / "authz")) as authz:
        authz.write_schema(SCHEMA)
        tracemalloc.start()
        peaks = []
        for size in (1_000, 8_000):
            tracemalloc.reset_peak()
            authz.import_tuples(f"doc:{n // 8}#viewer@user:{n % 8}" for n in range(size))
            assert sum(1 for _ in authz.export_tuples()) == size
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert peaks[1] < 2 * peaks[0]


def test_async_has_the_same_names_and_answers(tmp_path: Path) -> None:
    public = {name for name in vars(Authz) | vars(Authz.__base__) if not name.startswith("_")}
    assert public - {"waits"} <= {name for name in dir(AsyncAuthz) if not name.startswith("_")}

    async def session(url: str) -> None:
        async with AsyncAuthz.open(url) as authz:
            await authz.write_schema(SCHEMA)
            zookie = await authz.write(touch=["doc:1#viewer@user:ann"])
            assert await authz.check("doc:1", "viewer", "user:ann", at=zookie)
            assert [line async for line in authz.export_tuples()] == ["doc:1#viewer@user:ann"]
            async for event in authz.watch("earliest"):
                if event.changes:
                    assert event.zookie == zookie
                    return

    asyncio.run(session("memory:"))
    asyncio.run(session(str(tmp_path / "authz")))
