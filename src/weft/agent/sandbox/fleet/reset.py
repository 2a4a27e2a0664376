"""Bring a used sandbox back to new, and prove it; what cannot be proved is not used again."""

from __future__ import annotations

import msgspec

from weft.agent.sandbox.provider import Promise, Sandbox, SandboxFailed

# Without these a trace of the holder may lie where a look from inside does not find it.
_NEEDED = frozenset(
    {Promise.FILES, Promise.PROCESSES, Promise.NETWORK, Promise.PRIVILEGE, Promise.CLEANUP, Promise.CHANGES}
)
_TIMEOUT_S = 10.0
# Mounts (place, options, kind), the number of processes, private files, control groups and limits.
_LOOK = r"""
while read -r _ _ _ _ place options rest; do
  echo "mount $place $options ${rest#*- }"
done </proc/self/mountinfo
for at in /proc/[0-9]*; do echo process; done
for at in /tmp /tmp/* /tmp/.[!.]* /dev/shm/* /dev/shm/.[!.]* /dev/mqueue/*; do
  [ -e "$at" ] || [ -h "$at" ] && echo "file $at"
done
while read -r line; do echo "group $line"; done </proc/self/cgroup
while read -r _ limit; do echo "limit $limit"; done </proc/self/limits
ulimit -a
"""


class Look(msgspec.Struct, frozen=True):
    """What is to be seen inside: equal before and after, or the reset failed."""

    lines: tuple[str, ...]
    workspace: str


def can_reset(box: Sandbox) -> bool:
    """Whether the sandbox promises enough for a look from inside to be a proof."""
    return box.promises >= _NEEDED


def look(box: Sandbox) -> Look:
    """Mounts, processes, private files, control groups and limits, as a command inside sees them."""
    done = box.run(_LOOK, timeout_s=_TIMEOUT_S, folder="/")
    if done.exit_code or done.truncated or done.timed_out:
        raise SandboxFailed(f"the sandbox cannot be examined: {done.output[:300]}", hint="open a new one")
    return Look(tuple(sorted(map(_steady, done.output.splitlines()))), box.workspace)


def reset(box: Sandbox, fresh: Look) -> None:
    """Throw away all that the holder left; `SandboxFailed` where anything differs from `fresh` afterwards."""
    box.discard()
    if box.changes():
        raise SandboxFailed("the workspace differs after the reset", hint="open a new one")
    now = look(box)
    if now != fresh:
        odd = sorted(set(now.lines) ^ set(fresh.lines)) or ["another number of processes"]
        raise SandboxFailed(f"the reset left a trace: {odd[:5]}", hint="open a new one")


def _steady(line: str) -> str:
    """Without the folders that hold the state of this one sandbox, which end the line of a mount."""
    return " ".join(line.split()[:4]) if line.startswith("mount ") else line
