"""No sandbox at all: commands run as the caller, on a copy of the workspace."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping

from weft.agent.sandbox import shown
from weft.agent.sandbox.inside.keeper import remove
from weft.agent.sandbox.namespaces import checked_workspace, copies, rlimits, start_or_unavailable
from weft.agent.sandbox.provider import DEFAULT_LIMITS, Limits, Promise, Sandbox
from weft.agent.sandbox.session import Session, Started

_HELD = frozenset({Promise.TIME, Promise.OUTPUT, Promise.CLEANUP, Promise.ENVIRONMENT, Promise.CHANGES})


class Unconfined:
    """Runs commands with all the rights of the caller; good behaviour alone keeps them in the copy.

    Of its promises CLEANUP and TIME hold for processes, which are found as descendants; a command that kills
    the keeper escapes them. `toolchain` is of no meaning here: everything is shown. `hidden` files are left
    out of the copy; a command that looks for them outside finds them.
    """

    name = "unconfined"

    def __init__(self, *, state: str | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._state = state
        self._environ = os.environ if environ is None else environ

    @property
    def promises(self) -> frozenset[Promise]:
        return _HELD

    def open(
        self,
        workspace: str | os.PathLike[str],
        *,
        limits: Limits = DEFAULT_LIMITS,
        toolchain: Iterable[str | os.PathLike[str]] = (),
        hidden: Iterable[str] = (),
    ) -> Sandbox:
        root = checked_workspace(workspace)
        covered = shown.covered(root, hidden)

        def start() -> Started:
            state = tempfile.mkdtemp(prefix="weft-unconfined-", dir=self._state)
            pair = copies(root, state, None)
            for path in covered:
                for folder in (pair.base, pair.other):
                    remove(f"{folder}/{path}")
            bounds = rlimits(limits)
            # Counted over all processes of the user outside a user namespace: it would hit what is not ours.
            del bounds["NPROC"]
            spec: dict[str, object] = {
                "state": state,
                "workspace": pair.other,
                "environment": shown.environment("/", ["/"], self._environ) | {"HOME": f"{state}/home"},
                "cgroups": [],
                "rlimits": bounds,
                "cpu_s": limits.cpu_s,
            }
            return Started(start_or_unavailable(sys.executable, spec), pair, pair.other, _HELD)

        return Session(root=root, start=start, limits=limits)
