"""The index in a file: what is saved is what is loaded, and nothing of it is believed against the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.authz import LATEST, Authz
from weft.authz.leopard import leopard as module
from weft.authz.leopard.file import Origin, load, save
from weft.authz.leopard.index import Edge, Index
from weft.authz.leopard.leopard import FILE
from weft.core.randomness import derived_random

SCHEMA = "definition user {} definition group { relation member: user | group#member }"
MEMBER, ALL, GROUP = 3, 4, 2
KIND, ALL_KIND = MEMBER << 16 | GROUP, ALL << 16 | GROUP
ORIGIN = Origin(b"store-id", b"shape-01")
GROUPS = range(1, 30)


def group(serial: int, relation: int = MEMBER) -> int:
    return relation << 64 | GROUP << 48 | serial


def fresh() -> Index:
    return Index((KIND, ALL_KIND), {KIND: (ALL,)})


def edges_of(pairs: set[tuple[int, int]]) -> list[Edge]:
    return [Edge(group(parent), group(child), True) for parent, child in sorted(pairs)]


def answers(index: Index) -> list[object]:
    every = [group(serial, relation) for serial in GROUPS for relation in (MEMBER, ALL)]
    listed = [ask(at, index.revision) for at in every for ask in (index.groups_of, index.groups_below)]
    return [
        *(index.contains(who, at, index.revision) for at in every for who in every),
        *(found and (sorted(found.sure), sorted(found.possible)) for found in listed),
    ]


@pytest.fixture
def pairs() -> set[tuple[int, int]]:
    rng = derived_random(5, "file")
    return {(rng.choice(GROUPS), rng.choice(GROUPS)) for _ in range(40)}


def test_what_is_loaded_answers_as_what_was_saved(tmp_path: Path, pairs: set[tuple[int, int]]) -> None:
    built, again = fresh(), fresh()
    built.build(7, edges_of(pairs))
    save(tmp_path / "index", ORIGIN, built.snapshot())
    again.build(7, edges_of(pairs), load(tmp_path / "index", ORIGIN))
    assert again.restored
    assert not again._sure.below, "nothing is read before it is asked for"
    assert answers(again) == answers(built)


@pytest.mark.parametrize("seed", range(10))
def test_the_rows_have_the_last_word_about_edges(
    tmp_path: Path, pairs: set[tuple[int, int]], seed: int
) -> None:
    """Saved at some moment, loaded at another, and changed afterwards."""
    rng = derived_random(seed, "rows")
    before, built, again = fresh(), fresh(), fresh()
    before.build(7, edges_of(pairs))
    save(tmp_path / "index", ORIGIN, before.snapshot())
    removed = set(rng.sample(sorted(pairs), 2))
    now = (pairs - removed) | {(rng.choice(GROUPS), rng.choice(GROUPS)), (rng.choice(GROUPS), 40)}
    again.build(9, edges_of(now), load(tmp_path / "index", ORIGIN))
    assert again.restored
    for revision in range(10, 30):
        pair = rng.choice(GROUPS), rng.choice(GROUPS)
        now ^= {pair}
        again.apply(revision, [Edge(group(pair[0]), group(pair[1]), True if pair in now else None)])
    again.repair()
    built.build(29, edges_of(now))
    assert answers(again) == answers(built)


def test_sets_of_other_edges_are_built_anew(tmp_path: Path, pairs: set[tuple[int, int]]) -> None:
    before, again, built = fresh(), fresh(), fresh()
    before.build(7, edges_of(pairs))
    save(tmp_path / "index", ORIGIN, before.snapshot())
    again.build(8, edges_of({(1, 2), (2, 3)}), load(tmp_path / "index", ORIGIN))
    built.build(8, edges_of({(1, 2), (2, 3)}))
    assert not again.restored
    assert again.contains(group(3), group(1), 8) is True
    assert again.contains(group(1), group(3), 8) is False


def test_a_file_that_is_damaged_foreign_or_none_is_no_file(
    tmp_path: Path, pairs: set[tuple[int, int]]
) -> None:
    path, built = tmp_path / "index", fresh()
    assert load(path, ORIGIN) is None
    built.build(7, edges_of(pairs))
    save(path, ORIGIN, built.snapshot())
    whole = path.read_bytes()
    assert load(path, ORIGIN) is not None
    assert load(path, ORIGIN._replace(store_id=b"another1")) is None
    assert load(path, ORIGIN._replace(shape=b"another1")) is None
    rng = derived_random(1, "damage")
    for at in (*range(0, 80, 5), *rng.sample(range(len(whole)), 20)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert load(path, ORIGIN) is None, at
    for size in (0, 10, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert load(path, ORIGIN) is None, size
    assert [file.name for file in tmp_path.iterdir()] == ["index"]


def test_a_large_index_is_kept_beside_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(module, "PAYS_FROM", 0)
    monkeypatch.setattr(module, "SAVED_FROM", 10)
    chain = [f"group:{n}#member@group:{n + 1}#member" for n in range(20)]
    for round_ in range(3):
        with Authz.open(tmp_path / "authz") as authz:
            if not round_:
                authz.write_schema(
                    "definition user {} definition group { relation member: user | group#member }"
                )
                authz.write(touch=[*chain, "group:20#member@user:1"])
            else:
                assert (tmp_path / "authz" / FILE).exists()
                authz.write(touch=[f"group:20#member@group:x{round_}#member"])
            assert len(authz.list_objects("group", "member", "user:1", at=LATEST).items) == 21
            leopard = authz._leopard
            assert leopard is not None
            assert leopard._index is not None
            assert leopard._index.restored is bool(round_)


def test_where_nothing_can_be_written_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("weft.authz.leopard.file.os.fsync", fails)
    built = fresh()
    built.build(1, [])
    with pytest.raises(OSError, match="no space"):
        save(tmp_path / "index", ORIGIN, built.snapshot())
    assert not list(tmp_path.iterdir())
