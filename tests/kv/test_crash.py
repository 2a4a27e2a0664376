"""kill -9 at random instants, and readers in other processes meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.kv import Delete, ItemWrite, Namespace, Put, TokenSource
from weft.kv.lmdb import LmdbStore
from weft.testing.processes import child_process

ITEMS_PER_BATCH = 5


def write_batches(report: Callable[[object], None], path: Path, me: int) -> None:
    """Write batches over two namespaces, every third with a large value, and report each acknowledged one."""
    store = LmdbStore.open(path)
    tokens = TokenSource()
    for number in range(1_000_000):
        token = tokens.new()
        value = b"%d" % number
        if number % 3 == 0:
            value += random.Random(number).randbytes(1_100_000)
        record = b"%d-%d" % (me, number)
        store.mutate(
            [
                Put(
                    namespace=namespace,
                    record=record,
                    items=[
                        ItemWrite(b"%d" % n, value if n == 0 else b"small") for n in range(ITEMS_PER_BATCH)
                    ],
                    event_time_us=token.instant_us,
                    token=token,
                )
                for namespace in ("one", "two")
            ]
            + [
                Delete(
                    namespace="one",
                    record=b"%d-%d" % (me, number - 10),
                    event_time_us=token.instant_us,
                    token=token,
                )
            ]
        )
        report((number, len(value)))


def read_whole(report: Callable[[object], None], path: Path) -> None:
    """Report how many batches each reading finds, and whether any was half there."""
    with LmdbStore.open(path, readonly=True) as store:
        while True:
            records = store.scan_records("two").records
            page = store.get_items("two", records)
            whole = all(len(part.items) == ITEMS_PER_BATCH for part in page.records[:-1])
            report((len(records), whole and (page.next is not None or len(page.records) == len(records))))


def configured(path: Path) -> None:
    with LmdbStore.open(path) as store:
        for name in ("one", "two"):
            store.configure(Namespace(name=name, compression="none"))


@pytest.mark.slow
def test_every_acknowledged_batch_survives_and_no_half(tmp_path: Path) -> None:
    rng = random.Random(11)
    path = tmp_path / "store"
    configured(path)
    last: dict[int, tuple[int, int]] = {}
    for life in range(6):
        with (
            child_process(write_batches, path, life) as one,
            child_process(write_batches, path, -life - 1) as two,
        ):
            for me, child in ((life, one), (-life - 1, two)):
                last[me] = child.next_report()
            time.sleep(rng.uniform(0, 0.15))
            for me, child in ((life, one), (-life - 1, two)):
                child.kill()
                last[me] = (child.reports() or [last[me]])[-1]
        with LmdbStore.open(path) as store:
            for me, (number, size) in last.items():
                check_writer(store, me, number, size)


def check_writer(store: LmdbStore, me: int, acknowledged: int, size: int) -> None:
    """All batches up to the acknowledged one are there, at most one more, and each is whole."""
    there = [record for record in all_records(store, "two") if record.startswith(b"%d-" % me)]
    assert len(there) - (acknowledged + 1) in (0, 1)
    newest = len(there) - 1
    kept = [record for record in all_records(store, "one") if record.startswith(b"%d-" % me)]
    assert sorted(kept) == sorted(b"%d-%d" % (me, n) for n in range(max(0, newest - 9), newest + 1))
    for namespace in ("one", "two"):
        items = store.get_items(namespace, [b"%d-%d" % (me, acknowledged)]).items()
        assert [item.key for item in items] == [b"%d" % n for n in range(ITEMS_PER_BATCH)]
        assert len(items[0].value) == size


def all_records(store: LmdbStore, namespace: str) -> list[bytes]:
    page = store.scan_records(namespace)
    assert page.next is None
    return page.records


@pytest.mark.slow
def test_readers_in_other_processes_see_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "store"
    configured(path)
    with (
        child_process(read_whole, path) as one,
        child_process(read_whole, path) as two,
        child_process(write_batches, path, 0) as writer,
    ):
        for _ in range(20):
            writer.next_report()
        seen = []
        for reader in (one, two):
            while (report := reader.next_report())[0] < 20:
                seen.append(report)
            seen.append(report)
    counts = [count for count, _ in seen]
    assert all(whole for _, whole in seen)
    assert max(counts) >= 20
