"""The way in, where there is no Ray; the real cluster is in tests/engines/test_ray_fleet.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from weft.agent.sandbox.fleet.on_ray import Fleet
from weft.core.errors import MissingExtra


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra) as caught:
        Fleet.connect()
    assert str(caught.value) == "`ray` is not installed; install it with: pip install 'weft[ray]'"


def test_importing_the_fleet_imports_no_ray() -> None:
    code = "import sys, weft.agent.sandbox.fleet.on_ray; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
