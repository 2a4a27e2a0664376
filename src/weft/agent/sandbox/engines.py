"""Container engines by their command line, which Podman and Docker share."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

from weft.core.errors import Unavailable

ENGINES: Final = ("podman", "docker")
_TIMEOUT_S: Final = 30.0
_LABEL: Final = "dev.weft.host"
_NAME: Final = re.compile(r"weft-(\d+)-(\d+)-\d+")
# What an engine says, and what to do about it.
_FIXES: Final = (
    (r"no such image|image not known|unable to find image", "{engine} pull {image}"),
    (
        r"executable file.*not found|no such file or directory.*python|python.*no such file",
        "choose an image with python3, 3.10 or newer, or install it in this one",
    ),
    (r"is the oldest that will do", "choose an image with python3, 3.10 or newer"),
    (
        r"cgroups in hybrid mode",
        "boot with cgroup v2 alone, or have the engine use runc: apt-get install runc",
    ),
    (r"cannot connect to the docker daemon", "start it: systemctl start docker"),
    (
        r"permission denied.*docker\.sock",
        "let this user reach the daemon, or use podman, which needs no daemon",
    ),
    (r"newuidmap|subuid|subgid", "give this user a range in /etc/subuid and /etc/subgid, and install uidmap"),
)
_OTHER_FIX: Final = "see what `{engine} run --rm {image} true` says"


class Engine:
    """One engine: what it knows of an image, and what it left behind."""

    def __init__(self, name: str, program: str, variables: Mapping[str, str]) -> None:
        self.name = name
        self.program = program
        self.variables = variables

    def image_environment(self, image: str) -> dict[str, str]:
        """The variables that the image sets; `Unavailable` where it is not here, since none is pulled."""
        told = self._ask(image, "image", "inspect", "--format", "{{json .Config.Env}}", image)
        try:
            variables: list[str] = json.loads(told) or []
        except ValueError as error:
            raise self.refusal(f"no JSON: {told.strip()[:200]}", image) from error
        return dict(each.split("=", 1) for each in variables if "=" in each)

    def remove_orphans(self) -> None:
        """Remove containers that weft made on this host and whose owner was cut off before it could."""
        filters = ("--filter", f"label={_LABEL}={_host()}")
        names = self._ask("", "ps", "--all", *filters, "--format", "{{.Names}}").split()
        orphans = [name for name in names if (found := _NAME.fullmatch(name)) and not _lives(*found.groups())]
        if orphans:
            self._ask("", "rm", "--force", *orphans)

    def label(self) -> str:
        """What marks a container as one of weft on this host."""
        return f"{_LABEL}={_host()}"

    def refusal(self, reason: str, image: str) -> Unavailable:
        """What the engine says, with the fix."""
        known = (fix for pattern, fix in _FIXES if re.search(pattern, reason, re.IGNORECASE | re.DOTALL))
        return Unavailable(
            f"{self.name} cannot make a sandbox: {reason}",
            hint=next(known, _OTHER_FIX).format(engine=self.name, image=image),
        )

    def _ask(self, image: str, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self.program, *arguments],
                env=dict(self.variables),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self.refusal(f"{error}", image) from error
        if done.returncode:
            raise self.refusal("; ".join(done.stderr.strip().splitlines())[-2_000:], image)
        return done.stdout


def find(name: str | None, variables: Mapping[str, str]) -> Engine:
    """The engine of that name; without one the first of podman and docker that is installed and answers."""
    failed: Unavailable | None = None
    for each in [name] if name else ENGINES:
        program = shutil.which(each, path=variables.get("PATH"))
        if program is not None:
            engine = Engine(os.path.basename(each), program, variables)
            try:
                engine._ask("", "version")
            except Unavailable as error:
                failed = failed or error
            else:
                return engine
    raise failed or Unavailable(
        f"there is no container engine: `{name or '` and `'.join(ENGINES)}` is not installed",
        hint="apt-get install podman",
    )


def new_name(number: int) -> str:
    """A container's name that tells its owner, which is this process."""
    return f"weft-{os.getpid()}-{_started(os.getpid())}-{number}"


def _host() -> str:
    """This machine, and the namespace in which process ids mean what they mean here."""
    machine = "unknown"
    with contextlib.suppress(OSError), open("/etc/machine-id") as file:
        machine = file.read().strip() or machine
    return f"{machine}-{os.stat('/proc/self/ns/pid').st_ino}"


def _lives(pid: str, started: str) -> bool:
    try:
        return _started(int(pid)) == started
    except OSError:
        return False


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine did; with its id, one process for good."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[19]
