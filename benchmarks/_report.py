"""What every benchmark shares: its option, its ways to take time, and its report."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
from _plot import svg
from rich.console import Console
from rich.table import Table

from weft.core.clock import SYSTEM_CLOCK

_ROUNDS = 3
_DRAWN_FROM = 0.05
"""Smaller runs say nothing."""
_PLOTS = Path(__file__).parent / "plots"


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured number; `times_floor` is how often as long as its floor it takes, 1 being as fast."""

    name: str
    value: float
    unit: str
    floor: str = ""
    times_floor: float | None = None


class Report:
    """The answer to a benchmark's question: a table for people, and one JSON line for programs."""

    def __init__(self, question: str, scale: float) -> None:
        self._question = question
        self.scale = scale
        self._load = os.getloadavg()[0]
        self._figures: dict[str, Figure] = {}
        self._notes: list[str] = []

    def note(self, text: str) -> None:
        """Say below the table what the figures do not."""
        self._notes.append(text)

    def add(self, name: str, value: float, unit: str, *, floor: str = "") -> None:
        """Note a figure, and compare it with an earlier one that is its floor. Units of rates end in `/s`."""
        times = None
        if floor:
            least = self._figures[floor].value
            times = least / value if unit.endswith("/s") else value / least
        self._figures[name] = Figure(name, value, unit, floor, times)

    def add_latencies(self, name: str, seconds: list[float], *, floor: str = "") -> None:
        """Note the median and the 95th percentile, in microseconds."""
        for percent in (50, 95):
            value_us = percentile(seconds, percent) * 1e6
            self.add(f"{name}, p{percent}", value_us, "µs", floor=f"{floor}, p{percent}" if floor else "")

    def print(self) -> None:
        """The table, then the JSON line; and a drawing in `benchmarks/plots`, unless it is a smoke run."""
        if self.scale >= _DRAWN_FROM:
            _PLOTS.mkdir(exist_ok=True)
            drawing = _PLOTS / f"{Path(sys.argv[0]).stem}.svg"
            drawing.write_text(svg(self._question, self._figures.values()))
            self.note(f"drawn in {os.path.relpath(drawing)}")
        table = Table(
            "what", "figure", "unit", "× floor", "floor", title=self._question, title_justify="left"
        )
        for column in (1, 3):
            table.columns[column].justify = "right"
        for figure in self._figures.values():
            times = "" if figure.times_floor is None else f"{figure.times_floor:,.3g}"
            table.add_row(figure.name, f"{figure.value:,.4g}", figure.unit, times, figure.floor)
        Console(width=120).print(table, *self._notes, sep="\n")
        print(msgspec.json.encode(self._facts()).decode())

    def _facts(self) -> dict[str, Any]:
        return {
            "question": self._question,
            "scale": self.scale,
            "figures": list(self._figures.values()),
            "notes": self._notes,
            "machine": machine() | {"load_1m_before": round(self._load, 2)},
            "commit": commit(),
            "date": datetime.fromtimestamp(SYSTEM_CLOCK.now_us() / 1e6, UTC).isoformat(timespec="seconds"),
        }


class Stopwatch:
    """Adds up the seconds spent inside `with`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._began_s = SYSTEM_CLOCK.monotonic_s()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.seconds += SYSTEM_CLOCK.monotonic_s() - self._began_s


def scale_parser(about: str | None) -> argparse.ArgumentParser:
    """A command line with `--scale`: 1 for the full size, a hundredth for a smoke run."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--scale", type=_scale, default=1.0, help="size of the work; 1 is the full size")
    return parser


def scale_from_arguments(about: str | None) -> float:
    """The command line's `--scale`, where that is all there is."""
    scale: float = scale_parser(about).parse_args().scale
    return scale


def elapsed_s(work: Callable[[], object]) -> float:
    """How long a call takes."""
    with Stopwatch() as watch:
        work()
    return watch.seconds


def medians_s(*measures: Callable[[], float]) -> list[float]:
    """The median seconds of each measure. They take turns, so that a busy spell of the machine hits all."""
    runs = [[measure() for measure in measures] for _ in range(_ROUNDS)]
    return [statistics.median(each) for each in zip(*runs, strict=True)]


def latencies_s(*series: Iterable[Callable[[], object]]) -> list[list[float]]:
    """How long each call of each series takes; they take turns too."""
    runs = [[elapsed_s(work) for work in turn] for turn in zip(*series, strict=True)]
    return [list(each) for each in zip(*runs, strict=True)]


def percentile(values: list[float], percent: int) -> float:
    """The least of the values that at least `percent` of them do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The commit that is measured, `-dirty` where files differ from it; None outside a git repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _scale(text: str) -> float:
    scale = float(text)
    if not 0 < scale <= 100:
        raise argparse.ArgumentTypeError(f"`{text}` is not above 0 and at most 100")
    return scale
