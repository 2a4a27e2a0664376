"""Builds the compiled inside of sandboxes along with the package, where there is a C compiler.

Where there is none, or off Linux, the package is complete all the same: its Python does the same, slower.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "src/weft/agent/sandbox/native"
PROGRAM = "weft-inside"
_FLAGS = ["-std=gnu11", "-Os", "-Wall", "-Wextra", "-fstack-protector-strong"]
_LONGEST_S = 300


class Hook(BuildHookInterface[Any]):
    """The build hook, as `[tool.hatch.build.hooks.custom]` names it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before a wheel is put together, editable or not; then it is for this platform only."""
        if self.target_name != "wheel":
            return
        if compile_inside(Path(self.root) / FOLDER) is None:
            return
        build_data["artifacts"].append(f"{FOLDER}/{PROGRAM}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_inside(folder: Path) -> Path | None:
    """The program, built from the sources of a folder and in it; None, with a line that says why, without."""
    program = folder / PROGRAM
    why = "there is no C compiler" if sys.platform.startswith("linux") else "they need Linux"
    for compiler in compilers():
        for linking in (["-static-pie", "-fPIE"], ["-static"], []):
            why = _compile(compiler, linking, folder, program)
            if not why:
                return program
    # One of former sources would no longer be understood.
    with contextlib.suppress(OSError):
        program.unlink(missing_ok=True)
    print(f"weft: sandboxes will start slower: {why}", file=sys.stderr)
    return None


def compilers() -> list[list[str]]:
    """Commands that may compile for Linux: the one that $CC names, or else those that are usual and there."""
    if not sys.platform.startswith("linux"):
        return []
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        return [named]
    return [[name] for name in ("cc", "gcc", "clang") if shutil.which(name)]


def _compile(compiler: list[str], linking: list[str], folder: Path, program: Path) -> str:
    """Why it failed, empty where it did not. Nobody sees half a program, nor one that does not run."""
    made = program.with_name(f"{PROGRAM}.{os.getpid()}")
    sources = sorted(str(path) for path in folder.glob("*.c"))
    flags = [*_FLAGS, *shlex.split(os.environ.get("CFLAGS", "")), *linking]
    try:
        done = subprocess.run(
            [*compiler, *flags, "-o", str(made), *sources],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST_S,
        )
        if done.returncode:
            return f"`{compiler[0]}` failed: {done.stderr.strip().partition(chr(10))[0]}"
        if subprocess.run([str(made)], timeout=_LONGEST_S).returncode != 2:
            return f"what `{compiler[0]}` built does not run here"
        made.chmod(0o755)  # whoever a container runs as is to execute it
        made.replace(program)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    finally:
        made.unlink(missing_ok=True)
    return ""
