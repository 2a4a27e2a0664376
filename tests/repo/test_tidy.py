"""Tidiness is a test, and its message says what to do."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if (ROOT / name).is_file()
]
SOURCES = [path for path in TRACKED if path.suffix == ".py" and "src" in path.parts]


def test_no_source_file_answers_two_questions() -> None:
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := path.read_text().count("\n")) > 500}
    assert not long, f"split these by the questions they answer: {long}"


def test_every_module_says_what_it_is_for() -> None:
    mute = [str(path.relative_to(ROOT)) for path in SOURCES if not path.read_text().startswith('"""')]
    assert not mute, f"begin these with a docstring of one sentence: {mute}"


def test_no_marker_of_unfinished_work() -> None:
    marker = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marker.search(line)
    ]
    assert not found, f"finish these or write an issue: {found}"


def test_nothing_large_and_nothing_binary_is_tracked() -> None:
    large = [str(path.relative_to(ROOT)) for path in TRACKED if path.stat().st_size > 300_000]
    assert not large, f"generate these instead of committing them: {large}"


def test_pins_name_no_index() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|--index-url|--find-links", text), "run `make lock` with no index options"
