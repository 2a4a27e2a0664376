"""Every sandbox provider under the one contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.unconfined import Unconfined
from weft.testing.sandbox import ATTEMPTS, Attempt, Outside, SandboxContract, run_control

pytestmark = pytest.mark.sandbox


class TestNamespaces(SandboxContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> Namespaces:
        (tmp_path / "state").mkdir()
        return Namespaces(state=str(tmp_path / "state"))


class TestNamespacesOnCopies(SandboxContract):
    """As on a host or a file system that refuses overlays."""

    @pytest.fixture
    def provider(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespaces:
        (tmp_path / "state").mkdir()
        monkeypatch.setattr("weft.agent.sandbox.namespaces.can_be_lower", lambda root: False)
        return Namespaces(state=str(tmp_path / "state"))


class TestUnconfined(SandboxContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> Unconfined:
        (tmp_path / "state").mkdir()
        return Unconfined(state=str(tmp_path / "state"))


class TestAttemptsAreReal:
    """Outside, each harmless attempt gets through: what stops it inside is the sandbox."""

    workspace = SandboxContract.workspace
    outside = SandboxContract.outside

    @pytest.mark.parametrize("attempt", [a for a in ATTEMPTS if a.control], ids=lambda attempt: attempt.name)
    def test_attempt_gets_through(self, attempt: Attempt, outside: Outside, workspace: Path) -> None:
        result = run_control(outside, attempt, workspace)
        assert "REACHED" in result.output, result
