"""`weft sandbox` in a folder with two files."""

from pathlib import Path

import pytest


@pytest.fixture
def noun() -> str:
    return "sandbox"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Not below /tmp itself as the sandbox's private one is, but a folder of it."""
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("b\n")
    return tmp_path
