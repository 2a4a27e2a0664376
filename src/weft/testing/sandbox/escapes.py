"""No way out: every attempt is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from weft.agent.sandbox import Promise, Sandbox, SandboxProvider
from weft.core.errors import Denied, NotFound
from weft.testing.sandbox.attempts import ATTEMPTS, Attempt
from weft.testing.sandbox.fixtures import SandboxFixtures
from weft.testing.sandbox.outside import TIMEOUT_S, Outside, snapshot


class EscapeContract(SandboxFixtures):
    """Files, secrets, network, processes and privileges of the host."""

    @pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
    def test_attempt_is_refused(
        self, provider: SandboxProvider, workspace: Path, outside: Outside, attempt: Attempt
    ) -> None:
        """Where the promise is not made, the attempt gets through, or the provider promises too little."""
        promised = attempt.promise in provider.promises
        if not promised and not attempt.control:
            pytest.skip(f"{provider.name} would let it through, and it is not harmless")
        before = snapshot(outside)
        with provider.open(workspace, toolchain=[outside.tools]) as box:
            result = box.run(outside.program(attempt), timeout_s=TIMEOUT_S)
            assert "TRYING" in result.output, result
            assert ("REACHED" in result.output) is not promised, result
            assert box.run("echo still alive").output == "still alive\n"
        if promised:
            assert snapshot(outside) == before

    def test_files_are_reached_only_inside(
        self, provider: SandboxProvider, workspace: Path, outside: Outside
    ) -> None:
        if Promise.SECRETS not in provider.promises:
            pytest.skip(f"{provider.name} does not hide anything")
        before = snapshot(outside)
        with provider.open(workspace) as box:
            for path in ("escape", str(outside.folder / "secret"), "../outside/secret"):
                with pytest.raises(NotFound):
                    box.read(path)
            box.run(["ln", "-s", str(outside.folder), "way"])
            with pytest.raises((NotFound, Denied)):
                box.read("way/secret")
            with contextlib.suppress(Denied, NotFound):
                box.write("way/new", b"x")
            with pytest.raises((NotFound, Denied)):
                box.delete("way/notes")
        assert snapshot(outside) == before

    def test_init_cannot_be_killed(self, provider: SandboxProvider, box: Sandbox) -> None:
        if Promise.PROCESSES not in provider.promises:
            pytest.skip(f"{provider.name} has no processes of its own")
        box.run("kill -9 1; kill -TERM 1; kill -9 -1; true")
        assert box.run("echo alive").output == "alive\n"
