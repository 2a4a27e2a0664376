"""Whatever a frame holds, the compiled executor answers or ends by itself, and never by a signal."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

OPS = ("run", "read", "write", "stat", "list", "delete", "move", "resolve", "start", "poll", "feed", "stop")
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.sampled_from(
        [b"..", b"x" * 300, [b"true"], [b"nope"], {"A": "b"}, ".", 1.0, 1_000, [], [b""], b"l/l"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
_PATHS = st.sampled_from(
    [b"", b"..", b"l/l", b"x" * 300, b"x/" * 200, b"\0", b"a", b"a/b/c", b"\xff", b"a/../a"]
)
_NUMBERS = st.sampled_from([-(2**63), -1, 0, 1, 7, 2**31, 2**63 - 1])
# Times are short, as they are the host's to give.
_FIELDS = {
    "path": _PATHS,
    "target": _PATHS,
    "data": st.binary(max_size=40),
    "limit_bytes": _NUMBERS,
    "output_bytes": _NUMBERS,
    "job": st.integers(0, 3),
    "feed": st.booleans(),
    "argv": st.sampled_from([[b"true"], [b"nope"], [b""], [], [b"echo", b"\0"], [b"seq", b"9"], [b"cat"]]),
    "folder": st.sampled_from([".", "a", "nowhere", "\0", "y" * 5_000]),
    "environment": st.sampled_from(
        [{}, {"A": "b"}, {"": "x"}, {"A=": "b"}, {"PATH": "\0"}, {"PATH": ":::a"}]
    ),
    "timeout_s": st.sampled_from([0.01, -1.0, float("nan"), 0]),
    "wait_s": st.sampled_from([0.0, 0.01, -1.0, float("nan")]),
}
# One in ten of another type or missing.
_REQUESTS = st.fixed_dictionaries(
    {"op": st.sampled_from(OPS)},
    optional={
        name: st.sampled_from(range(10)).flatmap(lambda n, right=right: right if n else _VALUES)
        for name, right in _FIELDS.items()
    },
)
_COMPLETE = st.fixed_dictionaries({"op": st.sampled_from(OPS), **_FIELDS})


@pytest.fixture(scope="module")
def checked(sanitized: str, tmp_path_factory: pytest.TempPathFactory, peer_type: Any) -> Iterator[Any]:
    """Watched by the sanitizers; deep enough below the test's folder that `..` leads nowhere else."""
    workspace = tmp_path_factory.mktemp("garbage") / ("d/" * 60) / "w"
    workspace.mkdir(parents=True)
    (workspace / "l").symlink_to("l")
    with peer_type([sanitized, "guest"], workspace) as opened:
        yield opened


def _survives(checked: Any, body: bytes) -> None:
    checked.send_raw(body)
    while "out" in checked.receive():
        pass
    assert checked.ask("stat", path=b".")["kind"] == "folder"


@pytest.mark.slow
@given(_REQUESTS | _COMPLETE | _VALUES)
def test_requests_of_the_wrong_types(checked: Any, asked: Any) -> None:
    if not _reaches_out(asked):
        _survives(checked, msgspec.msgpack.encode(asked))


def _reaches_out(request: Any) -> bool:
    """Whether a path that chance made is one of this machine; none of those is to be touched."""
    if not isinstance(request, dict):
        return False
    paths = [request.get("path"), request.get("target"), request.get("folder")]
    return any(isinstance(path, bytes | str) and path[:1] in (b"/", "/") for path in paths)


@given(st.binary(max_size=60))
def test_bytes_of_any_kind(checked: Any, body: bytes) -> None:
    _survives(checked, body)


@given(st.data())
def test_requests_that_are_cut_off_or_changed(checked: Any, data: st.DataObject) -> None:
    whole = msgspec.msgpack.encode(
        {"op": "resolve", "path": b"a/b", "data": b"xyz", "environment": {"A": "b"}, "argv": [b"true"]}
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    # Behind the operation's name, which thus stays harmless.
    flipped = bytearray(whole)
    flipped[max(at, 16)] ^= data.draw(st.integers(1, 255))
    _survives(checked, whole[:at])
    _survives(checked, bytes(flipped))


def test_depth_and_lengths_without_end(checked: Any) -> None:
    key = msgspec.msgpack.encode("op")
    for body in (
        b"\x91" * 5_000_000,
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff" * 1_000,
        b"\x81" + key + b"\xc6\xff\xff\xff\xffx",
        b"\x81" * 1_000_000,
        b"\x81" + key + b"\x91" * 1_000_000,
    ):
        _survives(checked, body)


def test_a_frame_too_long_or_cut_off_is_the_end(program: str, tmp_path: Path, peer_type: Any) -> None:
    for raw in (struct.pack(">I", (72 << 20) + 1), struct.pack(">I", 100) + b"short", b"\0\0"):
        peer = peer_type([program, "guest"], tmp_path)
        peer.process.stdin.write(raw)
        assert peer.end() == 0


def test_orders_that_make_no_sense(sanitized: str, tmp_path: Path, bare: Any) -> None:
    good = {"plan": b"", "workspace": str(tmp_path), "environment": {}, "cpu_s": 60}
    orders: list[Any] = [None, 5, {}, [good], *({**good, name: value} for name, value in _spoiled())]
    for order in orders:
        assert bare([sanitized, "guest"], msgspec.msgpack.encode(order)) in (0, 1), order


def _spoiled() -> Iterator[tuple[str, Any]]:
    yield from itertools.product(("workspace", "environment"), (None, 7, [], "nowhere", b"\0", "/nowhere"))
    yield from itertools.product(("cpu_s",), ("x", -1, 0, 1.5, None))
    yield from itertools.product(("plan",), (None, "x" * 32, b"\0" * 32, 7))


def test_an_order_without_a_plan_or_a_bound_is_refused(program: str, tmp_path: Path, bare: Any) -> None:
    """Nothing may be run by an executor that has taken on no layer, or that binds no command."""
    good = {"plan": b"", "workspace": str(tmp_path), "environment": {}, "cpu_s": 60}
    assert bare([program, "guest"], msgspec.msgpack.encode(good)) == 0
    for name, value in (("plan", None), ("plan", b"\0" * 32), ("cpu_s", 0), ("cpu_s", 1.5)):
        assert bare([program, "guest"], msgspec.msgpack.encode({**good, name: value})) == 1, name
    del good["plan"]
    assert bare([program, "guest"], msgspec.msgpack.encode(good)) == 1


@pytest.mark.slow
def test_names_that_are_links_without_end(checked: Any) -> None:
    """Two thousand links, each through the next: neither deep enough to fall over nor slow."""
    top = Path(checked.workspace) / "chain"
    top.mkdir()
    for number in range(2_000):
        os.symlink(f"{number + 1}/../{number + 1}", top / str(number))
    assert checked.ask("resolve", path=b"chain/0")["error"] == "invalid"
    assert checked.ask("write", path=b"chain/0", data=b"")["error"] == "invalid"
    assert checked.ask("resolve", path=b"chain/1999") == {"data": b"chain/2000"}
    assert checked.ask("stat", path=b"a/" * 40_000)["error"] == "limit_exceeded"
