"""LMDB's straight path: it ends pages where the general one does, and knows no namespace past a commit."""

from __future__ import annotations

import pytest

from weft.kv import Namespace, Range
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.move import Moving
from weft.kv.store import Moved


def _pages(store, records, selection, limit):
    pages, after = [], None
    while not pages or after is not None:
        page = store.get_items("n", records, *selection, limit_per_record=limit, after=after)
        pages.append([(part.record, [item.key for item in part.items]) for part in page.records])
        after = page.next
    return pages


@pytest.mark.parametrize(
    ("records", "items", "size", "limit", "pages"),
    [
        (7, 1_500, 1, None, 2),
        (4, 6_000, 1, 5_000, 2),
        (3, 11_000, 1, 10_000, 3),
        (2, 12, 999_999, None, 3),
    ],
)
def test_pages_are_those_of_the_general_path(tmp_path, records, items, size, limit, pages):
    with LmdbStore.open(tmp_path / "store") as store:
        store.configure(Namespace(name="n", compression="none"))
        names = [b"%d" % number for number in range(records)]
        for name in names:
            store.put_items("n", name, {b"%05d" % number: b"x" * size for number in range(items)})
        straight = _pages(store, names, (), limit)
        assert straight == _pages(store, names, (Range(),), limit)
        assert len(straight) == pages
        found = [(name, key) for page in straight for name, keys in page for key in keys]
        assert found == [(name, b"%05d" % n) for name in names for n in range(items)[:limit]]


def test_who_has_read_a_namespace_learns_that_it_moves(tmp_path):
    with LmdbStore.open(tmp_path / "store") as store, MemoryStore() as target:
        store.configure(Namespace(name="n"))
        store.put_items("n", b"r", {b"k": b"v"})
        assert store.get_items("n", [b"r"]).items()
        Moving(store, target, "n", location="there").run()
        with pytest.raises(Moved):
            store.get_items("n", [b"r"])
