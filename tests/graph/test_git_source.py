"""The git source: faithful to each commit, resumable while the repository grows, clear in its errors."""

from __future__ import annotations

import os
import subprocess

import msgspec
import pytest

from weft.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from weft.graph.ingest.sources import Change, GitSource
from weft.graph.ingest.sources.git_log import commits, tokens
from weft.testing.clock import VirtualClock

ANN = {
    "GIT_AUTHOR_NAME": "Änn",
    "GIT_AUTHOR_EMAIL": "ann@x",
    "GIT_COMMITTER_NAME": "Bob",
    "GIT_COMMITTER_EMAIL": "b@x",
}


class Repository:
    def __init__(self, path):
        self.path = path
        self.time_s = 1_500_000_000
        self.git("init", "--quiet", "--initial-branch=main", str(path), at=None)

    def git(self, *arguments, at="here", stdin=None, date=None):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= ANN | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        environment |= {
            "GIT_AUTHOR_DATE": f"@{self.time_s} +0000",
            "GIT_COMMITTER_DATE": date or f"@{self.time_s} +0000",
        }
        where = ["-C", str(self.path)] if at else []
        done = subprocess.run(
            ["git", *where, *arguments], input=stdin, capture_output=True, env=environment, check=True
        )
        return done.stdout.decode().strip()

    def commit(self, message="change", files=(), **named):
        for path, content in dict(files).items():
            self.write(path, content)
        self.git("add", "--all")
        self.time_s += 60
        self.git("commit", "--quiet", "--allow-empty", "--file=-", stdin=message.encode(), **named)
        return self.git("rev-parse", "HEAD")

    def write(self, path, content):
        target = os.path.join(os.fsencode(self.path), os.fsencode(path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)

    def source(self, **named):
        return GitSource(self.path, **named)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "r")


def read(source, after=None):
    return list(source.events({0: after} if after else {}))


def test_a_commit_comes_as_recorded(repository):
    first = repository.commit("one\n\nbody é\n", {"a.py": b"1\n2\n", "bin": b"\0\1\2"})
    repository.git("mv", "a.py", "b c.py")
    second = repository.commit("two", {"bin": b"\0\1\3"})
    os.remove(repository.path / "bin")
    repository.commit("three", {"b c.py": b"1\n3\n4\n"})
    one, two, three = (event.value for event in read(repository.source()))
    assert (one.sha, one.parents, two.sha, two.parents) == (first, [], second, [first])
    assert (one.author_name, one.author_email, one.committer_name, one.committer_email) == (
        "Änn",
        "ann@x",
        "Bob",
        "b@x",
    )
    assert (one.message, one.author_time_s, one.commit_time_s) == (
        "one\n\nbody é",
        1_500_000_060,
        1_500_000_060,
    )
    assert one.changes == [Change("a.py", "A", None, 2, 0), Change("bin", "A", None, None, None)]
    assert two.changes == [Change("b c.py", "R", "a.py", 0, 0), Change("bin", "M", None, None, None)]
    assert three.changes == [Change("b c.py", "M", None, 2, 1), Change("bin", "D", None, None, None)]


def test_event_times_and_offsets_follow_the_commits(repository):
    shas = [repository.commit() for _ in range(3)]
    events = read(repository.source())
    assert [event.value.sha for event in events] == shas
    assert [event.offset.position for event in events] == [1, 2, 3]
    assert [event.time_us for event in events] == [1_500_000_000_000_000 + n * 60_000_000 for n in (1, 2, 3)]


def test_strange_paths_and_messages(repository):
    paths = [
        b"tab\there",
        b"new\nline",
        b"\x1e\x01mark",
        b":100644 A",
        b"1\t2\tx",
        b'q"uote',
        b"caf\xe9",
        "é".encode(),
    ]
    message = "subject\n\n:100644 100644 a b M\n\x1emark\n1\t2\tfile\n"
    repository.commit(message, {os.fsdecode(path): b"x\n" for path in paths})
    repository.commit("after")
    first, second = (event.value for event in read(repository.source()))
    assert first.message == message.strip()
    assert sorted(change.path for change in first.changes) == sorted(
        path.decode("utf-8", "backslashreplace") for path in paths
    )
    assert all((change.status, change.added_lines) == ("A", 1) for change in first.changes)
    assert second.message == "after"


def test_text_in_another_encoding_stays_readable(repository):
    repository.git("config", "i18n.commitEncoding", "ISO-8859-1")
    repository.commit("x")
    tree = repository.git("write-tree")
    raw = f"tree {tree}\nauthor J\udce9 <j\udcff@x> 5 +0000\ncommitter C <c@x> 5 +0000\n\nm\udcff\n"
    sha = repository.git(
        "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.encode("utf-8", "surrogateescape")
    )
    (commit,) = (event.value for event in read(repository.source(revision=sha)))
    assert (commit.author_name, commit.author_email, commit.message) == ("J�", "j�@x", "m�")


def test_a_merge_follows_its_parents_and_has_no_changes_of_its_own(repository):
    base = repository.commit("base", {"a": b"1"})
    repository.git("checkout", "--quiet", "-b", "side")
    side = repository.commit("side", {"b": b"1"})
    repository.git("checkout", "--quiet", "main")
    main = repository.commit("main", {"c": b"1"})
    repository.git("merge", "--quiet", "--no-ff", "-m", "merged", "side")
    log = [event.value for event in read(repository.source())]
    assert [commit.sha for commit in log[:3]] == [base, side, main]
    assert (log[3].message, log[3].parents, log[3].changes) == ("merged", [main, side], [])


def test_resuming_anywhere_gives_the_rest(repository):
    for number in range(5):
        repository.commit(str(number), {f"f{number}": b"1"})
    source = repository.source()
    events = read(source)
    for at, event in enumerate(events, 1):
        assert read(source, event.offset) == events[at:]
        assert source.pending({0: event.offset}) == 5 - at


def test_growth_after_a_run_comes_next_even_when_a_merge_brings_older_commits(repository):
    repository.commit("base", {"a": b"1"})
    repository.git("checkout", "--quiet", "-b", "side")
    repository.commit("old side", {"b": b"1"})
    repository.git("checkout", "--quiet", "main")
    repository.commit("main", {"c": b"1"})
    source = repository.source()
    first = read(source)
    assert [event.value.message for event in first] == ["base", "main"]
    repository.git("merge", "--quiet", "--no-ff", "-m", "merged", "side")
    repository.commit("later")
    for at, event in enumerate(first, 1):
        rest = read(source, event.offset)
        assert [one.value.message for one in rest] == [
            *(one.value.message for one in first[at:]),
            "old side",
            "merged",
            "later",
        ]
        assert [one.offset.position for one in rest] == list(range(at + 1, 6))
        assert source.pending({0: event.offset}) == len(rest)
        assert read(source, rest[-2].offset) == rest[-1:]


def test_a_rewritten_history_is_noticed(repository):
    repository.commit("one")
    repository.commit("two")
    source = repository.source()
    events = read(source)
    repository.git("commit", "--quiet", "--allow-empty", "--amend", "-m", "another two")
    for call in (read, lambda source, after: source.pending({0: after})):
        with pytest.raises(Conflict, match="was rewritten"):
            call(source, events[-1].offset)


def test_a_span_that_is_listed_in_another_order_is_read_again(repository):
    for number in range(4):
        repository.commit(str(number))
    source = repository.source()
    events = read(source)
    moved = msgspec.structs.replace(events[1].offset, mark=events[2].offset.mark)
    again = read(source, moved)
    assert [(one.offset.position, one.value) for one in again] == [
        (one.offset.position, one.value) for one in events
    ]


def test_a_clock_that_cannot_be_right_does_not_stop_the_stream(repository):
    clock = VirtualClock()
    dates = ["@1500000000 +0000", "@4000000000 +0000", "@1500000500 +0000"]
    for date in dates:
        repository.commit(date, date=date)
    events = read(repository.source(clock=clock))
    assert [event.time_us // 1_000_000 for event in events] == [1_500_000_000, 1_500_000_000, 1_500_000_500]
    assert [event.value.commit_time_s for event in events] == [1_500_000_000, 4_000_000_000, 1_500_000_500]
    assert [event.time_us for event in read(repository.source(clock=clock), events[0].offset)] == [
        event.time_us for event in events[1:]
    ]


@pytest.mark.parametrize("when", ["-62135596800", "99999999999999999999", "", "x"])
def test_a_time_before_1970_or_beyond_counting_is_taken_from_the_commit_before(repository, when):
    parent = repository.commit("parent")
    tree = repository.git("write-tree")
    raw = (
        f"tree {tree}\nparent {parent}\nauthor A <a@x> {when} +0000\ncommitter A <a@x> {when} +0000\n\nodd\n"
    )
    sha = repository.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw.encode())
    events = read(repository.source(revision=sha))
    assert [event.value.message for event in events] == ["parent", "odd"]
    assert events[1].time_us in (events[0].time_us, 0)


def test_a_huge_commit(repository):
    stream = b"commit refs/heads/main\ncommitter A <a@x> 1500000000 +0000\ndata 4\nhuge\n"
    stream += b"".join(b"M 100644 inline d%d/f%d\ndata 2\nx\n\n" % (n % 50, n) for n in range(20_000))
    repository.git("fast-import", "--quiet", stdin=stream)
    (event,) = read(repository.source())
    assert len({change.path for change in event.value.changes}) == 20_000


def test_closing_early_stops_git(repository):
    for _ in range(3):
        repository.commit()
    events = repository.source().events({})
    next(events)
    events.close()


def test_an_empty_repository_says_so(repository):
    with pytest.raises(NotFound, match="has no commits"):
        read(repository.source())


def test_what_is_not_there_says_so(repository, tmp_path):
    repository.commit()
    with pytest.raises(NotFound, match="no directory"):
        read(GitSource(tmp_path / "missing"))
    (tmp_path / "plain").mkdir()
    with pytest.raises(Invalid, match="is not a git repository"):
        read(GitSource(tmp_path / "plain"))
    for revision in ("nope", "--output=x", ""):
        with pytest.raises(NotFound, match="has no revision"):
            read(repository.source(revision=revision))


def test_a_missing_git_says_so(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="`git` is not installed"):
        read(repository.source())


def test_a_damaged_repository_says_so(repository):
    repository.commit("one", {"a": b"1"})
    blob = repository.git("rev-parse", "HEAD:a")
    repository.commit("two", {"a": b"2"})
    path = repository.path / ".git" / "objects" / blob[:2] / blob[2:]
    path.chmod(0o600)
    path.write_bytes(b"broken")
    with pytest.raises(Unavailable, match="cannot be read"):
        read(repository.source())


def test_nothing_that_the_repository_configures_is_run(repository):
    trap = repository.path / "trap"
    command = f"touch {trap}; false"
    repository.commit("one", {"a.x": b"1\n", ".gitattributes": b"*.x diff=evil\n"})
    for key in (
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "core.fsmonitor",
        "core.pager",
        "gpg.program",
    ):
        repository.git("config", key, command)
    repository.git("config", "log.showSignature", "true")
    assert len(read(repository.source())) == 1
    assert not trap.exists()


def test_output_that_breaks_off_is_not_taken_for_the_end():
    whole = b"\x1e" + b"\0".join([b"s", b"", b"a", b"e", b"1", b"c", b"e", b"1", b"m"]) + b"\0\0"
    assert len(list(commits(tokens([whole])))) == 1
    for cut in range(1, len(whole) - 1):
        with pytest.raises(Corrupt):
            list(commits(tokens([whole[:cut]])))


def test_chunks_may_end_anywhere(repository):
    repository.commit("one", {"a": b"1\n", "b": b"2\n"})
    repository.commit("two", {"a": b"2\n"})
    raw = b"".join(repository.source()._stream(["log", "-z", "--format=%H%x00%an"]))
    assert list(tokens([raw[n : n + 1] for n in range(len(raw))])) == list(tokens([raw]))
