"""What a command does that runs on while others come and go."""

from __future__ import annotations

import os
import time

import pytest

from weft.agent.sandbox import Job, Sandbox
from weft.core.errors import Invalid, LimitExceeded, NotFound
from weft.testing.sandbox.fixtures import SandboxFixtures


def said(job: Job, until: bytes, seconds: float = 20.0) -> bytes:
    """What a job says up to a text, or to its end."""
    output, deadline = b"", time.monotonic() + seconds
    while until not in output and time.monotonic() < deadline and job.exit_code is None:
        output += job.poll(0.2).data
    return output


class JobContract(SandboxFixtures):
    """Starting, polling, feeding, stopping; and what a job and the commands beside it do to each other."""

    def test_a_job_says_what_it_has_to_say_bit_by_bit_and_ends(self, box: Sandbox) -> None:
        job = box.start("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; exit 3")
        assert said(job, b"one\n") == b"one\n"
        assert job.poll().data == b""
        assert job.exit_code is None
        box.write("go", b"")
        assert said(job, b"two\n") == b"two\n"
        said(job, b"never", 5.0)
        assert job.exit_code == 3
        with pytest.raises(Invalid):
            job.poll()

    def test_commands_beside_a_job_end_with_all_they_started_and_the_job_runs_on(self, box: Sandbox) -> None:
        job = box.start("echo up; exec sleep 1000", feed=True)
        said(job, b"up")
        left = box.run("(setsid sleep 1000 & echo $!) & wait; sleep 0.05").output.split()[0]
        alive = box.run(f"kill -0 {left} 2>/dev/null && echo alive || echo gone").output
        assert alive == "gone\n"
        assert job.poll().exit_code is None
        assert job.stop().exit_code is not None

    def test_stopping_ends_all_that_the_job_started(self, box: Sandbox) -> None:
        job = box.start("setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & sleep 1000")
        pid = said(job, b"\n").decode().strip()
        assert job.stop().exit_code == 137
        assert box.run(f"kill -0 {pid} 2>/dev/null && echo alive || echo gone").output == "gone\n"

    def test_a_job_ends_at_its_timeout(self, box: Sandbox) -> None:
        job = box.start("echo up; sleep 1000 & sleep 1000", timeout_s=0.3)
        said(job, b"never", 10.0)
        assert job.exit_code == 124

    def test_a_job_is_fed_and_hears_the_end(self, box: Sandbox) -> None:
        job = box.start(["cat"], feed=True)
        other = box.start(["sleep", "1000"], feed=True)
        text = os.urandom(200_000)
        job.feed(text[:100_000])
        got = job.poll(1.0).data
        job.feed(text[100_000:])
        job.end_input()
        while job.exit_code is None:
            got += job.poll(1.0).data
        assert got == text
        assert job.exit_code == 0
        other.stop()

    def test_output_that_nobody_takes_is_bounded_and_stops_nobody(self, box: Sandbox) -> None:
        job = box.start("seq 300000; touch done; sleep 1000", output_bytes=10_000)
        deadline = time.monotonic() + 20
        while "done" not in {entry.name for entry in box.entries()} and time.monotonic() < deadline:
            box.run(["sleep", "0.02"])
        kept = job.stop()
        assert len(kept.data) <= 10_000
        assert kept.data.endswith(b"\n300000\n")
        assert kept.omitted_bytes > 1_000_000

    def test_jobs_are_bounded_in_number_and_go_with_the_workspace(self, box: Sandbox) -> None:
        jobs = [box.start(["sleep", "1000"]) for _ in range(16)]
        with pytest.raises(LimitExceeded):
            box.start(["true"])
        with pytest.raises(NotFound):
            box.start(["no-such-command"])
        box.discard()
        with pytest.raises(NotFound):
            jobs[0].poll()
        assert box.run("echo alive").output == "alive\n"

    def test_a_job_whose_keeper_is_killed_has_ended_with_all_it_started(self, box: Sandbox) -> None:
        job = box.start("echo $PPID; echo $$; echo end; exec sleep 1000")
        keeper, command = said(job, b"end").decode().split()[:2]
        box.run(["kill", "-9", keeper])
        said(job, b"never", 5.0)
        assert job.exit_code == 137
        assert box.run(f"kill -0 {command} 2>/dev/null && echo alive || echo gone").output == "gone\n"

    def test_all_jobs_end_at_once_and_nothing_changes_any_more(self, box: Sandbox) -> None:
        writing = "echo up; while true; do date +%N > now; done"
        jobs = [box.start(writing), box.start(["sh", "-c", f"setsid sh -c '{writing}' & sleep 1000"])]
        for job in jobs:
            said(job, b"up")
        box.end_jobs()
        before = box.changes()
        box.run(["sleep", "0.1"])
        assert box.changes() == before
        for job in jobs:
            with pytest.raises(NotFound):
                job.poll()
        box.end_jobs()
