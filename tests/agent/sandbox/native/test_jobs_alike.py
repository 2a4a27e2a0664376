"""Jobs of the compiled executor and of the one in Python: the same conversations, whenever output comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

_DONE = [
    "exit 5",
    "echo out; echo err >&2",
    "cat; echo end",
    "seq 30000",
    "setsid sleep 1000 & echo left",
    "exec >&- 2>&-; exit 4",
    "kill -TERM $$",
    "kill -9 $PPID; sleep 1000",
    "pwd; echo $A; umask; ulimit -t; grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd",
    "read -r _ _ _ _ _ session _ < /proc/$$/stat; [ $session = $$ ] && echo leads",
]
_ARGV = st.sampled_from(
    [[b"sh", b"-c", text.encode()] for text in _DONE] + [[b"nope"], [b"./file"], [b"./nope"]]
)
_ALL = 1 << 40
_STARTED = st.fixed_dictionaries(
    {
        "argv": _ARGV,
        "folder": st.sampled_from([".", "sub", "file", "nowhere"]),
        "environment": st.sampled_from([{}, {"A": "é"}, {"PATH": "sub"}]),
        "timeout_s": st.just(20.0),
        "output_bytes": st.sampled_from([0, 1, 100, 100_000, _ALL]),
        "feed": st.booleans(),
    }
)
_FED = st.lists(st.sampled_from([b"x", b"abc\n", b"y" * 50]), max_size=3)


@pytest.fixture(scope="module")
def two(
    pair: Callable[[Path, Path], tuple[Any, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    folders = [tmp_path_factory.mktemp("jobs") / "w" for _ in range(2)]
    for folder in folders:
        (folder / "sub").mkdir(parents=True)
        (folder / "file").write_text("no program")
    compiled, python = pair(*folders)
    with compiled, python:
        yield compiled, python


def _converse(peer: Any, started: dict[str, Any], fed: list[bytes]) -> list[Any]:
    """All that is said, but for when: how much of the output is kept depends on how often one asks."""
    said = [peer.ask("start", job=7, **started)]
    if started["feed"] and "error" not in said[0]:
        # It may have ended already.
        said += [
            peer.ask("feed", job=7, data=data).get("error", "taken")
            for data in fed
            if b"cat" in started["argv"][-1]
        ]
        peer.ask("feed", job=7, data=b"")
        said.append(peer.ask("feed", job=7, data=b"more"))
    output, omitted, reply = b"", 0, {"ended": False}
    while not reply.get("ended", True):
        reply = peer.ask("poll", job=7, wait_s=20.0)
        output += reply.get("data", b"")
        omitted += reply.get("omitted_bytes", 0)
        assert len(reply.get("data", b"")) <= started["output_bytes"]
    whole = output if started["output_bytes"] == _ALL else len(output) + omitted
    return [*said, whole, reply.get("exit"), reply.get("error"), peer.ask("poll", job=7, wait_s=0.0)]


@pytest.mark.slow
@given(_STARTED, _FED)
def test_the_same_conversation(two: Any, started: dict[str, Any], fed: list[bytes]) -> None:
    compiled, python = two
    said = _converse(compiled, started, fed)
    there = str(compiled.workspace).encode()
    here = str(python.workspace).encode()
    assert [each.replace(there, here) if isinstance(each, bytes) else each for each in said] == _converse(
        python, started, fed
    )


@given(st.sampled_from(["poll", "feed", "stop"]))
def test_a_job_that_is_not_there(two: Any, op: str) -> None:
    compiled, python = two
    request = {"op": op, "job": 99, "wait_s": 0.0, "data": b"x"}
    assert compiled.ask(**request) == python.ask(**request)


def test_stopping_and_timing_out_and_the_number_of_jobs(two: Any) -> None:
    replies = []
    for peer in two:
        mine = [peer.start(number, "sleep", "1000") for number in range(17)]
        mine += [peer.ask("stop", job=3), peer.start(20, "sleep", "1000", timeout_s=0.05)]
        mine += [
            peer.ask("poll", job=20, wait_s=20.0),
            peer.ask("end_jobs"),
            peer.ask("poll", job=0, wait_s=0.0),
        ]
        replies.append(mine)
    assert replies[0] == replies[1]
    assert replies[0][16]["error"] == "limit_exceeded"
    assert replies[0][-3]["exit"] == 124
