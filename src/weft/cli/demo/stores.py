"""Where a demo keeps its data: one folder per repository, with the stores of all three libraries."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, Self

import xxhash

from weft import kv
from weft.agent.session import SessionStore
from weft.authz import Authz
from weft.core.errors import Conflict, Denied, Invalid
from weft.graph import Graph
from weft.integrations import policy, sessions
from weft.integrations.repository import rights, types

SCHEMA = policy.SCHEMA + "\n" + rights.SCHEMA


class Stores(NamedTuple):
    """Open stores over `folder`; closing them leaves the data for the next run."""

    folder: Path
    graph: Graph
    authz: Authz
    sessions: SessionStore
    opened: ExitStack

    @classmethod
    def open(cls, data: Path, repository: Path) -> Self:
        """Open or create the folder of a repository; `Denied` where it cannot be written, `Conflict` while
        another demo is at work in it."""
        folder = (
            data / "demo" / f"{repository.name or 'root'}-{xxhash.xxh32_hexdigest(os.fsencode(repository))}"
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except FileExistsError as error:
            raise Invalid(f"`{error.filename}` is a file", hint="name another data folder") from error
        except OSError as error:
            raise Denied(
                f"cannot write to `{data}`: {error.strerror}", hint="name another data folder"
            ) from error
        with ExitStack() as stack:
            _keep_others_out(folder, stack.enter_context(lock))
            graph = stack.enter_context(
                Graph.open(str(folder / "graph"), [*types.TYPES, *sessions.TYPES[2:]])
            )
            authz = stack.enter_context(Authz.open(str(folder / "authz")))
            log = stack.enter_context(kv.open(str(folder / "sessions")))
            authz.write_schema(SCHEMA, language="zed")
            return cls(folder, graph, authz, SessionStore(log), stack.pop_all())
        raise AssertionError


def _keep_others_out(folder: Path, lock: IO[str]) -> None:
    """Two demos would pull the workspace from under each other. The lock ends with the process."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Conflict(
            f"another demo is at work in `{folder}`", hint="wait for it, or name another data folder"
        ) from error
