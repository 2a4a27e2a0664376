"""`python -m weft.testing.edits --cases 100000`: edits of this machine's source files, counted by outcome."""

from __future__ import annotations

import argparse
import os
import random
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from weft.testing.edits import (
    FORMATS,
    KINDS,
    OUTCOMES,
    Case,
    Outcome,
    Sources,
    cases,
    forms,
    judge,
    source_paths,
)

_CHUNK: Final = 2_000
_FILES: Final = 150
"""Of each chunk, chosen anew."""


class Tally(NamedTuple):
    """How often each (kind, format, outcome) came, and the cases that should not have come so."""

    counts: Counter[tuple[str, str, Outcome]]
    bad: list[tuple[Case, str, Outcome]]


def tally(paths: list[Path], number: int, seed: str) -> Tally:
    """Judge that many cases; the seed alone says which."""
    rng = random.Random(seed)
    counts: Counter[tuple[str, str, Outcome]] = Counter()
    bad = []
    for case in cases(Sources.read(paths, _FILES, rng), number, rng):
        form = rng.choice(forms(case))
        outcome = judge(case, form, rng)
        counts[case.kind, form, outcome] += 1
        if outcome in OUTCOMES[2:]:
            bad.append((case, form, outcome))
    return Tally(counts, bad)


def table(title: str, index: int, names: Iterable[str], counts: Counter[tuple[str, str, Outcome]]) -> Table:
    """A row for each kind or format, by the index of it in the counts' keys."""
    found = Table(title, "cases", *OUTCOMES)
    for column in found.columns[1:]:
        column.justify = "right"
    for name in (*names, "all"):
        row = [
            sum(n for key, n in counts.items() if name in (key[index], "all") and key[2] == outcome)
            for outcome in OUTCOMES
        ]
        found.add_row(name, *(f"{n:,}" for n in (sum(row), *row)), end_section=name == list(names)[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--sources", type=Path, nargs="+", default=_folders(), help="folders with text files")
    asked = parser.parse_args()
    paths = source_paths(asked.sources)
    sizes = [min(_CHUNK, asked.cases - at) for at in range(0, asked.cases, _CHUNK)]
    counts: Counter[tuple[str, str, Outcome]] = Counter()
    bad = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        seeds = [f"{asked.seed}:{number}" for number in range(len(sizes))]
        for found in pool.map(tally, [paths] * len(sizes), sizes, seeds):
            counts += found.counts
            bad += found.bad
    console = Console(width=120)
    console.print(f"{asked.cases:,} cases from {len(paths):,} files, seed {asked.seed}")
    console.print(table("how it is spoilt", 0, KINDS, counts))
    console.print(table("how it is written", 1, FORMATS, counts))
    for case, form, outcome in bad[:10]:
        console.print(
            f"{outcome}: {case.kind}, as {form}, at line {case.line}: {case.search} -> {case.replace}"
        )
    return 1 if bad else 0


def _folders() -> list[Path]:
    ours = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    return [folder for folder in (*ours, Path("/usr/share"), Path("/usr/include")) if folder.is_dir()]


if __name__ == "__main__":
    sys.exit(main())
