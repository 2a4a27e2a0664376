"""`weft` as people run it, in this process: arguments and standard input in; output and exit status out."""

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from weft.cli.main import main


class Done(NamedTuple):
    code: int
    out: str
    err: str


Weft = Callable[..., Done]


@pytest.fixture
def weft(noun: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Weft:
    """Runs `weft NOUN …` in a folder of its own; one text is split as a shell does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object, stdin: str | bytes = "") -> Done:
        words = shlex.split(str(arguments[0])) if len(arguments) == 1 else list(map(str, arguments))
        given = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["weft", noun, *words])
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            code = exit_code()
        out.seek(0)
        err.seek(0)
        return Done(code, out.read(), err.read())

    return run


def exit_code() -> int:
    try:
        main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0
