"""Every session in the documentation runs as written and prints what stands below it.

A `python` block is followed by what it prints, as a `text` block; a `console` block holds commands after
`$ `, each with its output. The sessions of a page under docs/ build on each other, Python and commands alike,
in one temporary folder; those of the README stand alone. In expected output `...` is any one word of letters,
digits, `.`, `-` and `_`: a zookie, an id, a time taken.
"""

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n*```text\n(?P<output>.*?)^```\n)?"
    r"|^```console\n(?P<console>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)


class Session(NamedTuple):
    name: str
    language: str
    text: str
    output: str


def sessions(page: Path) -> list[Session]:
    return list(_sessions(page))


def _sessions(page: Path) -> Iterator[Session]:
    whole = page.read_text()
    for match in BLOCK.finditer(whole):
        name = f"{page.relative_to(ROOT)}:{whole.count(chr(10), 0, match.start()) + 1}"
        if (console := match["console"]) is not None:
            yield Session(name, "console", console, console)
        else:
            yield Session(name, "python", match["code"], match["output"] or "")


def run(asked: list[Session], folder: Path) -> list[str]:
    """What the sessions print, one after the other in one process."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    done = subprocess.run(
        [sys.executable, "-W", "error", Path(__file__).with_name("run_page.py")],
        input=json.dumps([session._asdict() for session in asked]),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    printed: list[str] = json.loads(done.stdout)
    return printed


def is_as_expected(printed: str, expected: str) -> bool:
    return re.fullmatch(re.escape(expected).replace(r"\.\.\.", r"[\w.-]+"), printed) is not None


def test_the_readme_has_its_three_sessions_of_at_most_ten_lines() -> None:
    found = sessions(README)
    assert len(found) == 3
    for session in found:
        lines = [
            line
            for line in session.text.splitlines()
            if line.strip() and not line.startswith(("from", "import"))
        ]
        assert len(lines) <= 10, session.name


@pytest.mark.sandbox
@pytest.mark.parametrize("session", sessions(README), ids=lambda s: s.name)
def test_a_session_of_the_readme_prints_what_it_says(session: Session, tmp_path: Path) -> None:
    assert run([session], tmp_path) == [session.output]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES[1:] if sessions(page)], ids=lambda p: p.stem)
def test_the_sessions_of_a_page_print_what_it_says(page: Path, tmp_path: Path) -> None:
    asked = sessions(page)
    for session, printed in zip(asked, run(asked, tmp_path), strict=True):
        if not is_as_expected(printed, session.output):
            assert printed == session.output, session.name


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda p: p.stem)
def test_no_code_escapes_its_test(page: Path) -> None:
    assert set(re.findall(r"^```(\w+)", page.read_text(), re.MULTILINE)) <= {"python", "text", "console"}


def test_three_dots_stand_for_one_word() -> None:
    assert is_as_expected("zookie AQ-x_9 kept\n", "zookie ... kept\n")
    assert not is_as_expected("zookie kept\n", "zookie ... kept\n")
    assert not is_as_expected("zookie A B kept\n", "zookie ... kept\n")
    assert not is_as_expected("a+b", "a+c")


def test_the_reference_is_what_the_docstrings_say() -> None:
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    assert generate["PAGE"].read_text() == generate["page"](), "run `make docs` and commit what it changes"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_named_files_exist() -> None:
    """A path in backticks on the front pages is a promise."""
    for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"):
        for target in re.findall(
            r"`((?:src|tests|benchmarks|examples|docs)/[\w./-]+)`", (ROOT / name).read_text()
        ):
            assert (ROOT / target).exists(), f"{name} names {target}"
