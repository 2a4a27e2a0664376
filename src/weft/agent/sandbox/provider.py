"""What a sandbox is: the two protocols, their vocabulary, and what a provider promises."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

from weft.agent.sandbox.changes import Change
from weft.agent.sandbox.jobs import Job
from weft.core.errors import Invalid, Unavailable


class SandboxFailed(Unavailable):
    """The sandbox itself broke; says nothing about the command, which may or may not have run."""

    code = "sandbox_failed"


class Promise(enum.Enum):
    """What a provider guarantees of each of its sandboxes. The value is the sentence for people."""

    FILES = "nothing outside the workspace and the private /tmp is changed"
    SECRETS = "home directories, sockets of the host and every path that is not shown cannot be read"
    NETWORK = "no connection leaves or enters, not even to the host's loopback"
    PROCESSES = "no process outside is seen, signalled or traced"
    PRIVILEGE = "no capability is held or gained, and dangerous system calls are refused"
    ENVIRONMENT = "only variables on the allow-list, and no inherited descriptors"
    LANDLOCK = "the kernel checks file and TCP access a second time, apart from the namespaces"
    LIMITS = "each process is bounded in memory, CPU time and file size; all in number; /tmp in size"
    TOTAL_MEMORY = "all processes together are bounded in memory"
    TIME = "a command ends at its timeout, with all that it started"
    OUTPUT = "output beyond the limit is dropped, not stored"
    CLEANUP = "every process and all private state goes when the sandbox closes or its owner dies"
    CHANGES = "the real workspace is as before until `commit`"


# An ordinary user has no cgroup to write to on most hosts; every process is bounded all the same.
REQUIRED = frozenset(Promise) - {Promise.TOTAL_MEMORY}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one sandbox. Per process where the name does not say otherwise."""

    memory_bytes: int = 4 << 30
    """Private memory of a process, and, where TOTAL_MEMORY is held, all memory of all processes."""
    processes: int = 512
    """Processes and threads at a time, of all commands, the executor among them."""
    file_bytes: int = 1 << 30
    cpu_s: int = 3_600
    open_files: int = 4_096
    tmp_bytes: int = 512 << 20
    """Of /tmp, and again of /dev/shm; they live in memory."""
    output_bytes: int = 1 << 20
    """Of one command; what is over is cut from the middle."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            # Zero means no bound at all to some of those who are told.
            if not isinstance(value, int) or value < (name != "output_bytes"):
                raise Invalid(
                    f"`{name}` of the limits cannot be `{value}`", hint="give a whole number above zero"
                )


DEFAULT_LIMITS = Limits()


class Denial(msgspec.Struct, frozen=True):
    """An access that seems refused, and the line that says so."""

    kind: Literal["path", "place", "network", "call"]
    """A path that is seen inside; a place, which is a path of the host that is not; the network; a system
    call."""
    what: str
    target: str = ""
    """The path, the host or the call, where the line names it."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did. A command that cannot be found or executed ends with 127 or 126, as in a shell."""

    exit_code: int
    """As the command gave it; minus the signal's number where a signal ended it."""
    output: str
    """Standard output and error, interleaved as written; bytes that are not UTF-8 are replaced."""
    timed_out: bool
    duration_s: float
    omitted_bytes: int = 0
    denied: tuple[Denial, ...] = ()
    """Guessed from the text that the command printed ("Permission denied", "Network is unreachable" ...): a
    program that hides its errors hides them here too, and one that prints such a line forges it. Good for a
    message to a person or a model; never a ground for a decision."""

    @property
    def truncated(self) -> bool:
        """Whether some output was dropped."""
        return self.omitted_bytes > 0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One directory entry: `kind` is file, folder, link or other."""

    name: str
    kind: str
    size_bytes: int
    mode: int


class Sandbox(Protocol):
    """A running sandbox around one workspace. Closing it throws away what was not committed.

    Words: the *workspace* is the person's folder; inside, a copy-on-write view of it stands at `workspace`.
    *Inside* is what a command sees, *outside* the host. The *owner* is the process that opened the sandbox.

    Paths of file operations are relative to the workspace, or absolute as inside. They are resolved inside,
    by a process without any right that a command lacks; a link therefore never leads out.

    The command failed: `run` returns a `Result` that says so. The request was wrong: `Invalid`, `NotFound`,
    `Denied` or `LimitExceeded`, and nothing was done. The sandbox failed: `SandboxFailed`, and it is closed.

    One request at a time; further threads wait. Not promised: a bound on the sum of file sizes in the
    workspace; safety from a kernel that is itself broken; that a command is kept from what
    lies in the workspace, such as a key that somebody committed; for an ordinary user's sandbox, that files
    which only a supplementary group of the caller may read, and which are shown, stay unread.
    """

    @property
    def workspace(self) -> str:
        """Where the workspace is seen inside."""

    @property
    def promises(self) -> frozenset[Promise]:
        """What this sandbox holds."""

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout_s: float = 600.0,
        folder: str = ".",
        environment: Mapping[str, str] | None = None,
        output_bytes: int | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Result:
        """Run one command to its end: a sequence is executed as it is, a string by /bin/sh.

        Standard input is empty. At the end or the timeout everything that the command started is killed, also
        what left its process group. `on_output` sees output as it comes, up to half of the limit.
        """

    def start(
        self,
        command: str | Sequence[str],
        *,
        timeout_s: float = 3_600.0,
        folder: str = ".",
        environment: Mapping[str, str] | None = None,
        output_bytes: int | None = None,
        feed: bool = False,
    ) -> Job:
        """Run one command beside the requests that follow: poll, feed and stop it by what is returned.

        It ends at its timeout, with the sandbox, and where the workspace inside starts anew. Output that is
        not taken is kept up to the limit, the newest of it. Standard input is empty unless it is to be fed.
        """

    def end_jobs(self) -> None:
        """Kill all that was started and runs on: from then on the workspace stays as it is."""

    def read(self, path: str) -> bytes:
        """The file's bytes, at most `MAX_FILE_BYTES`."""

    def write(self, path: str, data: bytes) -> None:
        """Replace or create the file as a whole, with the folders above it; its mode stays."""

    def stat(self, path: str) -> Entry:
        """What is at the path itself; a link is not followed."""

    def entries(self, path: str = ".") -> list[Entry]:
        """The folder's entries by name."""

    def resolve(self, path: str) -> str:
        """Where the path leads once every link is followed: relative to the workspace, absolute outside it.
        Nothing needs to exist there."""

    def delete(self, path: str) -> None:
        """Delete a file, a link or an empty folder."""

    def move(self, path: str, target: str) -> None:
        """Rename, replacing a file at the target."""

    def changes(self) -> list[Change]:
        """Every file and link that differs from the real workspace, by path.

        As in git, a folder exists by its files, and of a mode only the executable bit counts; sockets, pipes
        and devices are left out. Exact while no command runs.
        """

    def diff(self) -> str:
        """The changes as `git diff` writes them; binary files are named only."""

    def commit(self) -> list[Change]:
        """Write the changes to the real workspace, all or none, and return them.

        What lies in a `.git` folder stays inside: a hook or a setting there would be run outside by git. So
        does a `HEAD` that would make git take any other folder for a repository.

        `Conflict`, and nothing is written, where a file that would change was changed outside since the
        sandbox opened. A commit that a crash cuts short is completed when a sandbox next opens on the
        workspace; until then `.weft-commit` in it says what is missing.
        A file that was replaced as a whole inside and deleted outside is taken for a new one.

        Where anything was written, the inside then starts anew from the real workspace, as by `discard`.
        """

    def discard(self) -> None:
        """Bring the workspace inside back to the real one; /tmp is emptied too, and every process ended."""

    def close(self) -> None:
        """End every process and remove all private state, from any thread: whoever waits for a command gets
        `SandboxFailed`. Does nothing the second time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def open(
        workspace: str | os.PathLike[str],
        *,
        provider: SandboxProvider | None = None,
        limits: Limits = DEFAULT_LIMITS,
        toolchain: Iterable[str | os.PathLike[str]] = (),
        hidden: Iterable[str] = (),
    ) -> Sandbox:
        """A sandbox around the workspace, by Linux namespaces unless a provider is given."""
        if provider is None:
            from weft.agent.sandbox.namespaces import Namespaces

            provider = Namespaces()
        return provider.open(workspace, limits=limits, toolchain=toolchain, hidden=hidden)


class SandboxProvider(Protocol):
    """A way to make sandboxes. It never makes a weaker one than it states: it raises `Unavailable`."""

    name: str

    @property
    def promises(self) -> frozenset[Promise]:
        """What every sandbox of this provider holds; a sandbox may hold more."""

    def open(
        self,
        workspace: str | os.PathLike[str],
        *,
        limits: Limits = DEFAULT_LIMITS,
        toolchain: Iterable[str | os.PathLike[str]] = (),
        hidden: Iterable[str] = (),
    ) -> Sandbox:
        """A new sandbox. `toolchain` names further folders to show read-only, beside the system's own.

        `hidden` names paths in the workspace whose content nothing inside may read: something empty stands
        there, which is no change. Git keeps older versions of files, so the `.git` beside or above a hidden
        path is hidden too. What is not there when the sandbox opens is not hidden.

        `NotFound` where there is no such folder, `Unavailable` with the reason and the fix where this host
        cannot give a promise.
        """
