"""What of the host is shown inside: the system, the toolchain, and the few variables that a command needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from weft.core.errors import Invalid, NotFound

SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/opt", "/nix/store")

# Parts of the system that hold secrets, for hosts where the sandbox's user could read them.
HIDDEN = (
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
    "/etc/docker",
    "/etc/kubernetes",
    "/etc/wireguard",
    "/etc/NetworkManager",
    "/usr/share/keyrings/private",
)

# Folders that are a toolchain by their name, wherever they stand; a PATH entry below one shows all of it.
_TOOLCHAINS = frozenset(
    {".asdf", ".bun", ".deno", ".nodenv", ".nvm", ".pyenv", ".rbenv", ".rustup", ".sdkman", ".volta"}
    | {"anaconda3", "miniconda3", "miniforge3"}
)
_NEVER_WHOLE = frozenset({"/", "/home", "/root", "/run", "/var", "/proc", "/sys", "/dev", "/tmp", "/mnt"})
# The kernel's and the daemons' own: inside they are others, or none.
_NEVER = ("/proc", "/sys", "/dev", "/run", "/var/run")
# Names that hold keys and passwords, wherever they stand.
_CREDENTIALS = frozenset(
    {
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".docker",
        ".netrc",
        ".git-credentials",
        ".pypirc",
        ".npmrc",
    }
    | {".pgpass", ".vault-token", ".password-store", ".mozilla", "gcloud", "gh", "keyrings", "google-chrome"}
)

# weft's own data is in no commit, so that hiding it takes no `.git` with it.
_OWN = ".weft"

_VARIABLES = frozenset(
    {"LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "CONDA_PREFIX", "GOROOT", "JAVA_HOME", "NVM_DIR"}
    | {"PYENV_ROOT", "RUSTUP_HOME"}
)
HOME = "/tmp/home"


def readable(
    workspace: str, extra: Iterable[str | os.PathLike[str]], variables: Mapping[str, str]
) -> list[str]:
    """The paths to show read-only, none below another: the system's, Python's, those of PATH, the extra."""
    named = dict.fromkeys(variables.get("PATH", "").split(":"))
    wanted = [sys.prefix, sys.base_prefix, *map(_toolchain_of, named)]
    home = variables.get("HOME", "/root")
    wanted = [path for path in wanted if os.path.isdir(path) and path != home and path not in _NEVER_WHOLE]
    wanted += [_asked_for(path, home) for path in extra]
    shown = list(SYSTEM)
    for path in sorted({form for each in wanted for form in (os.path.abspath(each), _real(each))}):
        if not below_any(path, [*shown, workspace]) and os.access(path, _reading(path)):
            shown.append(path)
    return [path for path in shown if os.path.lexists(path)]


def can_be_shown(path: str, workspace: str, variables: Mapping[str, str]) -> bool:
    """Whether a path of the host, without links, may be offered to be shown read-only: it is there, it can be
    read, it is not too much, and its name is none that stands for credentials."""
    home = os.path.realpath(variables.get("HOME", "/root"))
    return (
        os.path.exists(path)
        and os.access(path, _reading(path))
        and path not in _NEVER_WHOLE
        and not below_any(path, [*SYSTEM, *_NEVER, workspace])
        and not any(below_any(each, [path]) for each in (home, workspace))
        and _CREDENTIALS.isdisjoint(path.split("/"))
    )


def covered(workspace: str, hidden: Iterable[str]) -> list[str]:
    """The hidden paths that are there, relative to the workspace, and every `.git` that may hold older
    versions of them. A path through a link is left out: its content has a name of its own."""
    found: dict[str, None] = {}
    for path in hidden:
        place = os.path.normpath(path)
        if place.startswith(("/", "../")) or place in ("..", "."):
            raise Invalid(
                f"`{path}` cannot be hidden", hint="name a path inside the workspace, not all of it"
            )
        *folders, name = place.split("/")
        above = ["/".join([*folders[:depth], ".git"]) for depth in range(len(folders) + 1)]
        for each in (place, *(above if name != _OWN else ())):
            full = f"{workspace}/{each}"
            if os.path.lexists(full) and os.path.realpath(full) == full:
                found[each] = None
    return [each for each in found if not below_any(os.path.dirname(each), found)]


def environment(workspace: str, shown: list[str], variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a command: those on the allow-list, and a PATH of what is shown."""
    kept = {name: text for name, text in variables.items() if name in _VARIABLES or name.startswith("LC_")}
    folders = [f"{sys.prefix}/bin", *variables.get("PATH", os.defpath).split(":")]
    visible = [path for path in folders if below_any(path, [*shown, workspace])]
    return kept | {
        "PATH": ":".join(dict.fromkeys(visible)),
        "HOME": HOME,
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/sh",
        "TERM": "dumb",
        "TMPDIR": "/tmp",
    }


def below_any(path: str, folders: Iterable[str]) -> bool:
    """Whether the path is one of the folders or below one."""
    return bool(path) and f"{path}/".startswith(tuple([folder.rstrip("/") + "/" for folder in folders]))


def _real(path: str) -> str:
    """The path of what is there, without links, as the kernel tells it: in a fifth of the time that
    `os.path.realpath` needs, which looks at each folder above."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return os.path.abspath(path)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _reading(path: str) -> int:
    return os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK


def _toolchain_of(path: str) -> str:
    parts = path.split("/")
    for depth, part in enumerate(parts):
        if part in _TOOLCHAINS:
            return "/".join(parts[: depth + 1])
    return path


def _asked_for(path: str | os.PathLike[str], home: str) -> str:
    asked = os.path.abspath(path)
    if not os.path.exists(asked):
        raise NotFound(f"there is no toolchain folder `{asked}`", hint="name one that exists, or none")
    if asked in _NEVER_WHOLE or asked == home:
        raise Invalid(f"`{asked}` is too much to show", hint="name the folders below it that are needed")
    return asked
