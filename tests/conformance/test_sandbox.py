"""Every sandbox provider under the one contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.unconfined import Unconfined
from weft.testing.sandbox import ControlContract, SandboxContract

pytestmark = pytest.mark.sandbox


class TestNamespaces(SandboxContract):
    @classmethod
    def make_provider(cls, state: Path) -> Namespaces:
        return Namespaces(state=str(state))


class TestNamespacesOnCopies(SandboxContract):
    """As on a host or a file system that refuses overlays."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def no_overlay(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("weft.agent.sandbox.namespaces.can_be_lower", lambda root: False)
            yield

    @classmethod
    def make_provider(cls, state: Path) -> Namespaces:
        return Namespaces(state=str(state))


class TestNamespacesInPython(SandboxContract):
    """As where no C compiler was at hand when weft was installed."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def no_program(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("weft.agent.sandbox.native.program", lambda: "")
            yield

    @classmethod
    def make_provider(cls, state: Path) -> Namespaces:
        return Namespaces(state=str(state))


class TestUnconfined(SandboxContract):
    @classmethod
    def make_provider(cls, state: Path) -> Unconfined:
        return Unconfined(state=str(state))


class TestControls(ControlContract):
    """Outside, each attempt gets through: what stops it inside is the sandbox."""
