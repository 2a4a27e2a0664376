"""Every Python session in the documentation runs as written and prints what stands below it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n*```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


class Session(NamedTuple):
    name: str
    code: str
    output: str


def sessions(page: Path) -> list[Session]:
    text = page.read_text()
    return [
        Session(
            f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}",
            match["code"],
            match["output"] or "",
        )
        for match in BLOCK.finditer(text)
    ]


def test_the_readme_has_its_three_sessions_of_at_most_ten_lines() -> None:
    found = sessions(ROOT / "README.md")
    assert len(found) == 3
    for session in found:
        lines = [
            line
            for line in session.code.splitlines()
            if line.strip() and not line.startswith(("from", "import"))
        ]
        assert len(lines) <= 10, session.name


@pytest.mark.sandbox
@pytest.mark.parametrize("session", [s for page in PAGES for s in sessions(page)], ids=lambda s: s.name)
def test_a_session_prints_what_the_page_says(session: Session, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", session.code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == session.output


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
