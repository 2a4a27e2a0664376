"""Events from a git repository: each commit is one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from weft.core.limits import MAX_FUTURE_SKEW_US
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.sources.git_command import git_command, git_environment
from weft.graph.ingest.sources.git_log import LOG_ARGUMENTS, Commit, commits, tokens

_CHUNK_BYTES: Final = 1 << 18


class _Mark(msgspec.Struct, frozen=True):
    """Where a run is. History is read in spans: all commits that `head` reaches and `base` does not. A span
    never changes, however the repository grows, so that a place in it can be found again."""

    base: str
    """The head of the span before; empty for the first."""
    head: str
    start: int
    """The position before the span's first commit."""
    sha: str
    latest_us: int
    """The latest event time so far."""


class GitSource:
    """The commits that a revision reaches, parents before children, else by commit time; values are
    `Commit`s.

    The event time is the commit time. A time that cannot be (in the future, before 1970, or none) is replaced
    by the latest time before it in the stream: a bad clock must not let an old commit win over all later
    ones. The commit itself keeps its times as recorded.

    Read-only, offline and without running anything that the repository's configuration names.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        revision: str = "HEAD",
        name: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._path = Path(repository)
        self._revision = revision
        self._clock = clock
        self.name = name or f"git:{self._path.resolve()}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        head = self._head()
        mark, position = _resumed(after)
        if mark is not None:
            self._check_same_history(mark, head)
            for event in self._span(mark, position):
                mark, position = _mark(event.offset), event.offset.position
                yield event
        base, latest_us = (mark.head, mark.latest_us) if mark else ("", 0)
        if base != head:
            yield from self._span(_Mark(base, head, position, "", latest_us), position)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        head = self._head()
        mark, position = _resumed(after)
        if mark is None:
            return self._count("", head)
        self._check_same_history(mark, head)
        return self._count(mark.base, mark.head) - (position - mark.start) + self._count(mark.head, head)

    def _span(self, mark: _Mark, done: int) -> Iterator[Event]:
        """The events of a span behind position `done`."""
        total = self._count(mark.base, mark.head)
        # git limits before it reverses, so the newest N are the last N of the span. One more than is missing
        # shows the commit that was read last.
        wanted = total - (done - mark.start) + (1 if mark.sha else 0)
        arguments = ["log", "--reverse", "--date-order", f"--max-count={wanted}", *LOG_ARGUMENTS]
        position, latest_us = done, mark.latest_us
        with closing(self._stream([*arguments, *_range(mark.base, mark.head), "--"])) as chunks:
            log = commits(tokens(chunks))
            if mark.sha:
                first = next(log, None)
                if first is None or first.sha != mark.sha:
                    # Another version of git may order what history leaves open another way. Reading the span
                    # again repeats writes that are there already.
                    again = msgspec.structs.replace(mark, sha="")
                    yield from self._span(again, mark.start)
                    return
            for commit in log:
                position += 1
                latest_us, time_us = self._times(commit, latest_us)
                here = msgspec.structs.replace(mark, sha=commit.sha, latest_us=latest_us)
                yield Event(Offset(position, msgspec.json.encode(here).decode()), time_us, commit)

    def _times(self, commit: Commit, latest_us: int) -> tuple[int, int]:
        time_us = -1 if commit.commit_time_s is None else commit.commit_time_s * 1_000_000
        if not 0 <= time_us <= self._clock.now_us() + MAX_FUTURE_SKEW_US:
            time_us = latest_us
        return max(latest_us, time_us), time_us

    def _head(self) -> str:
        if not self._path.exists():
            raise NotFound(f"there is no directory `{self._path}`", hint="check the path")
        code, _, complaint = self._ask("rev-parse", "--git-dir")
        if code:
            if "dubious ownership" in complaint:
                raise Denied(
                    f"`{self._path}` belongs to another user, and git refuses to read it",
                    hint=f"git config --global --add safe.directory '{self._path.resolve()}'",
                )
            raise Invalid(f"`{self._path}` is not a git repository: {complaint}")
        code, sha, _ = self._ask(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._revision}^{{commit}}"
        )
        if not code:
            return sha
        if self._revision == "HEAD":
            raise NotFound(f"the git repository `{self._path}` has no commits", hint="commit something first")
        raise NotFound(
            f"`{self._path}` has no revision `{self._revision}`", hint="name a branch, tag or commit"
        )

    def _check_same_history(self, mark: _Mark, head: str) -> None:
        code, _, _ = self._ask("merge-base", "--is-ancestor", mark.head, head)
        if code:
            raise Conflict(
                f"the history of `{self._path}` was rewritten: `{mark.head[:12]}`, read before, "
                f"is no longer part of `{self._revision}`",
                hint="give the source a new name to read the new history from the start",
            )

    def _count(self, base: str, head: str) -> int:
        code, count, complaint = self._ask("rev-list", "--count", *_range(base, head), "--")
        if code:
            raise Unavailable(f"`{self._path}` cannot be read: {complaint}", hint="run `git fsck` in it")
        return int(count)

    def _ask(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code of a short git command, its output, and the last line of its complaint."""
        try:
            done = subprocess.run(
                git_command(self._path, *arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=git_environment(),
                check=False,
            )
        except FileNotFoundError as error:
            raise _missing() from error
        return done.returncode, _decoded(done.stdout), _complaint(done.stderr)

    def _stream(self, arguments: list[str]) -> Generator[bytes, None, None]:
        """The output of a long git command in chunks; an error when it fails. Closing stops it."""
        with tempfile.TemporaryFile() as complaint:
            try:
                process = subprocess.Popen(
                    git_command(self._path, *arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=complaint,
                    env=git_environment(),
                )
            except FileNotFoundError as error:
                raise _missing() from error
            assert process.stdout is not None
            try:
                while chunk := os.read(process.stdout.fileno(), _CHUNK_BYTES):
                    yield chunk
                if process.wait():
                    complaint.seek(0)
                    raise Unavailable(
                        f"`{self._path}` cannot be read: {_complaint(complaint.read())}",
                        hint="run `git fsck` in it",
                    )
            finally:
                process.stdout.close()
                process.kill()
                process.wait()


def _resumed(after: Mapping[int, Offset]) -> tuple[_Mark | None, int]:
    done = after.get(0)
    return (None, 0) if done is None else (_mark(done), done.position)


def _mark(offset: Offset) -> _Mark:
    return msgspec.json.decode(offset.mark, type=_Mark)


def _range(base: str, head: str) -> list[str]:
    return [head, f"^{base}"] if base else [head]


def _missing() -> Unavailable:
    return Unavailable("`git` is not installed or not on the PATH", hint="install git")


def _decoded(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()


def _complaint(complaint: bytes) -> str:
    """The line that tells: git's own `fatal:`, or the last one."""
    lines = _decoded(complaint).splitlines()
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]
    return (fatal or lines or ["git says nothing"])[-1]
