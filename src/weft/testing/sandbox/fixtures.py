"""Fixtures of the contract: a workspace, a sandbox around it, a tight one, and the world outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.sandbox import Limits, Sandbox, SandboxProvider
from weft.testing.sandbox.outside import Outside, outside_world

TIGHT = Limits(
    memory_bytes=192 << 20,
    processes=40,
    file_bytes=1 << 20,
    cpu_s=1,
    tmp_bytes=4 << 20,
    output_bytes=64 << 10,
)


class SandboxFixtures:
    """What every test of a provider is given. The subclass gives `provider`."""

    @pytest.fixture
    def provider(self) -> SandboxProvider:
        """The provider under test."""
        raise NotImplementedError("the subclass gives the provider")

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Path:
        """A small workspace with a link that leads out of it."""
        root = tmp_path / "work space"
        (root / "sub" / "deep").mkdir(parents=True)
        (root / "a.txt").write_text("one\ntwo\nthree\n")
        (root / "sub" / "b.txt").write_text("b\n")
        (root / "sub" / "deep" / "c.txt").write_text("c\n")
        (root / "escape").symlink_to(tmp_path / "outside" / "secret")
        return root

    @pytest.fixture
    def box(self, provider: SandboxProvider, workspace: Path) -> Iterator[Sandbox]:
        """A sandbox around the workspace."""
        with provider.open(workspace) as box:
            yield box

    @pytest.fixture
    def tight(self, provider: SandboxProvider, workspace: Path) -> Iterator[Sandbox]:
        """A sandbox that allows very little."""
        with provider.open(workspace, limits=TIGHT) as box:
            yield box

    @pytest.fixture
    def outside(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
        """The treasure."""
        with outside_world(tmp_path, monkeypatch) as world:
            yield world
