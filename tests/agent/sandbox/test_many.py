"""Hundreds of sandboxes at once; `tests/engines` has thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.testing.sandbox import crowd

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

SANDBOXES = 300


def test_hundreds_at_once(tmp_path: Path) -> None:
    with crowd.descriptors(SANDBOXES):
        crowd.live_at_once(tmp_path, SANDBOXES)


def test_hundreds_at_once_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no C compiler was at hand when weft was installed."""
    monkeypatch.setattr("weft.agent.sandbox.native.program", lambda: "")
    with crowd.descriptors(SANDBOXES):
        crowd.live_at_once(tmp_path, SANDBOXES)
