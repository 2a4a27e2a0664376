"""What the tests of sandboxes begin with."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder of one file."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a").write_text("a\n")
    return tmp_path / "work"
