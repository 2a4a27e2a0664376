"""The way in, where there is no Ray; the real cluster is in tests/engines/test_ray_fleet.py."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from weft.agent.sandbox.fleet.on_ray import Fleet
from weft.core.errors import MissingExtra, Unavailable


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra) as caught:
        Fleet.connect()
    assert str(caught.value) == "`ray` is not installed; install it with: pip install 'weft[ray]'"


def test_where_there_is_no_cluster_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore of it.")

    errors = SimpleNamespace(RaySystemError=RuntimeError)
    ray = SimpleNamespace(is_initialized=lambda: False, init=refuse, exceptions=errors)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(Unavailable) as caught:
        Fleet.connect("there:1")
    assert str(caught.value) == (
        "no Ray cluster at `there:1`: Could not find any running Ray instance; ray start"
    )


def test_importing_the_fleet_imports_no_ray() -> None:
    code = "import sys, weft.agent.sandbox.fleet.on_ray; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
