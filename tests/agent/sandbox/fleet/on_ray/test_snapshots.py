"""Snapshots: the same files have the same name, come out as they went in, and do not fill the disk."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
import zstandard
from hypothesis import given

from weft.agent.sandbox.fleet.on_ray import snapshots
from weft.agent.sandbox.fleet.on_ray.snapshots import Shelf, pack, unpack
from weft.core.errors import Corrupt, Invalid, LimitExceeded, NotFound

names = st.text("ab.-é", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
contents = st.tuples(st.sampled_from(["file", "program", "link"]), st.binary(max_size=9))


def write(root: Path, files: dict[str, tuple[str, bytes]]) -> None:
    for name, (kind, data) in files.items():
        path = root / "deep" / name / "x"
        path.parent.mkdir(parents=True)
        if kind == "link":
            path.symlink_to("../" + data.hex())
        else:
            path.write_bytes(data)
            path.chmod(0o755 if kind == "program" else 0o640)


def seen(root: Path) -> dict[str, tuple[str, bytes]]:
    found = {}
    for name in os.listdir(root / "deep"):
        path = root / "deep" / name / "x"
        if path.is_symlink():
            found[name] = "link", bytes.fromhex(os.readlink(path)[3:])
        else:
            found[name] = "program" if os.access(path, os.X_OK) else "file", path.read_bytes()
    return found


@given(st.dictionaries(names, contents, min_size=1, max_size=4))
def test_what_went_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, tuple[str, bytes]]
) -> None:
    one, other, out = (tmp_path_factory.mktemp(name) for name in ("one", "other", "out"))
    write(one, files)
    write(other, dict(reversed(files.items())))
    name, data = pack(one)
    assert pack(other) == (name, data), "whenever and in whatever order they were written"
    unpack(name, data, str(out / "root"))
    assert seen(out / "root") == files
    assert pack(out / "root")[0] == name
    os.rename(one / "deep", one / "other")
    assert pack(one)[0] != name


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    name, _ = pack(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    assert pack(tmp_path)[0] == name
    with pytest.raises(NotFound):
        pack(tmp_path / "a")


def test_a_folder_of_links_leads_nowhere(tmp_path: Path) -> None:
    """A link to a folder is a link, and nothing is written through it, whatever a snapshot says."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    name, data = pack(tmp_path / "in")
    unpack(name, data, str(tmp_path / "root"))
    assert os.readlink(tmp_path / "root" / "out") == str(tmp_path)


@pytest.mark.parametrize("path", [b"../x", b"/x", b"a//x", b"a/./x", b"", b"a/../../x"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: bytes) -> None:
    name, data = forged((path, 0o100644, b"bad"))
    with pytest.raises(Corrupt, match="cannot hold"):
        unpack(name, data, str(tmp_path / "root"))
    assert not (tmp_path / "x").exists()


def test_a_file_below_a_link_is_refused(tmp_path: Path) -> None:
    name, data = forged((b"a", 0o120000, os.fsencode(tmp_path)), (b"a/x", 0o100644, b"bad"))
    with pytest.raises(FileExistsError):
        unpack(name, data, str(tmp_path / "root"))
    assert not (tmp_path / "x").exists()


def forged(*files: tuple[bytes, int, bytes]) -> tuple[str, bytes]:
    import hashlib

    body = msgspec.msgpack.encode(files)
    return hashlib.sha256(body).hexdigest(), zstandard.compress(body)


def test_what_is_not_what_its_name_says_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    name, data = pack(tmp_path)
    for other in (data[:-3], b"", b"x" * 20, zstandard.compress(b"other")):
        with pytest.raises(Corrupt, match="upload it again"):
            unpack(name, other, str(tmp_path / "root"))
        assert not (tmp_path / "root").exists()


def test_one_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_SNAPSHOT_BYTES", 100)
    (tmp_path / "a").write_bytes(b"a" * 101)
    with pytest.raises(LimitExceeded, match="snapshot"):
        pack(tmp_path)


@pytest.fixture
def packed(tmp_path: Path) -> list[tuple[str, bytes]]:
    found = []
    for number in range(4):
        root = tmp_path / f"repository {number}"
        root.mkdir()
        (root / "a").write_bytes(os.urandom(1_000))
        found.append(pack(root))
    return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "shelf").mkdir()
    return Shelf(str(tmp_path / "shelf"), 3_500)


def test_the_longest_unused_goes_and_what_is_used_stays(
    shelf: Shelf, packed: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    for name, data in packed[:3]:
        shelf.put(name, lambda data=data: data)
    first = Path(shelf.take(packed[0][0]))
    shelf.take(packed[1][0])
    shelf.give_back(packed[1][0])
    shelf.put(packed[3][0], lambda: packed[3][1])
    assert (first / "a").exists(), "somebody stands on it"
    assert set(shelf.names) == {packed[0][0], packed[1][0], packed[3][0]}
    assert shelf.read(packed[2][0]) is None
    with pytest.raises(NotFound, match="upload it again"):
        shelf.take(packed[2][0])
    assert sorted(path.name for path in (tmp_path / "shelf").iterdir()) == sorted(
        each for name in shelf.names for each in (name, f"{name}.packed")
    )
    assert shelf.read(packed[0][0]) == packed[0][1]


def test_many_that_want_it_at_once_fetch_it_once(shelf: Shelf, packed: list[tuple[str, bytes]]) -> None:
    fetched: list[int] = []
    name, data = packed[0]

    def fetch() -> bytes:
        fetched.append(1)
        time.sleep(0.01)
        return data

    threads = [threading.Thread(target=shelf.put, args=(name, fetch)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(fetched) == 1
    assert shelf.names == [name]


def test_one_that_could_not_be_had_is_tried_again(
    shelf: Shelf, packed: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    name, data = packed[0]
    with pytest.raises(Corrupt):
        shelf.put(name, lambda: data[:-1])
    with pytest.raises(Invalid, match="no snapshot's name"):
        shelf.put("../out", lambda: data)
    assert not list((tmp_path / "shelf").iterdir())
    shelf.put(name, lambda: data)
    assert shelf.names == [name]
