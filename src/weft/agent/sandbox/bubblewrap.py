"""The sandbox of bubblewrap, the program below Flatpak, and layers of our own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from weft.agent.sandbox import native, shown
from weft.agent.sandbox.changes import Pair
from weft.agent.sandbox.inside import cgroups
from weft.agent.sandbox.keeper import StartFailed
from weft.agent.sandbox.launch import Launched, compiled, guest, in_python
from weft.agent.sandbox.namespaces import (
    check_host,
    checked_workspace,
    copies,
    is_real_root,
    new_uid,
    rlimits,
)
from weft.agent.sandbox.provider import DEFAULT_LIMITS, REQUIRED, Limits, Promise, Sandbox
from weft.agent.sandbox.session import Session, Started
from weft.core.errors import Unavailable

_FIXES: Final = {
    "bubblewrap": "see what `bwrap --unshare-all --ro-bind / / true` says; where user namespaces are closed "
    "to this user, open them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns) or install a profile that lets bwrap make them",
    "confinement": "run outside the container, or give the container --security-opt seccomp=unconfined",
}


class Bubblewrap:
    """Makes sandboxes that hold every promise of `REQUIRED`, where `bwrap` may make what weft itself may not.

    Some distributions close user namespaces to ordinary programs and open them to `bwrap`, by a profile of
    AppArmor or a set-user-id bit. The walls are bubblewrap's; Landlock, the filter of system calls and
    the limits are those of `namespaces`. The workspace inside is a copy, shared by reference where the file
    system can. Started by root, the inside runs as a user that owns nothing of the host.
    """

    name = "bubblewrap"

    def __init__(
        self, *, program: str = "bwrap", state: str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        """`state` is the folder for the copies (the system's temporary one)."""
        self._program = program
        self._state = state
        self._environ = os.environ if environ is None else environ

    @property
    def promises(self) -> frozenset[Promise]:
        return REQUIRED

    def open(
        self,
        workspace: str | os.PathLike[str],
        *,
        limits: Limits = DEFAULT_LIMITS,
        toolchain: Iterable[str | os.PathLike[str]] = (),
        hidden: Iterable[str] = (),
    ) -> Sandbox:
        root = checked_workspace(workspace)
        check_host()
        program = shutil.which(self._program, path=self._environ.get("PATH"))
        if program is None:
            raise Unavailable(f"`{self._program}` is not installed", hint="apt-get install bubblewrap")
        readable = shown.readable(root, toolchain, self._environ)
        covered = shown.covered(root, hidden)
        environment = shown.environment(root, readable, self._environ)

        def start() -> Started:
            state = tempfile.mkdtemp(prefix="weft-bubblewrap-", dir=self._state)
            groups = cgroups.create(limits.memory_bytes, limits.processes)
            uid = new_uid() if is_real_root() else None
            try:
                pair = copies(root, state, uid)
                walls = _walls(state, root, pair, readable, covered, limits, as_root=uid is not None)
                told = guest(root, environment, rlimits(limits), limits.cpu_s, uid)
                inside = compiled(native.PLACE, told) if native.program() else in_python(sys.executable, told)
                executor = Launched(
                    [program, *walls, *inside.argv],
                    stage=self.name,
                    state=state,
                    frames=inside.frames,
                    cgroups=list(groups.values()),
                )
            except BaseException as error:
                cgroups.remove(list(groups.values()))
                shutil.rmtree(state, ignore_errors=True)
                if isinstance(error, StartFailed):
                    raise _unavailable(error) from error
                raise
            total = {Promise.TOTAL_MEMORY} if "memory" in groups else set()
            return Started(executor, pair, root, REQUIRED | total)

        return Session(root=root, start=start, limits=limits, shown=readable)


def _walls(
    state: str,
    workspace: str,
    pair: Pair,
    readable: Sequence[str],
    covered: Sequence[str],
    limits: Limits,
    *,
    as_root: bool,
) -> list[str]:
    """The options of bwrap; each path stands where it stands outside."""
    size = str(limits.tmp_bytes)
    return [
        # Root stays in the namespace of users: it must reach what only root can, before the inside leaves it.
        *(_without_user_namespace() if as_root else ["--unshare-all"]),
        *("--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--hostname", "sandbox"),
        *("--dir", "/run", "--dir", "/home", "--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", size, "--tmpfs", "/tmp"),
        *("--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"),
        *_parents([*readable, workspace]),
        *_shown(readable),
        *_hidden(state, [path for path in shown.HIDDEN if _can_be_covered(path, readable)]),
        *("--bind", pair.other, workspace),
        *_hidden(state, [f"{workspace}/{path}" for path in covered]),
        *(("--ro-bind", native.program(), native.PLACE) if native.program() else ()),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--chdir", "/"),
    ]


def _without_user_namespace() -> Iterator[str]:
    for name in ("pid", "net", "ipc", "uts", "cgroup"):
        yield f"--unshare-{name}"
    yield from ("--cap-drop", "ALL")
    for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
        yield from ("--cap-add", capability)


def _parents(paths: Iterable[str]) -> Iterator[str]:
    """The folders above, open to all: bwrap gives those that it makes by itself a mode of its own choice."""
    above: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")[1:-1]
        above |= dict.fromkeys("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))
    for folder in above:
        if folder != "/tmp":
            yield from ("--perms", "0755", "--dir", folder)


def _shown(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        else:
            yield from ("--ro-bind", path, path)


def _can_be_covered(path: str, readable: Sequence[str]) -> bool:
    return os.path.lexists(path) and not os.path.islink(path) and shown.below_any(path, readable)


def _hidden(state: str, paths: Iterable[str]) -> Iterator[str]:
    """Cover each path by something empty that nobody may open."""
    folder, file = f"{state}/hidden-folder", f"{state}/hidden-file"
    if not os.path.exists(folder):
        os.mkdir(folder, 0)
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0))
    for path in paths:
        yield from ("--ro-bind", folder if os.path.isdir(path) else file, path)


def _unavailable(failure: StartFailed) -> Unavailable:
    return Unavailable(
        f"this host cannot make a sandbox ({failure.stage}): {failure.reason}",
        hint=_FIXES.get(failure.stage, _FIXES["confinement"]),
    )
