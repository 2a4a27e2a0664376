"""Thousands of sandboxes at once on one machine, where it has the memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from weft.agent.sandbox import native
from weft.testing.sandbox import crowd

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

SANDBOXES = 5_000
BYTES_EACH = 1 << 20
"""With what the kernel needs for it."""


@pytest.mark.timeout(600)
def test_thousands_at_once() -> None:
    """Their states are kept in memory, so that it is not the disk that is tested."""
    if os.geteuid() != 0 or not native.program():
        pytest.skip("thousands need root's limits, and the compiled inside")
    if (room := crowd.available_bytes()) < 2 * SANDBOXES * BYTES_EACH:
        pytest.skip(f"{room >> 30} GiB are not enough for {SANDBOXES:,} sandboxes")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, crowd.descriptors(SANDBOXES):
        taken = crowd.live_at_once(Path(folder), SANDBOXES)
    assert taken < SANDBOXES * BYTES_EACH
