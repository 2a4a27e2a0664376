"""The sandbox of a container engine, Podman or Docker: an image of one's choice, and layers of our own."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import Final

from weft.agent.sandbox import engines, native, shown
from weft.agent.sandbox.changes import Pair
from weft.agent.sandbox.engines import Engine
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
from weft.core.errors import Invalid, NotFound

IMAGE: Final = "docker.io/library/python:3.12-slim"
WORKSPACE: Final = "/workspace"
# An engine unpacks nothing at a start, but a busy host may take its time.
_START_S: Final = 60.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_numbers = itertools.count()


class Container:
    """Makes sandboxes that hold every promise of `REQUIRED`, each a container of an image.

    Commands find the system of the image, not the host's: what they need must be in it. The executor is the
    compiled one, shown at `/run/weft-inside`; where none was built that runs under any libc, the image's own
    `python3`, 3.10 or newer, runs the one in Python. Nothing is installed, and no image is pulled.

    Started by root, the inside runs as a user that owns nothing of the host, else as the caller. The
    workspace inside is a copy at `/workspace`, shared by reference where the file system can.
    """

    name = "container"

    def __init__(
        self,
        *,
        image: str = IMAGE,
        engine: str | None = None,
        python: str = "python3",
        state: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`engine` is the first of podman and docker that answers, unless named; `python` is in the image,
        where it is needed.

        `state` is the folder for the copies (the system's temporary one). The engine's client, though nothing
        inside, gets the variables of `environ`.
        """
        self._image = image
        self._engine_name = engine
        self._python = python
        self._state = state
        self._environ = dict(os.environ if environ is None else environ)
        self._engine: Engine | None = None

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
        """`toolchain` stands inside where it stands outside; it must suit the image's libraries."""
        root = checked_workspace(workspace)
        tools = [_checked_tool(path) for path in toolchain]
        covered = shown.covered(root, hidden)
        check_host()
        engine = self._answering_engine()
        variables = {"PATH": _PATH} | engine.image_environment(self._image) | _identity()

        def start() -> Started:
            state = tempfile.mkdtemp(prefix="weft-container-", dir=self._state)
            uid = new_uid() if is_real_root() else None
            bounds = rlimits(limits)
            if uid is None:
                # It would count every process of the caller; the engine's limit counts those inside.
                del bounds["NPROC"]
            name = engines.new_name(next(_numbers))
            try:
                pair = copies(root, state, uid)
                user = f"{os.geteuid()}:{os.getegid()}" if uid is None else f"{uid}:{uid}"
                mounts = _mounts(state, pair, tools, covered)
                told = guest(WORKSPACE, variables, bounds, limits.cpu_s)
                if native.stands_alone(native.program()):
                    inside = compiled(native.PLACE, told)
                    mounts.append(_bind(native.program(), native.PLACE) + ",readonly")
                else:
                    inside = in_python(self._python, told)
                entry, *arguments = inside.argv
                executor = Launched(
                    [engine.program, "run", *_options(engine, name, user, limits)]
                    + [f"--mount={mount}" for mount in mounts]
                    + [f"--entrypoint={entry}", self._image, *arguments],
                    stage=engine.name,
                    state=state,
                    frames=inside.frames,
                    end=[engine.program, "rm", "--force", "--volumes", name],
                    variables=engine.variables,
                    start_s=_START_S,
                )
            except BaseException as error:
                shutil.rmtree(state, ignore_errors=True)
                if isinstance(error, StartFailed):
                    raise engine.refusal(error.reason, self._image) from error
                raise
            total = {Promise.TOTAL_MEMORY} if executor.memory_bytes <= limits.memory_bytes else set()
            return Started(executor, pair, WORKSPACE, REQUIRED | total)

        return Session(root=root, start=start, limits=limits)

    def _answering_engine(self) -> Engine:
        if self._engine is None:
            engine = engines.find(self._engine_name, self._environ)
            engine.remove_orphans()
            self._engine = engine
        return self._engine


def _options(engine: Engine, name: str, user: str, limits: Limits) -> list[str]:
    """What the container may do: next to nothing."""
    options = {
        "name": name,
        "label": engine.label(),
        "user": user,
        "hostname": "sandbox",
        "workdir": "/",
        "network": "none",
        "cgroupns": "private",
        "cap-drop": "ALL",
        "pull": "never",
        "memory": str(limits.memory_bytes),
        "memory-swap": str(limits.memory_bytes),
        "pids-limit": str(limits.processes),
        "shm-size": str(limits.tmp_bytes),
        "tmpfs": f"/tmp:rw,exec,nosuid,nodev,size={limits.tmp_bytes},mode=1777",
    }
    bounds = _ulimits(limits)
    if engine.name == "podman":
        # It would add writable folders, what the image has in /tmp, and the variables of the caller's proxy.
        options |= {"read-only-tmpfs": "false", "http-proxy": "false"}
        options["tmpfs"] += ",notmpcopyup"
        if os.geteuid() != 0:
            options["userns"] = "keep-id"
    return [
        *("--rm", "--interactive", "--read-only", "--no-healthcheck"),
        *("--security-opt=no-new-privileges", "--security-opt=label=disable"),
        *(f"--{option}={value}" for option, value in options.items()),
        *(f"--ulimit={name}={value}:{value}" for name, value in bounds.items()),
    ]


def _ulimits(limits: Limits) -> dict[str, int]:
    """Bounds that an engine would set to its own default, which may be more than it may give."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = limits.open_files if most == resource.RLIM_INFINITY else min(limits.open_files, most)
    return {"nofile": files} | ({"nproc": limits.processes} if is_real_root() else {})


def _mounts(state: str, pair: Pair, tools: Iterable[str], covered: Iterable[str]) -> list[str]:
    folder, file = f"{state}/hidden-folder", f"{state}/hidden-file"
    os.mkdir(folder, 0)
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0))
    empty = [(folder if os.path.isdir(f"{pair.base}/{path}") else file, path) for path in covered]
    return [
        *(_bind(path, path) + ",readonly" for path in tools),
        _bind(pair.other, WORKSPACE),
        *(_bind(source, f"{WORKSPACE}/{path}") + ",readonly" for source, path in empty),
    ]


def _bind(source: str, target: str) -> str:
    for path in (source, target):
        if not {",", '"', "\n"}.isdisjoint(path):
            raise Invalid(f"`{path}` cannot be mounted", hint="rename it: engines part mounts at commas")
    return f"type=bind,source={source},target={target}"


def _identity() -> dict[str, str]:
    """Who a command is told that it is: none of the host's variables is among them."""
    variables = shown.environment("/", [], {})
    del variables["PATH"]
    return variables


def _checked_tool(path: str | os.PathLike[str]) -> str:
    tool = os.path.abspath(path)
    if not os.path.exists(tool):
        raise NotFound(f"there is no toolchain folder `{tool}`", hint="name one that exists, or none")
    if tool == "/":
        raise Invalid("`/` is too much to show", hint="name the folders below it that are needed")
    return tool
