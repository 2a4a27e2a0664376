"""Import and export: the same tuples come back, and what broke off goes on to the same end."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from weft.authz import Authz
from weft.cli.authz import exporting, importing

SUFFIXES = ["", ".gz", ".zst"]


def unpacked(file: Path) -> bytes:
    raw = file.read_bytes()
    if file.suffix == ".gz":
        return gzip.decompress(raw)
    if file.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    return raw


def lines(count: int) -> list[str]:
    return [f"doc:{number:04}#reader@user:u{number % 7}" for number in range(count)]


def written(count: int) -> str:
    return "".join(f"{line}\n" for line in lines(count))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_exported_is_imported_the_same(
    store: Any, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_TUPLES", 4)
    odd = 'doc:a\\nb\\#\\[#reader@user:ü[in_region:{"allowed":["\\n"]}]'
    store("import", "-", stdin=written(10) + odd + "\n")
    done = store("export", f"all{suffix}", "--json")
    told = json.loads(done.out)
    assert told["tuples"] == 11
    assert told["bytes"] == (tmp_path / f"all{suffix}").stat().st_size
    assert unpacked(tmp_path / f"all{suffix}").decode() == store("export -").out
    store("schema write schema.zed --data other")
    done = store(f"import all{suffix} --data other --json")
    assert (done.code, json.loads(done.out)["tuples"]) == (0, 11), done.err
    assert store("export - --data other").out == store("export -").out
    assert sorted(path.name for path in tmp_path.glob("all*")) == [f"all{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_broken_export_goes_on_at_its_own_moment(
    store: Any, tmp_path: Path, suffix: str, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_TUPLES", 3)
    store("import", "-", stdin=written(14))
    file = tmp_path / f"all{suffix}"
    undisturbed = store("export -").out
    with monkeypatch.context() as breaking:
        breaking.setattr(exporting, "_frames", broken_after(frames, exporting._frames))
        assert store(f"export all{suffix}").code == 130
    assert not file.exists()
    part = tmp_path / f"all{suffix}.part"
    with part.open("ab") as opened:
        opened.write(b"half a frame that the break left" * 1_000)
    store(
        "write", "delete doc:0013#reader@user:u6", "delete doc:0000#reader@user:u0", "doc:0007#reader@user:x"
    )
    done = store(f"export all{suffix} --json")
    assert done.code == 0, done.err
    assert unpacked(file).decode() == undisturbed
    assert json.loads(done.out)["tuples"] == 14
    assert [path.name for path in tmp_path.glob("all*")] == [file.name]


def broken_after(count: int, frames: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def broken(*arguments: Any) -> Iterator[Any]:
        for number, frame in enumerate(frames(*arguments)):
            if number == count:
                raise KeyboardInterrupt
            yield frame

    return broken


def test_a_broken_export_takes_no_other_moment(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_TUPLES", 3)
    zookie = json.loads(store("import", "-", "--json", stdin=written(14)).out)["zookie"]
    with monkeypatch.context() as breaking:
        breaking.setattr(exporting, "_frames", broken_after(2, exporting._frames))
        store("export all")
    refused = store("export", "all", "--at", zookie, "--exact")
    assert (refused.code, "goes on at its own moment" in refused.err) == (2, True)
    store("schema write schema.zed --data other")
    foreign = "`all.part` cannot go on: zookie belongs to another store; remove `all.part.state` to begin"
    assert foreign in store("export all --data other").err
    state = tmp_path / "all.part.state"
    state.write_text("{")
    assert "is damaged; remove `all.part.state`" in store("export all").err
    state.unlink()
    (tmp_path / "all").write_text("from before")
    assert store("export all").code == 0
    assert (tmp_path / "all").read_text() == store("export -").out


def test_an_export_that_cannot_be_written_is_one_line(store: Any) -> None:
    done = store("export nowhere/all.zst")
    assert done.code == 2
    assert done.err.startswith("weft: cannot write `nowhere/all.zst.part")
    assert done.err.count("\n") == 1


def test_a_broken_import_says_where_to_go_on(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_LINES", 4)
    text = written(14).splitlines(keepends=True)
    text.insert(3, "\n")
    bad = [*text[:9], "doc:9#nobody@user:x\n", *text[9:]]
    (tmp_path / "in").write_text("".join(bad))
    done = store("import in")
    assert done.code == 2
    assert done.err.splitlines() == [
        "7 tuples are written; to go on: --from-line 9",
        "weft: in: line 10: namespace `doc` has no relation `nobody`; known are: `banned`, `reader`, `view`",
    ]
    assert store("export -").out.splitlines() == lines(7)
    (tmp_path / "in").write_text("".join(text))
    assert store("import in --from-line 9 --json").code == 0
    assert store("export -").out.splitlines() == lines(14)


def test_an_import_that_is_repeated_changes_nothing(store: Any) -> None:
    first = json.loads(store("import", "-", "--json", stdin=written(5)).out)
    assert json.loads(store("import", "-", "--json", stdin=written(5)).out) == first
    assert first["tuples"] == 5


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_that_is_cut_off_is_never_taken_for_whole(
    store: Any, tmp_path: Path, suffix: str
) -> None:
    rng = random.Random(5)
    body = "".join(f"doc:{rng.getrandbits(64):x}#reader@user:ann\n" for _ in range(200)).encode()
    packed = gzip.compress(body) if suffix == ".gz" else zstandard.ZstdCompressor().compress(body)
    for length in (len(packed) - 1, len(packed) // 2, 9):
        (tmp_path / f"cut{suffix}").write_bytes(packed[:length])
        done = store(f"import cut{suffix}")
        assert (done.code, "is cut off or damaged" in done.err) == (2, True), length
    (tmp_path / f"cut{suffix}").write_bytes(b"not packed at all, whatever its name says")
    assert "is cut off or damaged" in store(f"import cut{suffix}").err


def test_bytes_that_are_no_text_name_their_line(store: Any) -> None:
    done = store("import", "-", stdin=b"doc:1#reader@user:ann\n\xff\n")
    assert "`standard input: line 2` is not UTF-8" in done.err


def test_the_progress_of_an_import_ends_where_the_file_ends(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []

    class Bar:
        def __call__(self, what: str, total: int, unit: str, *, quiet: bool) -> "Bar":
            assert (total, unit, quiet) == ((tmp_path / "in").stat().st_size, "tuples", False)
            return self

        def __enter__(self) -> Callable[[int, int], None]:
            return lambda done, tuples: told.append((done, tuples))

        def __exit__(self, *exc_info: object) -> None: ...

    monkeypatch.setattr(importing, "progress", Bar())
    monkeypatch.setattr(importing, "_LINES", 4)
    (tmp_path / "in").write_text(written(10))
    store("import in")
    assert [tuples for _, tuples in told] == [4, 8, 10]
    assert told[-1][0] == (tmp_path / "in").stat().st_size


def test_a_store_without_a_schema_is_told_so(weft: Any, tmp_path: Path) -> None:
    Authz.open(str(tmp_path / "empty")).close()
    done = weft("import", "-", "--data", "empty", stdin=written(1))
    assert (done.code, "no schema yet" in done.err) == (2, True)
