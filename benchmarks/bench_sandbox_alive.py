"""What does each of a thousand sandboxes at once cost, and what do they leave?"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _report import Report, Stopwatch, elapsed_s, percentile, scale_parser

from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.pool import BOX_BYTES, Pool
from weft.agent.sandbox.namespaces import Namespaces

ALIVE = 1_000
RUNS = 10_000
CLIENTS = 4
PATIENT = Policy(warm_share=0.0, waiting=1_000_000, start_us=3_600_000_000)
PYTHON = [sys.executable, "-I", "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"]


def available_bytes() -> int:
    """Memory that can be had: what the kernel uses for a sandbox is missing there too."""
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def bare_bytes(count: int) -> float:
    """Memory that each of so many bare Pythons takes."""
    before = available_bytes()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(PYTHON, **pipes) for _ in range(count)]
    for each in running:
        assert each.stdout is not None
        each.stdout.readline()
    taken = before - available_bytes()
    for each in running:
        each.communicate()
    return max(1.0, taken / count)


def alive(report: Report, workspace: Path, state: Path, count: int) -> None:
    """Lease so many at once, have each do something of its own, and give them back."""
    gc.collect()
    before = available_bytes()
    with Pool(Namespaces(state=str(state)), memory_bytes=count * BOX_BYTES, policy=PATIENT) as pool:
        with Stopwatch() as opening:
            wanted = [pool.request(workspace, client=f"client {number % 10}") for number in range(count)]
            boxes = [each.result() for each in wanted]
        taken = before - available_bytes()
        with ThreadPoolExecutor(CLIENTS) as threads:
            commands = [lambda box=box, n=n: box.run(f"echo {n} > own") for n, box in enumerate(boxes)]
            waits = list(threads.map(elapsed_s, commands))
        assert [box.read("own") for box in boxes] == [b"%d\n" % number for number in range(count)]
        assert pool.open_boxes == count
        for each in wanted:
            each.finish()
        closing_s = elapsed_s(pool.close)
    report.add("sandboxes alive at once", count, "sandboxes")
    report.add("memory of a sandbox", max(1.0, taken / count), "B", floor="memory of a bare Python")
    report.add("opened, each", opening.seconds / count * 1e6, "µs")
    report.add("a command in one of them, p50", percentile(waits, 50) * 1e6, "µs")
    report.add("closed, each", closing_s / count * 1e6, "µs")


def runs(report: Report, workspace: Path, state: Path, count: int) -> None:
    """Lease and give back so often, and count what is left of it."""

    def work(client: str) -> None:
        for _ in range(count // CLIENTS):
            with pool.lease(workspace, client=client) as box:
                assert box.run("echo x > a; echo y > /tmp/y; setsid sleep 600 &").exit_code == 0

    with Stopwatch() as watch, Pool(Namespaces(state=str(state)), memory_bytes=8 * BOX_BYTES) as pool:
        threads = [threading.Thread(target=work, args=(f"client {n}",)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    report.add("leased, run and given back", count / watch.seconds, "/s")
    # What is made ahead for the next one goes with this process.
    left = len(os.listdir(state)) + children()
    assert left <= 6, f"{left} processes and folders are left"
    report.note(f"Of {count:,} runs nothing is left but what is made ahead ({left} processes and folders).")


def children() -> int:
    """Processes that this one has begun, and theirs."""
    found = [os.getpid()]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return len(found) - 1


def main() -> None:
    scale = scale_parser(__doc__).parse_args().scale
    report = Report(str(__doc__), scale)
    count = max(10, int(ALIVE * scale))
    with tempfile.TemporaryDirectory() as folder:
        workspace, state = Path(folder) / "workspace", Path(folder) / "state"
        workspace.mkdir()
        state.mkdir()
        (workspace / "a").write_text("a\n")
        report.add("memory of a bare Python", bare_bytes(min(50, count)), "B")
        alive(report, workspace, state, count)
        runs(report, workspace, state, max(100, int(RUNS * scale)))
    report.print()


if __name__ == "__main__":
    main()
