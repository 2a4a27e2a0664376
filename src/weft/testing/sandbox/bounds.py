"""No way to use too much, or to last too long."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from weft.agent.sandbox import Promise, Sandbox, SandboxFailed, SandboxProvider
from weft.testing.sandbox.fixtures import TIGHT, SandboxFixtures
from weft.testing.sandbox.outside import TIMEOUT_S, new_marker, running


class BoundsContract(SandboxFixtures):
    """Memory, processes, files, time, output, and the end of everything."""

    def test_memory_of_all_is_bounded(self, tight: Sandbox) -> None:
        if Promise.TOTAL_MEMORY not in tight.promises:
            pytest.skip("no control groups for this user on this host")
        share = TIGHT.memory_bytes // 2
        code = f"""
import mmap, os
m = mmap.mmap(-1, {share})
m.write(b"x" * {share})
print("held", flush=True)
os.read(0, 1)
import time; time.sleep(5)
"""
        one = f"{self.python} -I -c '{code}'"
        result = tight.run(f"{one} & {one} & {one} & wait; echo end", timeout_s=TIMEOUT_S)
        assert result.output.count("held") < 3, result

    @pytest.mark.slow
    def test_cpu_time_is_bounded(self, tight: Sandbox) -> None:
        result = tight.run([self.python, "-I", "-c", "while True: pass"], timeout_s=TIMEOUT_S)
        assert result.exit_code < 0
        assert not result.timed_out

    def test_output_is_bounded_and_keeps_both_ends(self, tight: Sandbox) -> None:
        result = tight.run("echo begin; yes | head -c 3000000; echo end")
        assert result.truncated
        assert len(result.output) < TIGHT.output_bytes + 100
        assert result.output.startswith("begin\n")
        assert result.output.endswith("end\n")
        assert result.omitted_bytes == 3_000_010 - TIGHT.output_bytes

    @pytest.mark.slow
    def test_floods_cost_commands_their_time_and_not_the_sandbox(self, tight: Sandbox) -> None:
        for _ in range(10):
            assert tight.run("head -c 2000000000 /dev/zero", timeout_s=TIMEOUT_S).truncated

    def test_output_at_the_limit_is_whole(self, box: Sandbox) -> None:
        result = box.run(["printf", "0123456789"], output_bytes=10)
        assert (result.output, result.truncated) == ("0123456789", False)
        assert box.run(["printf", "0123456789"], output_bytes=9).omitted_bytes == 1

    # Time and ends.

    def test_timeout_kills_every_descendant(self, box: Sandbox) -> None:
        marker = new_marker()
        began = time.monotonic()
        result = box.run(
            f"setsid sh -c 'sleep {marker}; :' & (sleep {marker} &) ; nohup sleep {marker}", timeout_s=0.3
        )
        assert result.timed_out
        assert result.exit_code == -9
        assert time.monotonic() - began < 5
        assert not running(marker)

    def test_nothing_outlives_its_command(self, box: Sandbox) -> None:
        marker = new_marker()
        result = box.run(f"setsid nohup sleep {marker} >/dev/null 2>&1 & (sleep {marker} &) ; echo done")
        assert result.output == "done\n"
        assert not result.timed_out
        assert not running(marker)

    def test_control_a_daemon_outlives_a_plain_process(self) -> None:
        marker = new_marker()
        subprocess.run(["sh", "-c", f"setsid sleep {marker} >/dev/null 2>&1 &"], check=True)
        deadline = time.monotonic() + 5
        while not (found := running(marker)):
            assert time.monotonic() < deadline
        for pid in found:
            os.kill(pid, 9)

    def test_output_of_the_past_is_not_taken_for_that_of_the_present(self, box: Sandbox) -> None:
        box.run("echo up; (setsid sh -c 'trap \"\" TERM HUP; while :; do echo late; done' &) ; sleep 0.05")
        assert box.run("echo one; sleep 0.05; echo two").output == "one\ntwo\n"
        box.run("exec >/dev/null 2>&1; setsid yes &", timeout_s=0.2)
        assert box.run("echo three").output == "three\n"

    def test_control_a_daemon_speaks_into_what_comes_later(self) -> None:
        daemon = "(setsid sh -c 'for i in $(seq 20); do echo late; sleep 0.01; done' &)"
        commands = [["sh", "-c", daemon], ["sh", "-c", "echo one; sleep 0.1; echo two"]]
        read_end, write_end = os.pipe()
        with open(read_end) as output:
            for command in commands:
                subprocess.run(command, stdout=write_end, check=True)
            os.close(write_end)
            assert "late" in output.read().partition("one")[2].partition("two")[0]

    def test_output_that_looks_like_a_reply_is_output(self, tight: Sandbox) -> None:
        forged = b"\0\0\0\5\x81\xa5ready\xc3\0\0\0\1\xc3" * 20_000 + bytes(range(256))
        tight.write("forged", forged)
        seen: list[bytes] = []
        result = tight.run("cat forged", on_output=seen.append)
        assert forged.startswith(b"".join(seen))
        assert result.exit_code == 0
        assert result.omitted_bytes == len(forged) - TIGHT.output_bytes
        assert tight.run("echo alive").output == "alive\n"

    def test_closed_output_does_not_end_a_command(self, box: Sandbox) -> None:
        result = box.run("exec >&- 2>&-; sleep 0.1; touch reached; exit 3")
        assert (result.exit_code, result.output, result.timed_out) == (3, "", False)
        assert box.stat("reached").kind == "file"

    def test_closing_ends_everything(self, provider: SandboxProvider, workspace: Path) -> None:
        box = provider.open(workspace)
        box.close()
        box.close()
        with pytest.raises(SandboxFailed):
            box.run("true")
