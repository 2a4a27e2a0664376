"""How weft calls git: read-only, offline, and running nothing that a repository or the environment names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_QUIET: Final = ("core.fsmonitor=false", "diff.renameLimit=1000", "log.showSignature=false")


def git_command(repository: Path, *arguments: str) -> list[str]:
    """The command line of one call; run it in `git_environment()`."""
    settings = [part for setting in _QUIET for part in ("-c", setting)]
    return ["git", "--no-pager", "--no-replace-objects", "-C", str(repository), *settings, *arguments]


def git_environment() -> dict[str, str]:
    """Without what could redirect git to another repository, prompt, fetch, or translate."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }
