"""Real engines: where one is not installed its tests skip with the reason, and fail under `make engines`."""

from __future__ import annotations

import os
import shutil

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "engine(program): needs this program of the host")


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest) -> None:
    for mark in request.node.iter_markers("engine"):
        (program,) = mark.args
        if shutil.which(program) is None:
            reason = f"`{program}` is not installed: tests/engines/install.sh installs it"
            if os.environ.get("WEFT_ENGINES"):
                pytest.fail(reason)
            pytest.skip(reason)
