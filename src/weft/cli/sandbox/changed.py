"""What a sandbox did to its workspace, as lines, and whether it stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from weft.agent.sandbox import Change, Sandbox
from weft.agent.sandbox.diff import unified

_SHOWN: Final = 50


def settle(box: Sandbox, *, keep: bool) -> list[Change]:
    """The changes, written to the workspace where they are kept."""
    return box.commit() if keep else box.changes()


def summary(changes: Sequence[Change], *, kept: bool) -> list[str]:
    """As many lines as a person reads: files with the lines that came and went."""
    if not changes:
        return ["no file changed"]
    lines = [_line(change) for change in changes[:_SHOWN]]
    if len(changes) > _SHOWN:
        lines.append(f"  and {len(changes) - _SHOWN:,} more")
    files = "1 file changed" if len(changes) == 1 else f"{len(changes):,} files changed"
    return [*lines, f"{files}: " + ("kept" if kept else "thrown away; --keep writes them")]


def fields(change: Change) -> dict[str, Any]:
    """A change for machines."""
    added, removed = _counts(change)
    return {"path": change.path, "kind": change.kind, "added": added, "removed": removed}


def _line(change: Change) -> str:
    added, removed = _counts(change)
    return f"  {change.kind} {change.path} +{added} -{removed}"


def _counts(change: Change) -> tuple[int, int]:
    hunks = unified([change]).partition("\n@@ ")[2].splitlines()[1:]
    return sum(line.startswith("+") for line in hunks), sum(line.startswith("-") for line in hunks)
