"""Zookies: each way in which one can be wrong has an error of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.authz import EXACT, LATEST, Authz, Zookie
from weft.authz.zookie import BadZookie, ExpiredZookie, ForeignZookie, FutureZookie, Moment, ZookieMint
from weft.testing.clock import VirtualClock

SCHEMA = "definition user {} definition doc { relation viewer: user }"
ANN = "doc:1#viewer@user:ann"
MINT = ZookieMint(b"store--1", b"k" * 16)
MOMENT = Moment(7, 1_767_225_600_000_000, 3)
U64 = st.integers(0, 2**64 - 1)


@given(U64, U64, U64)
def test_reading_is_the_inverse_of_making(revision: int, wall_us: int, schema_revision: int) -> None:
    moment = Moment(revision, wall_us, schema_revision)
    zookie = MINT.make(moment)
    assert MINT.read(zookie) == moment
    assert re.fullmatch(r"[A-Za-z0-9_-]+", zookie)
    assert isinstance(zookie, Zookie)


@given(st.integers(0, 55), st.sampled_from("abcXYZ019-_"))
def test_any_change_is_noticed(place: int, letter: str) -> None:
    zookie = MINT.make(MOMENT)
    changed = zookie[:place] + letter + zookie[place + 1 :]
    if changed != zookie:
        with pytest.raises((BadZookie, ForeignZookie)):
            MINT.read(changed)


@given(st.text() | st.none() | st.integers())
def test_garbage_is_no_zookie(garbage: str) -> None:
    with pytest.raises(BadZookie, match="unchanged"):
        MINT.read(garbage)


def test_a_forged_zookie_needs_the_key() -> None:
    with pytest.raises(BadZookie, match="checksum"):
        MINT.read(ZookieMint(b"store--1", b"x" * 16).make(MOMENT))


def test_a_zookie_of_another_store_says_so() -> None:
    with Authz.open("memory:") as one, Authz.open("memory:") as other:
        zookie = one.write_schema(SCHEMA)
        other.write_schema(SCHEMA)
        with pytest.raises(ForeignZookie, match="another store"):
            other.check("doc:1", "viewer", "user:ann", at=zookie)


def test_a_zookie_from_the_future_says_so() -> None:
    with Authz.open("memory:") as authz:
        authz.write_schema(SCHEMA)
        ahead = ZookieMint(authz._store.store_id, authz._store.secret).make(Moment(9, 0, 1))
        for at in (ahead, EXACT(ahead)):
            with pytest.raises(FutureZookie, match="revision 9, the store is at 1"):
                authz.check("doc:1", "viewer", "user:ann", at=at)


def test_an_exact_zookie_older_than_history_says_so() -> None:
    clock = VirtualClock()
    with Authz.open("memory:", clock=clock, retention_s=60) as authz:
        authz.write_schema(SCHEMA)
        old = authz.write(touch=[ANN])
        clock.advance(10)
        authz.write(delete=[ANN])
        clock.advance(100)
        assert authz.check("doc:1", "viewer", "user:ann", at=EXACT(old))
        authz.collect()
        with pytest.raises(ExpiredZookie, match="older"):
            authz.check("doc:1", "viewer", "user:ann", at=EXACT(old))
        assert not authz.check("doc:1", "viewer", "user:ann", at=old)


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
def test_the_modes(kind: str, tmp_path: Path) -> None:
    clock = VirtualClock(1_767_225_600_000_000)
    url = "memory:" if kind == "memory" else str(tmp_path / "authz")
    with Authz.open(url, clock=clock, window_s=10) as authz:
        authz.write_schema(SCHEMA)
        clock.advance(10)
        first = authz.write(touch=[ANN])
        clock.advance(1)
        second = authz.write(delete=[ANN])

        def allowed(at: object = None) -> bool:
            return authz.check("doc:1", "viewer", "user:ann", at=at).allowed  # type: ignore[arg-type]

        assert allowed()
        assert allowed(EXACT(first))
        assert allowed(first)
        assert not allowed(second)
        assert not allowed(EXACT(second))
        assert not allowed(LATEST)
        clock.advance(10)
        assert not allowed()


def test_requests_of_one_window_share_a_revision_that_is_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock(1_767_225_600_000_000)
    with Authz.open(tmp_path / "authz", clock=clock, window_s=10) as authz:
        authz.write_schema(SCHEMA)
        asked: list[int] = []
        revision_at = authz._store.revision_at

        def noting(wall_us: int) -> int:
            asked.append(wall_us)
            return revision_at(wall_us)

        monkeypatch.setattr(authz._store, "revision_at", noting)
        zookies = []
        for _ in range(4):
            clock.advance(5)
            authz.write(touch=[ANN])
            authz.write(delete=[ANN])
            zookies += [authz.check("doc:1", "viewer", "user:ann").zookie for _ in range(3)]
        assert len(asked) == len(set(asked))
        assert len(set(zookies[3:9])) == 1
        assert len(set(zookies)) == 3


def test_after_restoring_an_old_copy_zookies_of_the_lost_future_are_told(tmp_path: Path) -> None:
    clock = VirtualClock()
    with Authz.open(tmp_path / "store", clock=clock) as authz:
        authz.write_schema(SCHEMA)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with Authz.open(tmp_path / "store", clock=clock) as authz:
        clock.advance(1)
        lost = authz.write(touch=[ANN])
    with Authz.open(tmp_path / "copy", clock=clock) as restored:
        with pytest.raises(FutureZookie):
            restored.check("doc:1", "viewer", "user:ann", at=EXACT(lost))
        clock.advance(1)
        restored.write(touch=["doc:2#viewer@user:bob"])
        for at in (lost, EXACT(lost)):
            with pytest.raises(ForeignZookie, match="never had"):
                restored.check("doc:1", "viewer", "user:ann", at=at)
