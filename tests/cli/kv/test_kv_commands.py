"""`weft kv` as people run it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft import kv
from weft.cli.kv.text import parse_bytes, show_bytes
from weft.cli.main import main
from weft.kv import Namespace


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Weft:
    """Runs `weft kv …` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, line: str) -> Done:
        self._monkeypatch.setattr(sys, "argv", ["weft", "kv", *shlex.split(line)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0
        return Done(code, *self._capsys.readouterr())

    def json(self, line: str) -> list[dict[str, object]]:
        done = self(line + " --json")
        assert (done.code, done.err) == (0, "")
        return [json.loads(found) for found in done.out.splitlines()]


@pytest.fixture
def weft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Weft:
    monkeypatch.chdir(tmp_path)
    with kv.open(tmp_path / ".weft" / "graph") as store:
        store.configure(Namespace(name="n"), Namespace(name="short", ttl_s=60))
    return Weft(monkeypatch, capsys)


def test_put_get_delete(weft: Weft) -> None:
    assert weft("put n ann theme=dark size=9=9 hex:00ff=hex:01").out == "3 put\n"
    assert weft("get n ann").out == "ann  hex:00ff  hex:01\nann  size  9=9\nann  theme  dark\n"
    assert weft("get n ann --prefix t").out == "ann  theme  dark\n"
    assert weft("get n 616e6e --key 00ff --hex").out == "616e6e  00ff  01\n"
    assert weft("delete n ann --key size").out == "deleted\n"
    assert [found.get("key") for found in weft.json("get n ann --reverse")] == ["theme", "hex:00ff", None]
    assert weft("delete n ann").code == 2
    assert weft("delete n ann --all").code == 0
    assert weft("get n ann").out == ""


def test_pages(weft: Weft) -> None:
    for number in range(5):
        weft(f"put n r{number} k=v")
    first = weft("scan n --limit 2")
    assert first.out.split() == ["r0", "r1"]
    cursor = first.err.split("--cursor ")[1].split(",")[0]
    assert weft(f"scan n --limit 2 --cursor {cursor}").out.split() == ["r2", "r3"]
    assert weft("scan n --limit 2 --all").out.split() == ["r0", "r1", "r2", "r3", "r4"]
    assert weft.json("scan n --limit 3")[-1]["complete"] is False
    assert weft.json("scan n")[-1] == {"complete": True, "cursor": None}


def test_an_expiry_is_told(weft: Weft) -> None:
    weft("put short r k=v --ttl 5")
    assert "(expires 20" in weft("get short r").out
    found = weft.json("get short r")[0]
    assert found["expires_at_us"] == found["event_time_us"] + 5_000_000  # type: ignore[operator]


def test_move_and_follow(weft: Weft, tmp_path: Path) -> None:
    weft("put n r k=v")
    assert weft("move n --to there").out == f"n has moved to {tmp_path / 'there'}\n"
    assert weft("get n r").out == "r  k  v\n"
    assert weft("put n r l=w").code == 0
    assert weft("get n r --data there").out == "r  k  v\nr  l  w\n"
    assert weft.json("namespaces")[0]["location"] == str(tmp_path / "there")
    assert "there" in weft("namespaces").out
    assert weft.json("stats n")[0]["live_items"] == 2
    assert "live items" in weft("stats n").out
    assert "has moved" in weft("move n --to elsewhere").err
    assert "has moved" in weft("move n --to there --abort").err


def test_a_place_that_is_gone_is_told_and_not_made_anew(weft: Weft, tmp_path: Path) -> None:
    assert weft("put n r k=v").code == 0
    assert weft("move n --to there").code == 0
    (tmp_path / "there").rename(tmp_path / "away")
    for line in ("get n r", "put n r k=w"):
        done = weft(line)
        assert (done.code, done.out) == (2, "")
        assert "where namespaces have moved to, holds no store; mount its disk, or restore it" in done.err
    assert not (tmp_path / "there").exists()
    (tmp_path / "away").rename(tmp_path / "there")
    assert "v" in weft("get n r").out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "get missing r",
            "namespace `missing` is not configured; configure it first; `weft kv namespaces` lists",
        ),
        ("get n r --data nowhere", "there is no store in `nowhere`"),
        ("put n r k", "`k` has no value"),
        ("get n r --key a --prefix b", "exclude each other"),
        ("get n xyz --hex", "`xyz` is not hexadecimal"),
        ("scan n --cursor zz", "is no cursor"),
        ("scan n --cursor 00", "another question"),
        ("move n --to .weft/graph", "already"),
        ("move n --to memory:", "name a folder"),
        ("move n --to there --abort", "is not being moved"),
        ("move missing --to there", "is not configured"),
        ("put n '' k=v", "at least one byte"),
    ],
)
def test_errors(weft: Weft, line: str, message: str) -> None:
    done = weft(line)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


@given(st.binary() | st.text().map(str.encode), st.booleans())
def test_bytes_are_read_as_they_are_shown(data: bytes, hexadecimal: bool) -> None:
    shown = show_bytes(data, hexadecimal)
    assert shown.isprintable()
    assert parse_bytes(shown, hexadecimal) == data
