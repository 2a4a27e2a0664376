"""The sandbox of Linux namespaces, seccomp, Landlock, resource limits and, where allowed, control groups."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping

import msgspec

from weft.agent.sandbox import shown
from weft.agent.sandbox.changes import Pair
from weft.agent.sandbox.confined import Confined
from weft.agent.sandbox.inside import blank, kernel, seccomp
from weft.agent.sandbox.keeper import Keeper, StartFailed
from weft.agent.sandbox.provider import DEFAULT_LIMITS, REQUIRED, Limits, Promise, Sandbox
from weft.agent.sandbox.session import Session, Started
from weft.agent.sandbox.template import Wanted
from weft.core.errors import Invalid, NotFound, Unavailable

# Users that own nothing: far above accounts and the ranges of /etc/subuid. Half of them for the template's.
_FIRST_UID = 0x70000000
_UIDS = 0x08000000
_numbers = itertools.count()
# The first namespace of users (kernel: include/uapi/linux/nsfs.h).
_HOSTS_USERS = 0xEFFFFFFD

_FIXES = {
    "namespaces": "allow user namespaces: sysctl user.max_user_namespaces=10000, and where the distribution "
    "restricts them kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0",
    "confinement": "run outside the container, or give the container --security-opt seccomp=unconfined "
    "--security-opt systempaths=unconfined",
    **dict.fromkeys(("template", "keeper"), "see that this Python can be started by the current user"),
    "state": "keep states (TMPDIR, or `state=`) in a folder that is there and that this user may write to",
    "descriptors": "raise the limit of open files (ulimit -n): a sandbox takes two",
}


class Namespaces:
    """Makes sandboxes that hold every promise of `REQUIRED`, as root or as an ordinary user.

    Started by root, the inside runs as a user that owns no file of the host, and the workspace is mounted
    with its owner mapped to that user; else as the caller itself, alone in a user namespace without
    any capability. The loopback interface inside is down, and only Unix sockets can be made.

    A template that is killed together with its owner leaves state folders and empty control groups behind,
    which the next owner removes, though never a process.
    """

    name = "namespaces"

    def __init__(self, *, state: str | None = None, environ: Mapping[str, str] | None = None) -> None:
        """`state` is the folder for upper layers and copies (the system's temporary one), on a real disk."""
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
        readable = shown.readable(root, toolchain, self._environ)
        kit = _Kit(
            root=root,
            readable=readable,
            covered=shown.covered(root, hidden),
            environment=shown.environment(root, readable, self._environ),
            limits=limits,
        )
        return Session(
            root=root,
            start=lambda: self._start(kit),
            limits=limits,
            shown=readable,
        )

    def _start(self, kit: _Kit) -> Started:
        try:
            return self._launch(kit, as_copy=not can_be_lower(kit.root))
        except StartFailed as failure:
            if failure.stage != "overlay":
                raise _unavailable(failure) from failure
        try:
            return self._launch(kit, as_copy=True)
        except StartFailed as failure:
            raise _unavailable(failure) from failure

    def _launch(self, kit: _Kit, *, as_copy: bool) -> Started:
        owner = os.stat(kit.root)
        first = first_uid() if is_real_root() else None
        wanted = Wanted(
            recipe=kit.recipe(),
            states=self._state,
            memory_bytes=kit.limits.memory_bytes,
            processes=kit.limits.processes,
            first=first,
            owner=None if as_copy or first is None else (owner.st_uid, owner.st_gid),
        )
        executor = Confined(sys.executable, wanted)
        try:
            pair = Pair(kit.root, f"{executor.state}/upper", layer=True)
            if as_copy:
                _make_state(executor.state)
                pair = copies(kit.root, executor.state, executor.other)
            plan = blank.completion(
                state=executor.state,
                workspace=kit.root,
                mode=owner.st_mode & 0o7777 | 0o700,
                copy=pair.other if as_copy else None,
                covered=kit.covered,
                idmapped=wanted.owner is not None,
                other=executor.other,
                rlimits=rlimits(kit.limits),
            )
            executor.begin(
                {
                    "plan": plan,
                    "workspace": kit.root,
                    "environment": kit.environment,
                    "cpu_s": kit.limits.cpu_s,
                }
            )
        except BaseException:
            executor.close()
            raise
        promises = REQUIRED | ({Promise.TOTAL_MEMORY} if executor.bounded else set())
        return Started(executor, pair, kit.root, promises)


class _Kit(msgspec.Struct, frozen=True):
    """What all beginnings of one sandbox have in common."""

    root: str
    readable: list[str]
    covered: list[str]
    environment: dict[str, str]
    limits: Limits

    def recipe(self) -> bytes:
        """All that can be made before the workspace is known. Made ahead, it is good for as long as what is
        shown and hidden are the same files."""
        return msgspec.msgpack.encode(
            {
                "readable": self.readable,
                "hidden": shown.HIDDEN,
                "tmp_bytes": self.limits.tmp_bytes,
                "seen": [_identity(path) for path in (*self.readable, *shown.HIDDEN)],
            }
        )


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.lstat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def checked_workspace(workspace: str | os.PathLike[str]) -> str:
    """The workspace as an absolute path without links, or the error that says what is wrong with it."""
    root = os.path.realpath(workspace)
    if not os.path.isdir(root):
        raise NotFound(f"there is no folder `{os.fspath(workspace)}`", hint="name the workspace's folder")
    if root in ("/", "/tmp", "/proc", "/sys", "/dev", "/dev/shm", "/run"):
        raise Invalid(f"`{root}` cannot be a workspace", hint="name a folder below it")
    return root


def check_host() -> None:
    """Raise `Unavailable` for what can be told without starting anything."""
    if sys.platform != "linux":
        raise Unavailable(f"namespaces need Linux, this is `{sys.platform}`", hint="use another provider")
    if not seccomp.supported(kernel.machine()):
        raise Unavailable(f"no system-call filter for `{kernel.machine()}`", hint="use x86_64 or aarch64")
    if kernel.landlock_abi() == 0:
        raise Unavailable(
            "this kernel offers no Landlock", hint="boot Linux 5.13 or newer with lsm= naming landlock"
        )


def is_real_root() -> bool:
    """Whether this process may change users and mount as the host's root, not as a container's."""
    if os.geteuid() != 0:
        return False
    if os.stat("/proc/self/ns/user").st_ino != _HOSTS_USERS:
        return False
    effective = kernel.effective_capabilities()
    needed = sum(1 << number for number in (0, 1, 6, 7, 21))  # chown, dac_override, setgid, setuid, sys_admin
    return effective & needed == needed


def new_uid() -> int:
    """A user that owns nothing, for one sandbox of this process that the template does not make."""
    return _FIRST_UID + _UIDS + (os.getpid() * 64 + next(_numbers)) % _UIDS


def first_uid() -> int:
    """The first of the users of this process's template, which counts on from there."""
    return _FIRST_UID + os.getpid() * 64 % _UIDS


def can_be_lower(root: str) -> bool:
    """Whether the workspace's owner and group exist inside; an overlay cannot copy up a file of others."""
    owner = os.stat(root)
    return (owner.st_uid, owner.st_gid) == (os.geteuid(), os.getegid()) or is_real_root()


def rlimits(limits: Limits) -> dict[str, int]:
    """The limits by the names of setrlimit(2), but for time, which counts for commands alone.

    None is above what this process may have itself.
    """
    wanted = {
        "DATA": limits.memory_bytes,
        "NPROC": limits.processes,
        "FSIZE": limits.file_bytes,
        "NOFILE": limits.open_files,
        "CORE": 0,
        "MEMLOCK": 8 << 20,
        "MSGQUEUE": 1 << 20,
    }
    return {name: _at_most(value, getattr(resource, f"RLIMIT_{name}")) for name, value in wanted.items()}


def _at_most(value: int, which: int) -> int:
    _, hard = resource.getrlimit(which)
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _make_state(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise StartFailed("state", f"mkdir {path}: {error.strerror}") from error


def copies(root: str, state: str, uid: int | None) -> Pair:
    """One copy to work on and one to remember, since the real workspace may change meanwhile."""
    copy_tree(root, f"{state}/base")
    copy_tree(f"{state}/base", f"{state}/copy")
    if uid is not None:
        subprocess.run(["chown", "-hR", f"{uid}:{uid}", f"{state}/copy"], check=True)
    return Pair(f"{state}/base", f"{state}/copy", layer=False)


def copy_tree(source: str, target: str) -> None:
    """A copy that shares what it holds, where the file system can."""
    options = ("-R", "--preserve=mode,timestamps,links", "--no-dereference", "--reflink=auto")
    copied = subprocess.run(["cp", *options, source, target], capture_output=True, text=True)
    if copied.returncode:
        forbidden = "Permission denied" in copied.stderr
        raise Unavailable(
            f"cannot copy the workspace: {copied.stderr.strip()[:300]}",
            hint="make all of it readable for the current user" if forbidden else "free some space",
        )


def start_or_unavailable(python: str, spec: Mapping[str, object]) -> Keeper:
    """A keeper for the spec; where it cannot start, `Unavailable` with the fix, and its state is removed."""
    try:
        keeper = Keeper(python)
        keeper.begin(spec)
        return keeper
    except StartFailed as failure:
        shutil.rmtree(str(spec["state"]), ignore_errors=True)
        raise _unavailable(failure) from failure


def _unavailable(failure: StartFailed) -> Unavailable:
    return Unavailable(
        f"this host cannot make a sandbox ({failure.stage}): {failure.reason}",
        hint=_FIXES.get(failure.stage, _FIXES["confinement"]),
    )
