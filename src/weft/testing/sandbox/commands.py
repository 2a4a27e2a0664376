"""What a command gives back, and what a wrong request does."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.agent.sandbox import Promise, Sandbox, SandboxProvider
from weft.core.errors import Invalid, NotFound
from weft.testing.sandbox.fixtures import SandboxFixtures


class CommandContract(SandboxFixtures):
    """Results, surroundings, output, refusals."""

    def test_command_results(self, box: Sandbox) -> None:
        assert box.run(["true"]).exit_code == 0
        assert box.run("exit 7").exit_code == 7
        assert box.run("kill -TERM $$").exit_code == -15
        assert box.run(["no-such-command"]).exit_code == 127
        assert box.run(["./a.txt"]).exit_code == 126
        assert box.run("echo out; echo err >&2").output == "out\nerr\n"
        assert box.run(["cat"]).output == ""
        assert box.run(["printf", "%s|", "a b", "$HOME", "*"]).output == "a b|$HOME|*|"
        assert box.run(["printf", "\\377"]).output == "\ufffd"

    def test_command_surroundings(self, box: Sandbox) -> None:
        assert box.run("pwd").output == box.workspace + "\n"
        assert box.run("pwd", folder="sub/deep").output == box.workspace + "/sub/deep\n"
        assert box.run("echo $A", environment={"A": "é"}).output == "é\n"
        assert box.run("echo $A").output == "\n"
        assert box.run([self.python, "-c", "print(6 * 7)"]).output == "42\n"
        assert box.run("touch ~/x && echo y > /tmp/x && cat /tmp/x").output == "y\n"

    def test_a_file_in_memory_can_be_executed(self, box: Sandbox) -> None:
        """Which gives a command no more than the workspace does, and some programs need it."""
        code = """
import os
fd = os.memfd_create("program")
os.write(fd, open("/bin/cat", "rb").read())
os.execve(fd, ["cat", "a.txt"], {})
"""
        assert box.run([self.python, "-c", code]).output == "one\ntwo\nthree\n"

    def test_output_streams(self, box: Sandbox) -> None:
        seen: list[bytes] = []
        box.run("echo one; sleep 0.05; echo two", on_output=seen.append)
        assert seen == [b"one\n", b"two\n"]

    def test_wrong_requests(self, box: Sandbox) -> None:
        with pytest.raises(Invalid):
            box.run([])
        with pytest.raises(Invalid):
            box.run("true", timeout_s=0)
        with pytest.raises(Invalid):
            box.run(["a\0b"])
        with pytest.raises(NotFound):
            box.run("true", folder="nowhere")
        assert box.run("echo alive").output == "alive\n"

    def test_wrong_workspace(self, provider: SandboxProvider, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            provider.open(tmp_path / "nowhere")
        with pytest.raises(Invalid):
            provider.open("/")

    def test_denials_are_named(self, provider: SandboxProvider, box: Sandbox) -> None:
        if Promise.FILES not in provider.promises:
            pytest.skip(f"{provider.name} denies nothing")
        (denial,) = box.run("echo x > /etc/passwd").denied
        assert (denial.kind, "/etc/passwd" in denial.what) == ("path", True)
        assert box.run("true").denied == ()
