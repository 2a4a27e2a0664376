from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import weft.kv
from weft.core.errors import Corrupt, Invalid, NotFound
from weft.core.lmdb_env import LmdbEnv
from weft.kv import ItemWrite, Namespace
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.wrappers.routed import RoutedStore
from weft.testing.kv.questions import read

PLAIN = Namespace(name="n", compression="none")


def test_memory() -> None:
    store = weft.kv.open("memory:", namespaces=[PLAIN])
    assert isinstance(store, MemoryStore)
    assert store.namespaces() == [PLAIN]


def test_a_directory_is_made_and_configured_once(tmp_path: Path) -> None:
    with weft.kv.open(tmp_path / "a" / "b", namespaces=[PLAIN]) as store:
        assert isinstance(store, RoutedStore)
        generation = store.generation()
    with weft.kv.open(str(tmp_path / "a" / "b"), namespaces=[PLAIN]) as store:
        assert store.generation() == generation
        assert store.namespaces() == [PLAIN]
    with weft.kv.open(tmp_path / "a" / "b", namespaces=[Namespace(name="n")]) as store:
        assert store.namespaces() == [Namespace(name="n")]


def test_a_reader_reads_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        weft.kv.open(tmp_path / "store", readonly=True)
    with weft.kv.open(tmp_path / "store", namespaces=[PLAIN]) as store:
        store.put_items("n", b"r", [ItemWrite(b"k", b"v")])
    with weft.kv.open(tmp_path / "store", namespaces=[Namespace(name="m")], readonly=True) as store:
        assert read(store, b"r") == {b"k": b"v"}
        assert store.namespaces() == [PLAIN]
        for use in (lambda: store.put_items("n", b"r", {b"k": b"w"}), store.sweep):
            with pytest.raises(Invalid, match="reading only"):
                use()


def test_a_bad_namespace_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        weft.kv.open(tmp_path / "store", namespaces=[Namespace(name="Bad Name")])
    weft.kv.open(tmp_path / "store").close()


def test_a_damaged_value_is_corrupt(tmp_path: Path) -> None:
    with LmdbStore.open(tmp_path / "store") as store:
        store.configure(Namespace(name="n"))
        store.put_items("n", b"r", {b"k": b"v" * 5_000})
        env: LmdbEnv = store._env

        def damage(txn: object) -> None:
            cursor = txn.cursor(db=env.database("items"))  # type: ignore[attr-defined]
            cursor.first()
            cursor.put(cursor.key(), cursor.value()[:50] + b"damage")

        env.write(damage)
        with pytest.raises(Corrupt, match="decompress"):
            read(store, b"r")


def test_importing_loads_no_engine() -> None:
    code = "import sys, weft.kv; print({'lmdb', 'zstandard', 'structlog', 'pydantic'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_no_chunk_outlives_its_value(tmp_path: Path) -> None:
    large = bytes(3 << 20)
    with LmdbStore.open(tmp_path / "store") as store:
        store.configure(PLAIN)
        chunks = []
        store.put_items("n", b"r", {b"k": large, b"l": large})
        for change in (
            lambda: store.put_items("n", b"r", {b"k": b"small"}),
            lambda: store.delete("n", b"r"),
        ):
            change()
            with store._env.read() as txn:
                chunks.append(txn.stat(db=store._env.database("chunks"))["entries"])
    assert chunks == [3, 0]


@pytest.mark.parametrize("url", ["cassandra://member/keyspace", "memory:name", "memory://"])
def test_a_url_that_no_store_has_is_refused_and_makes_no_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Invalid, match="is no store that there is; name a folder, or `memory:`"):
        weft.kv.open(url)
    assert not list(tmp_path.iterdir())
