"""Run the sessions of one page, in order and in the working directory; say what each printed.

Takes a JSON list of blocks on standard input. Python blocks share one namespace of this process, as if typed
one after the other; the commands of a console block each run in a shell of their own.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NAMESPACE: dict[str, Any] = {"__name__": "__main__"}
# `weft` is the one that is installed beside this interpreter.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run_python(name: str, code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, name, "exec"), NAMESPACE)
    return printed.getvalue()


def run_console(text: str) -> str:
    """The text again, with what the commands (lines that begin with `$ `) print now."""
    commands = [line for line in text.splitlines(keepends=True) if line.startswith("$ ")]
    return "".join(command + run_command(command[2:]) for command in commands)


def run_command(command: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    return done.stdout


def main() -> None:
    printed = [
        run_python(block["name"], block["text"])
        if block["language"] == "python"
        else run_console(block["text"])
        for block in json.load(sys.stdin)
    ]
    json.dump(printed, sys.stdout)


if __name__ == "__main__":
    main()
