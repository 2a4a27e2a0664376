"""What binds commands and not the executor, and what becomes of all that they start."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.agent.sandbox.inside import look

# Five generations, each in sessions of their own, of which only the last stays.
_BREEDS = """
echo $$ >> bred
[ $GENERATION = 0 ] && exec sleep 1000
for _ in 1 2; do GENERATION=$((GENERATION - 1)) setsid sh -c "$SELF" & done
[ $GENERATION = 4 ] && until [ $(wc -l < bred) = 31 ]; do sleep 0.01; done
"""


def _wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_time_on_a_processor_binds_each_command_and_job_and_not_the_executor(
    program: str, workspace: Path, peer_type: Any
) -> None:
    spin = ("sh", "-c", "while :; do :; done")
    with peer_type([program, "guest"], workspace, cpu_s=1) as peer:
        assert peer.run(*spin)["exit"] == -9
        peer.start(1, *spin)
        assert peer.ask("poll", job=1, wait_s=20.0)["exit"] == 137
        limits = Path(f"/proc/{peer.process.pid}/limits").read_text()
        assert "Max cpu time              unlimited" in limits
        assert peer.run("sh", "-c", "ulimit -St; ulimit -Ht")["out"] == b"1\n1\n"


def test_all_generations_end_with_the_command(
    peer: Any, workspace: Path, alive: Callable[[int], bool]
) -> None:
    environment = {"SELF": _BREEDS, "GENERATION": "4"}
    assert peer.run("sh", "-c", _BREEDS, environment=environment)["timed_out"] is False
    bred = [int(line) for line in (workspace / "bred").read_text().split()]
    assert len(bred) == 31
    assert not any(map(alive, bred))
    assert Path(f"/proc/{peer.process.pid}/task/{peer.process.pid}/children").read_text() == ""


def test_jobs_stay_as_commands_end_and_end_with_all_they_started(
    peer: Any, workspace: Path, alive: Callable[[int], bool]
) -> None:
    peer.start(1, "sh", "-c", "(setsid sleep 1000 & echo $! > job); exec sleep 1000")
    _wait(lambda: (workspace / "job").exists() and (workspace / "job").read_text() != "")
    left = int((workspace / "job").read_text())
    gone = int(peer.run("sh", "-c", "setsid sleep 1000 & echo $!")["out"])
    assert (alive(left), alive(gone)) == (True, False)
    assert peer.ask("stop", job=1)["exit"] == 137
    assert not alive(left)


def test_what_a_job_leaves_behind_ends_before_anybody_asks(
    peer: Any, workspace: Path, alive: Callable[[int], bool]
) -> None:
    peer.start(1, "sh", "-c", "(setsid sleep 1000 & echo $! > left)")
    _wait(lambda: (workspace / "left").exists() and (workspace / "left").read_text() != "")
    _wait(lambda: not alive(int((workspace / "left").read_text())))


@pytest.mark.parametrize("op", ["run", "poll"])
def test_the_host_goes_while_a_command_runs(
    program: str, workspace: Path, peer_type: Any, alive: Callable[[int], bool], op: str
) -> None:
    peer = peer_type([program, "guest"], workspace)
    script = "echo $$ > up; setsid sleep 1000 & echo $! >> up; sleep 1000"
    if op == "run":
        fields = {"argv": [b"sh", b"-c", script.encode()], "timeout_s": 1_000.0, "output_bytes": 10}
        peer.send({"op": "run", "folder": ".", "environment": {}, **fields})
    else:
        peer.start(1, "sh", "-c", script)
        peer.send({"op": "poll", "job": 1, "wait_s": 1_000.0})
    _wait(lambda: (workspace / "up").exists() and (workspace / "up").read_text().count("\n") == 2)
    assert peer.end() == 0
    pids = [int(line) for line in (workspace / "up").read_text().split()]
    _wait(lambda: not any(map(alive, pids)))


def test_a_host_that_reads_nothing_and_goes(program: str, workspace: Path, peer_type: Any) -> None:
    peer = peer_type([program, "guest"], workspace)
    fields = {"argv": [b"sh", b"-c", b"yes"], "timeout_s": 1_000.0, "output_bytes": 1 << 40}
    peer.send({"op": "run", "folder": ".", "environment": {}, **fields})
    time.sleep(0.05)
    peer.process.stdout.close()
    assert peer.end() == 0


def test_nothing_of_the_executor_is_a_commands(program: str, workspace: Path, peer_type: Any) -> None:
    """Neither descriptors nor what it ignores; and what it finds on its standard input is nothing."""
    script = "ls -l /proc/self/fd | grep -c ' -> '; grep -E '^Sig(Blk|Ign)' /proc/self/status; cat"
    nothing = b"0" * 16
    argv = ["sh", "-c", 'exec 7< /dev/null; exec "$0" guest', program]
    with peer_type(argv, workspace) as peer:
        seen = peer.run("sh", "-c", script)["out"]
    assert seen.split() == [b"4", b"SigBlk:", nothing, b"SigIgn:", _inherited()]


def _inherited() -> bytes:
    """The signals that whoever runs the tests has them ignore, but for those that a command never ignores."""
    lines = Path("/proc/self/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        ignored &= ~(1 << number - 1)
    return b"%016x" % ignored


def test_memory_is_given_back(peer: Any, workspace: Path) -> None:
    """A large file and much output come and go; an idle executor is as small as before."""
    peer.run("true")
    before = _own_kilobytes(peer.process.pid)
    (workspace / "large").write_bytes(os.urandom(30 << 20))
    assert len(peer.ask("read", path=b"large", limit_bytes=32 << 20)["data"]) == 30 << 20
    peer.ask("write", path=b"copy", data=bytes(30 << 20))
    assert peer.run("seq", "200000", output_bytes=1_000_000)["omitted_bytes"] > 0
    for number in range(5_000):
        (workspace / f"{number:0100}").touch()
    assert len(peer.ask("list", path=b".")["entries"]) > 5_000
    peer.start(1, "seq", "200000", output_bytes=1_000_000)
    while not peer.ask("poll", job=1, wait_s=20.0)["ended"]:
        pass
    _wait(lambda: _own_kilobytes(peer.process.pid) < before + 100)
    assert before < 400


def test_the_last_bytes_are_kept_however_they_come(peer: Any) -> None:
    script = "for n in 1 2 3 4; do seq 30000; sleep 0.01; done; touch done; sleep 1000"
    whole = b"".join(b"%d\n" % number for number in range(1, 30_001)) * 4
    for limit in (1, 10_000, 300_000):
        peer.start(1, "sh", "-c", script, output_bytes=limit)
        _wait(lambda: "error" not in peer.ask("stat", path=b"done"))
        said = peer.ask("stop", job=1)
        assert (said["data"], said["omitted_bytes"]) == (whole[-limit:], len(whole) - limit)
        peer.ask("delete", path=b"done")


def _own_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def test_a_folder_of_too_many_entries(peer: Any, workspace: Path) -> None:
    folder = workspace / "many"
    folder.mkdir()
    for number in range(20_001):
        os.mknod(folder / str(number))
    reply = peer.ask("list", path=b"many")
    assert reply == {"error": "limit_exceeded", "reason": "the folder has more than 20,000 entries"}
    (folder / "0").unlink()
    assert len(peer.ask("list", path=b"many")["entries"]) == 20_000


def test_what_is_seen_is_what_python_sees(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for processes and private files, which others make and remove; mounts too, now and then."""
    monkeypatch.setattr(look, "_PRIVATE", ())
    looks = [
        (_steady(peer.ask("look")["data"]), _steady(os.fsencode("\n".join(look.look())))) for _ in range(5)
    ]
    # Where there are too many files, the rest is not told.
    assert any(one == other[: len(one)] for one, other in looks)
    assert any(line.startswith(b"mount /proc ") for line in looks[0][0])


@pytest.mark.sandbox
def test_private_files_are_seen(program: str, peer_type: Any) -> None:
    """Those of folders too, and none behind a link; what is mounted there is named and not looked into."""
    script = """
        exec 9< "$0"
        mount -t tmpfs none /tmp
        mkdir -p /tmp/w "/tmp/folder/in it" /tmp/mounted
        mount -t tmpfs none /tmp/mounted
        touch /tmp/mounted/unseen
        ln -s folder /tmp/link
        exec /proc/self/fd/9 guest
    """
    with peer_type(["unshare", "-rm", "sh", "-c", script, program], Path("/tmp/w")) as peer:
        lines = peer.ask("look")["data"].split(b"\n")
    seen = sorted(line for line in lines if line.startswith(b"file /tmp/"))
    names = ("folder", "folder/in it", "link", "mounted", "w", "w/home")
    assert seen == [f"file /tmp/{name}".encode() for name in names]
    assert b"mount /tmp rw,relatime tmpfs none" in b"\n".join(lines)


def _steady(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.startswith((b"mount", b"limit", b"group"))]
