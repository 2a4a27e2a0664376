"""Fixtures of the contract: a provider, a workspace, sandboxes around it, and the world outside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import pytest

from weft.agent.sandbox import DEFAULT_LIMITS, Limits, Sandbox, SandboxFailed, SandboxProvider
from weft.testing.sandbox.outside import Outside, fill_workspace, outside_world

TIGHT: Final = Limits(
    memory_bytes=192 << 20,
    processes=40,
    file_bytes=1 << 20,
    cpu_s=1,
    open_files=128,
    tmp_bytes=4 << 20,
    output_bytes=64 << 10,
)


class Arena:
    """Sandboxes that many attempts share: they leave nothing behind, and one that breaks is made anew."""

    def __init__(self, provider: SandboxProvider, outside: Outside) -> None:
        self.outside = outside
        self._provider = provider
        self._boxes: dict[bool, Sandbox] = {}

    def box(self, *, tight: bool = False) -> Sandbox:
        """A sandbox around the world's workspace, with its tools; under tight limits, or the usual ones."""
        if tight not in self._boxes:
            self._boxes[tight] = self._provider.open(
                self.outside.workspace,
                limits=TIGHT if tight else DEFAULT_LIMITS,
                toolchain=[self.outside.tools],
            )
        return self._boxes[tight]

    def forget_broken(self) -> None:
        """Let go of the sandboxes that no longer answer."""
        for tight, box in list(self._boxes.items()):
            try:
                box.entries()
            except SandboxFailed:
                del self._boxes[tight]

    def close(self) -> None:
        """End every sandbox."""
        for box in self._boxes.values():
            box.close()


class SandboxFixtures:
    """What every test of a provider is given. The subclass gives `make_provider`."""

    python: ClassVar[str] = sys.executable
    """The interpreter inside, of version 3.11 or newer."""

    @classmethod
    def make_provider(cls, state: Path) -> SandboxProvider:
        """The provider under test, with a folder for what it keeps; or `pytest.skip` with the reason."""
        raise NotImplementedError("the subclass gives the provider")

    @pytest.fixture(scope="class")
    @classmethod
    def state(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where the provider keeps what it needs."""
        return tmp_path_factory.mktemp("state")

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, state: Path) -> SandboxProvider:
        """The provider under test, one for all tests of the class."""
        return cls.make_provider(state)

    @pytest.fixture(scope="class")
    @classmethod
    def arena(cls, provider: SandboxProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
        """Sandboxes for all attempts of the class, and the world that they lie in."""
        with outside_world(tmp_path_factory.mktemp("arena")) as world:
            arena = Arena(provider, world)
            yield arena
            arena.close()

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Path:
        """A small workspace of the test's own, with a link that leads out of it."""
        root = tmp_path / "work space"
        fill_workspace(root, tmp_path / "outside")
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
