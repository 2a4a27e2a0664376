"""`weft sandbox bench`: how long sandboxes take on this machine, beside plain processes."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from weft.agent.sandbox import Sandbox, SandboxProvider
from weft.cli.output import Json, emit, print_table
from weft.cli.sandbox.options import Image, Provider, ProviderName
from weft.core.clock import SYSTEM_CLOCK

_COMMAND: Final = ["true"]
_FILES: Final = 100


def bench(
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="How often each is done.")] = 20,
    provider: ProviderName = Provider.NAMESPACES,
    image: Image = None,
    json: Json = False,
) -> None:
    """Time opening, running, beginning anew and closing, in turn, on a folder of 100 small files.

    Example: weft sandbox bench --rounds 50
    """
    times = _Times()
    made = provider.make(image)
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        for number in range(_FILES):
            (Path(folder) / f"{number}.txt").write_text("a line\n" * 100)
        for _ in range(rounds):
            _round(times, made, folder)
    rows = []
    for what, taken in times.seconds.items():
        p50_us, p95_us = (sorted(taken)[-(-rounds * percent // 100) - 1] * 1e6 for percent in (50, 95))
        if json:
            emit(True, {"what": what, "rounds": rounds, "p50_us": p50_us, "p95_us": p95_us}, "")
        rows.append((what, f"{p50_us / 1e3:,.2f} ms", f"{p95_us / 1e3:,.2f} ms"))
    if not json:
        print_table(("", "p50", "p95"), rows)


def _round(times: _Times, provider: SandboxProvider, folder: str) -> None:
    times.begin()
    subprocess.run(_COMMAND, check=True)
    times.lap("fork and exec `true`, no sandbox")
    with Sandbox.open(folder, provider=provider) as box:
        times.lap("open a sandbox")
        box.run(_COMMAND)
        times.lap("run `true` in it")
        box.write("0.txt", b"another line\n")
        times.lap("write a file in it")
        box.changes()
        times.lap("tell what changed")
        box.discard()
        times.lap("begin anew")
    times.lap("close it")


class _Times:
    """How long each step took, in the order of the first round."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._since_s = 0.0

    def begin(self) -> None:
        self._since_s = SYSTEM_CLOCK.monotonic_s()

    def lap(self, what: str) -> None:
        now_s = SYSTEM_CLOCK.monotonic_s()
        self.seconds.setdefault(what, []).append(now_s - self._since_s)
        self._since_s = now_s
