"""Jobs from a Python file."""

from __future__ import annotations

import runpy
import sys
import traceback
from pathlib import Path

from weft.core.errors import Invalid, NotFound
from weft.graph import Job


def load_jobs(file: Path) -> dict[str, Job]:
    """The jobs that a file defines at its top, by name. The file is run, as Python runs a script."""
    if not file.is_file():
        raise NotFound(f"there is no file `{file}`", hint="name a Python file that defines jobs")
    before = list(sys.path)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        names = runpy.run_path(str(file))
    except Exception as error:
        raise Invalid(
            f"`{file}` does not run{_line(file, error)}: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path[:] = before
    jobs: dict[str, Job] = {}
    for value in names.values():
        if isinstance(value, Job) and jobs.setdefault(value.name, value) is not value:
            raise Invalid(f"`{file}` has two jobs named `{value.name}`", hint='rename one: @job("name")')
    if not jobs:
        raise Invalid(f"`{file}` defines no job", hint="put @job from weft.graph above a function")
    return jobs


def load_job(file: Path, name: str | None) -> Job:
    """The job of that name, or the only one."""
    jobs = load_jobs(file)
    known = ", ".join(f"`{one}`" for one in jobs)
    if name is None and len(jobs) > 1:
        raise Invalid(f"`{file}` defines several jobs", hint=f"choose with --job: {known}")
    if name is not None and name not in jobs:
        raise NotFound(f"`{file}` defines no job `{name}`", hint=f"it has {known}")
    return next(iter(jobs.values())) if name is None else jobs[name]


def _line(file: Path, error: Exception) -> str:
    """Where in the file it happened."""
    if isinstance(error, SyntaxError):
        return f" at line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return f" at line {lines[-1]}" if lines else ""
