"""What a command lacked, read from what it printed: which path, host or call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from weft.agent.sandbox.inside.seccomp import REFUSED
from weft.agent.sandbox.provider import Denial
from weft.agent.sandbox.shown import below_any

_MAX_DENIALS: Final = 20
_MAX_LINE_CHARS: Final = 300
# One of these is in whatever a pattern below finds, as programs write it. Most outputs have none, and are
# read no further.
_HINTS: Final = (
    *("ermi", "nreachable", "esol", "not known", "EAI_AGAIN", "getaddrinfo", "dial ", "ead-only", "[Errno"),
    *("EACCES", "EROFS", "EPERM", "o such file", "nonexistent", "ENOENT"),
)
_HINT: Final = re.compile("|".join(map(re.escape, _HINTS)))
# A line of a binary or a log may be as long as the whole output.
_READ_CHARS: Final = 2_000

_NETWORK: Final = re.compile(
    r"network is unreachable|resolve host|failed to resolve|could not resolve|temporary failure resolving"
    r"|name resolution|name or service not known|EAI_AGAIN|getaddrinfo|dial (?:tcp|udp)\b"
    r"|socket.*not permitted",
    re.IGNORECASE,
)
_PATH: Final = re.compile(
    r"permission denied|read-only file system|\[Errno (?:13|30)\]|\bE(?:ACCES|ROFS)\b", re.I
)
_CALL: Final = re.compile(r"operation not permitted|\[Errno 1\]|\bEPERM\b", re.IGNORECASE)
_ABSENT: Final = re.compile(r"no such file or directory|directory nonexistent|\bENOENT\b", re.IGNORECASE)

_HOST_NAMED: Final = re.compile(
    r"(?:resolve host(?:name)?(?: address)?|resolve|resolving|lookup|EAI_AGAIN|ENOTFOUND|host=)[:\s]*"
    r"['\"‘]?([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)"
    r"|[a-z+]+://(?:[^/@\s]*@)?([A-Za-z0-9.-]*[A-Za-z0-9])"
    r"|:\s*([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+):\s*(?:temporary failure|name or service)",
    re.IGNORECASE,
)
_NO_HOSTS: Final = frozenset({"host", "hostname", "address", "name", "failed"})
_QUOTED: Final = re.compile(r"['\"`‘]((?:\.\.)?/[^'\"`’]*)['\"`’]")
_BARE: Final = re.compile(r"(?<![\w.:/-])((?:\.\./|/)[^\s:'\"`‘’,;()<>|]*)")
_NAMED: Final = re.compile(
    r"([^\s:'\"`‘’]+)['\"’]?: (?:permission denied|read-only file system)", re.IGNORECASE
)
_CALL_NAMED: Final = re.compile(rf"\b({'|'.join(['socket', *REFUSED])})\b")


def denials(output: str, *, workspace: str = "/", shown: Sequence[str] = ("/",)) -> tuple[Denial, ...]:
    """What the lines of an output say was refused, in their order, without repetitions.

    `shown` are the paths of the host that can be seen inside. A line that misses what lies elsewhere tells of
    a place, whether anything is there or not: nothing about the host is learned from it.
    """
    found: dict[Denial, None] = {}
    for line in _telling(output):
        if denial := _of_line(line, workspace, shown):
            found[denial] = None
        if len(found) == _MAX_DENIALS:
            break
    return tuple(found)


def _telling(output: str) -> Iterator[str]:
    """The lines that may say that something was refused."""
    if not any(hint in output for hint in _HINTS):
        return
    at = 0
    while hint := _HINT.search(output, at):
        start = output.rfind("\n", at, hint.start()) + 1 or at
        end = output.find("\n", hint.end())
        at = len(output) if end < 0 else end + 1
        yield output[max(start, hint.start() - _READ_CHARS) : at][: 2 * _READ_CHARS].strip()


def _of_line(line: str, workspace: str, shown: Sequence[str]) -> Denial | None:
    what = line[:_MAX_LINE_CHARS]
    if _NETWORK.search(line):
        return Denial("network", what, _host(line))
    if _PATH.search(line):
        named = _NAMED.search(line)
        paths = [named[1]] if named and not _QUOTED.search(line) else [*_paths(line, workspace), ""]
        return Denial("path", what, paths[0])
    if _CALL.search(line):
        call = _CALL_NAMED.search(line)
        return Denial("call", what, call[1] if call else "")
    if _ABSENT.search(line):
        visible = [*shown, workspace]
        elsewhere = next((path for path in _paths(line, workspace) if not below_any(path, visible)), None)
        return Denial("place", what, elsewhere) if elsewhere else None
    return None


def _host(line: str) -> str:
    for found in _HOST_NAMED.finditer(line):
        host: str = next(filter(None, found.groups()))
        if host.lower() not in _NO_HOSTS:
            return host.lower().rstrip(".")
    return ""


def _paths(line: str, workspace: str) -> list[str]:
    """The paths outside the workspace's own folder that a line names, the likeliest first."""
    named = [found[1] for found in _QUOTED.finditer(line)] or [found[1] for found in _BARE.finditer(line)]
    # A shell names itself first.
    return [os.path.normpath(os.path.join(workspace, path)) for path in reversed(named)]
