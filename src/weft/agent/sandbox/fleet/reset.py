"""Bring a used sandbox back to new, and prove it; what cannot be proved is not used again."""

from __future__ import annotations

import msgspec

from weft.agent.sandbox.provider import Promise, Sandbox, SandboxFailed
from weft.agent.sandbox.session import Session

# Without these a trace of the holder may lie where a look from inside does not find it.
_NEEDED = frozenset(
    {Promise.FILES, Promise.PROCESSES, Promise.NETWORK, Promise.PRIVILEGE, Promise.CLEANUP, Promise.CHANGES}
)


class Look(msgspec.Struct, frozen=True):
    """What is to be seen inside: equal before and after, or the reset failed."""

    lines: tuple[str, ...]
    workspace: str


def can_reset(box: Sandbox) -> bool:
    """Whether the sandbox promises enough for a look from inside to be a proof."""
    return isinstance(box, Session) and box.promises >= _NEEDED


def look(box: Sandbox) -> Look:
    """Mounts, processes, private files, control groups and limits, as a command inside would see them."""
    assert isinstance(box, Session)
    return Look(tuple(sorted(map(_steady, box.look()))), box.workspace)


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
