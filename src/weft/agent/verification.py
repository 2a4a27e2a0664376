"""How a repository's tests are run, when nobody says it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

_PYTEST_FILES = ("pytest.ini", "conftest.py", "tox.ini", "setup.cfg", "pyproject.toml")


def test_command(workspace: Path) -> str | None:
    """The command that runs all tests of a workspace; None when its files do not tell."""
    if (workspace / "go.mod").is_file():
        return "go test ./..."
    if (workspace / "Cargo.toml").is_file():
        return "cargo test"
    if (workspace / "package.json").is_file():
        return "npm test --silent"
    folders = [workspace, workspace / "tests", workspace / "test"]
    has_tests = any(next(folder.glob("test_*.py"), None) for folder in folders if folder.is_dir())
    if has_tests or any((workspace / name).is_file() for name in _PYTEST_FILES):
        return f"{shlex.quote(sys.executable)} -m pytest -q"
    return None
