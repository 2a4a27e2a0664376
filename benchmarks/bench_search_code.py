"""How long does an index of code take to read a repository, to answer, and to see that a file changed?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from _report import Report, latencies_s, scale_from_arguments

from weft.agent.context import CodeIndex
from weft.agent.context.files import Folder
from weft.core.clock import SYSTEM_CLOCK

FILES = 1_700  # of the standard library: about a million lines
QUESTIONS = 40
ASKED = (
    "why does retry ignore jitter",
    "how are http headers parsed",
    "where is the event loop closed",
    "json decode error position",
    "return value of dict get name",
)


def library() -> Iterator[Path]:
    """The files of the standard library, the long ones with the short ones."""
    root = Path(os.__file__).parent
    for path in sorted(root.rglob("*.py"), key=lambda path: path.name):
        if "site-packages" not in path.parts:
            yield path


def repository(folder: Path, count: int) -> int:
    """A copy of so many files; how many lines they have."""
    lines = 0
    for number, path in enumerate(islice(library(), count)):
        target = folder / f"part{number % 40}" / f"{path.parent.name}_{number}_{path.name}"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
        lines += target.read_bytes().count(b"\n")
    return lines


def changed(index: CodeIndex, folder: Path, number: int) -> None:
    """Write a word nobody else writes, and find it."""
    (folder / "changing.py").write_text(f"def quokka{number}x():\n    pass\n")
    assert index.search(f"quokka{number}x", 1)[0].path == "changing.py"


def read_all(folder: Path) -> None:
    tree = Folder(folder)
    for path, _ in tree.files():
        tree.read(path)


def stat_all(folder: Path, number: int) -> None:
    assert sum(1 for _ in Folder(folder).files()) >= number


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    questions = max(5, int(QUESTIONS * scale))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = repository(folder, max(5, int(FILES * scale)))
        report.add("lines in the repository", lines, "lines")
        began = SYSTEM_CLOCK.monotonic_s()
        read_all(folder)
        floor_s = SYSTEM_CLOCK.monotonic_s() - began
        report.add("read every file, per million lines", floor_s * 1e6 / lines, "s")
        index = CodeIndex.open(folder)
        began = SYSTEM_CLOCK.monotonic_s()
        index.refresh()
        took_s = (SYSTEM_CLOCK.monotonic_s() - began) * 1e6 / lines
        report.add("index, per million lines", took_s, "s", floor="read every file, per million lines")
        rounds = range(questions)
        floor, asked, seen = latencies_s(
            [partial(stat_all, folder, 0) for _ in rounds],
            [partial(index.search, ASKED[number % len(ASKED)], 10) for number in rounds],
            [partial(changed, index, folder, number) for number in rounds],
        )
        report.add_latencies("look at every file's stamp", floor)
        report.add_latencies("a question", asked, floor="look at every file's stamp")
        report.add_latencies("write a file and find it", seen, floor="look at every file's stamp")
    report.print()


if __name__ == "__main__":
    main()
