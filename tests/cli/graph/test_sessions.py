"""Golden sessions: commands in, output out. `GOLDEN=rewrite` writes what came; review the difference."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

SESSIONS = sorted((Path(__file__).parent / "sessions").glob("*.txt"))
PROMPT = "$ weft graph "


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.stem)
def test_a_session_goes_as_written(session: Path, files: Any, tmp_path: Path) -> None:
    written = session.read_text()
    came = "".join(played(line, files, tmp_path) for line in written.splitlines() if line.startswith(PROMPT))
    if os.environ.get("GOLDEN") == "rewrite":
        session.write_text(came)
    assert came == written


def played(line: str, weft: Any, folder: Path) -> str:
    command, _, given = line.partition(" <<< ")
    words = shlex.split(command.removeprefix(PROMPT).replace("FOLDER", str(folder)))
    done = weft(*words, stdin="\n".join(shlex.split(given))) if len(words) > 1 else weft(words[0])
    text = done.out + "".join(f"! {error}\n" for error in done.err.splitlines())
    if str(folder) in text or "--answer profile" in line:
        # How wide a column is depends on the folder's name, or on how long it took.
        text = re.sub(r" {2,}", "  ", re.sub("─+", "─", text.replace(str(folder), "FOLDER")))
    if "--answer profile" in line:
        text = re.sub(r"\d+\.\d{3}", "TIME", text)
    text = re.sub(r'(--after |"next": ")[\w-]{20,}', r"\1TOKEN", text)
    text = re.sub(r"stdin:\w{26}", "stdin:ID", text)
    text = re.sub(r'"duration_s": [\d.e-]+', '"duration_s": TIME', text)
    return f"{line}\n{text}" + (f"[{done.code}]\n" if done.code else "")


def test_there_are_sessions() -> None:
    assert len(SESSIONS) >= 4
