"""Golden sessions: commands in, output out. `GOLDEN=rewrite` writes what came; review the difference."""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

SESSIONS = sorted((Path(__file__).parent / "sessions").glob("*.txt"))
EXAMPLES = Path(__file__).parents[3] / "examples" / "authz"
PROMPT = "$ weft authz "
ZOOKIE = re.compile(r"\bA[A-Za-z0-9_-]{50,60}(?![A-Za-z0-9_-])")
CURSOR = re.compile(r"(--cursor |\"cursor\": \")[A-Za-z0-9_-]+")


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.stem)
def test_a_session_goes_as_written(session: Path, store: Any, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    written = session.read_text()
    came = "".join(played(line, store) for line in written.splitlines() if line.startswith(PROMPT))
    if os.environ.get("GOLDEN") == "rewrite":
        session.write_text(came)
    assert came == written


def played(line: str, weft: Any) -> str:
    command, _, given = line.partition(" <<< ")
    words = shlex.split(command.removeprefix(PROMPT))
    done = weft(*words, stdin="\n".join(shlex.split(given))) if len(words) > 1 else weft(words[0])
    text = done.out + "".join(f"! {error}\n" for error in done.err.splitlines())
    text = ZOOKIE.sub("ZOOKIE", CURSOR.sub(r"\1CURSOR", text))
    text = re.sub(r"in \d+\.\d\d s", "in TIME", text)
    return f"{line}\n{text}" + (f"[{done.code}]\n" if done.code else "")


def test_there_are_sessions() -> None:
    assert len(SESSIONS) >= 4
