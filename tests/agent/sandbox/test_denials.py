"""What a command lacked is read from its output: the lines of many programs, and lines that only look so."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.sandbox.denials import denials
from weft.agent.sandbox.shown import can_be_shown

WORK, SHOWN = "/home/ann/work", ("/usr", "/etc", "/bin")


def read(output: str) -> list[tuple[str, str]]:
    return [(found.kind, found.target) for found in denials(output, workspace=WORK, shown=SHOWN)]


LINES = [
    ("cat: /etc/shadow: Permission denied", "path", "/etc/shadow"),
    ("/bin/sh: 1: cannot create /etc/passwd: Permission denied", "path", "/etc/passwd"),
    ("/bin/sh: 1: ./tool: Permission denied", "path", "./tool"),
    ("bash: line 1: /usr/x: Read-only file system", "path", "/usr/x"),
    ("touch: cannot touch '/usr/x y': Read-only file system", "path", "/usr/x y"),
    ("PermissionError: [Errno 13] Permission denied: '/etc/sudoers'", "path", "/etc/sudoers"),
    ("OSError: [Errno 30] Read-only file system: '/usr/x'", "path", "/usr/x"),
    ("cat: secret.txt: Permission denied", "path", "secret.txt"),
    ("open /usr/y: permission denied", "path", "/usr/y"),
    ("Error: EACCES: permission denied, open '/usr/z'", "path", "/usr/z"),
    ("error: could not create directory: Permission denied (os error 13)", "path", "directory"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/srv/data/x.csv'", "place", "/srv/data/x.csv"),
    ("cat: /srv/a: No such file or directory", "place", "/srv/a"),
    ("cat: ../shared/x: No such file or directory", "place", "/home/ann/shared/x"),
    ("/bin/sh: 1: cannot create /srv/out: Directory nonexistent", "place", "/srv/out"),
    ("Error: ENOENT: no such file or directory, open '/srv/x'", "place", "/srv/x"),
    ("curl: (6) Could not resolve host: Example.org", "network", "example.org"),
    ("wget: unable to resolve host address ‘example.org’", "network", "example.org"),
    (
        "fatal: unable to access 'https://ann@git.hub/a/': Could not resolve host: git.hub",
        "network",
        "git.hub",
    ),
    ("ssh: Could not resolve hostname git.hub: Temporary failure in name resolution", "network", "git.hub"),
    (
        "<...>: Failed to resolve 'pypi.org' ([Errno -3] Temporary failure in name resolution)",
        "network",
        "pypi.org",
    ),
    ("reason: getaddrinfo EAI_AGAIN registry.npmjs.org", "network", "registry.npmjs.org"),
    ("ping: example.org: Temporary failure in name resolution", "network", "example.org"),
    ('Get "https://go.dev/x": dial tcp: lookup go.dev: Temporary failure', "network", "go.dev"),
    ("E: Could not resolve 'deb.debian.org'", "network", "deb.debian.org"),
    ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "network", ""),
    ("OSError: [Errno 101] Network is unreachable", "network", ""),
    ("unshare: unshare failed: Operation not permitted", "call", "unshare"),
    ("strace: ptrace(PTRACE_TRACEME, ...): Operation not permitted", "call", "ptrace"),
    ("PermissionError: [Errno 1] Operation not permitted", "call", ""),
]


@pytest.mark.parametrize(("line", "kind", "target"), LINES, ids=[line[:30] for line, _, _ in LINES])
def test_a_line_names_what_was_lacked(line: str, kind: str, target: str) -> None:
    assert read(f"before\n{line}\nafter") == [(kind, target)]


@pytest.mark.parametrize(
    "line",
    [
        "cat: /etc/nothing: No such file or directory",
        "cat: nothing: No such file or directory",
        "cat: /home/ann/work/nothing: No such file or directory",
        "cat: ./sub/../nothing: No such file or directory",
        "sh: 1: nothing: not found",
        "3 permissions were checked, none missing",
        "the network is fine",
    ],
)
def test_other_lines_say_nothing(line: str) -> None:
    assert read(line) == []


@given(st.lists(st.sampled_from([line for line, _, _ in LINES] + ["", "a word", "x" * 5_000]), max_size=30))
def test_lines_are_read_each_by_itself_in_order_and_once(lines: list[str]) -> None:
    expected = [found for line in lines for found in denials(line, workspace=WORK, shown=SHOWN)]
    output = "\n".join(lines)
    assert list(denials(output, workspace=WORK, shown=SHOWN)) == list(dict.fromkeys(expected))[:20]


@given(st.text(st.sampled_from("Permission denied:/'\" \n.srvNo such file or directory"), max_size=300))
def test_any_output_is_read(output: str) -> None:
    for found in denials(output, workspace=WORK, shown=SHOWN):
        assert found.what
        assert found.kind != "place" or os.path.isabs(found.target)


@pytest.mark.parametrize(
    "piece", ["a line of a build\n", "Permission ", "Permission x\n", "/a'", "resolve host "]
)
def test_reading_takes_no_longer_than_the_output_is_long(piece: str) -> None:
    output = piece * ((1 << 20) // len(piece))
    began = time.process_time()
    denials(output, workspace=WORK, shown=SHOWN)
    assert time.process_time() - began < 2


def test_what_may_be_offered_to_be_shown(tmp_path) -> None:  # type: ignore[no-untyped-def]
    home, work, data = (tmp_path / name for name in ("home", "mono/work", "data"))
    for folder in (home / ".ssh", home / "notes", work, data):
        folder.mkdir(parents=True)
    (data / "x.csv").touch()
    variables = {"HOME": str(home)}
    for path in (data, data / "x.csv", home / "notes"):
        assert can_be_shown(str(path), str(work), variables)
    never = [home, tmp_path, home / ".ssh", work, work / "a", work.parent, data / "nothing"]
    for path in map(str, [*never, "/", "/tmp", "/etc/passwd", "/proc/1/environ", "/run", "/dev/mem"]):
        assert not can_be_shown(path, str(work), variables)
