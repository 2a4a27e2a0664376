"""No way out: every attempt is refused."""

from __future__ import annotations

import contextlib

import pytest

from weft.agent.sandbox import Promise, SandboxProvider
from weft.core.errors import Denied, NotFound
from weft.testing.sandbox.attempt import Attempt, Verdict
from weft.testing.sandbox.controls import verdict
from weft.testing.sandbox.fixtures import Arena, SandboxFixtures
from weft.testing.sandbox.hostile import ATTEMPTS
from weft.testing.sandbox.outside import TIMEOUT_S


class EscapeContract(SandboxFixtures):
    """Files, secrets, network, processes, privileges and resources of the host."""

    @pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
    def test_attempt_is_refused(self, provider: SandboxProvider, arena: Arena, attempt: Attempt) -> None:
        if attempt.promise not in provider.promises:
            pytest.skip(f"{provider.name} does not promise that {attempt.promise.value}")
        arena.forget_broken()
        outside, box = arena.outside, arena.box(tight=attempt.promise is Promise.LIMITS)
        before = outside.snapshot(workspace=not attempt.commit)
        box.run(["mkdir", attempt.name])
        program = attempt.program(self.python, outside.values(box.workspace))
        result = box.run(program, folder=attempt.name, timeout_s=TIMEOUT_S)
        if attempt.commit:
            box.commit()
        how = verdict(outside, attempt, result.output)
        assert how in (Verdict.REFUSED, Verdict.ABSENT), result
        assert box.run("echo still alive").output == "still alive\n"
        assert outside.snapshot(workspace=not attempt.commit) == before

    def test_files_are_reached_only_inside(self, provider: SandboxProvider, arena: Arena) -> None:
        if Promise.SECRETS not in provider.promises:
            pytest.skip(f"{provider.name} does not hide anything")
        outside = arena.outside
        before = outside.snapshot()
        with provider.open(outside.workspace) as box:
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
        assert outside.snapshot() == before
