"""Which files of a tree count: not what .gitignore files name, nor what tools leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from weft.core.extras import require

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE: Final = ".gitignore"
# Left out also where nobody ignores them: not written by people, and large.
SKIPPED: Final = frozenset(
    {".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", ".tox", ".nox", ".eggs"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".gradle", ".idea"}
)


class Found(NamedTuple):
    """One entry of a folder; links and special files are `other`."""

    name: str
    kind: Literal["file", "folder", "other"]


class Ignored:
    """The rules of the .gitignore files of one tree; the rules nearest to a file decide."""

    def __init__(self) -> None:
        self._specs: dict[str, GitIgnoreSpec] = {}
        self._rules: dict[str, str] = {}
        self._answers: dict[str, bool] = {}

    def learn(self, folder: str, rules: str | None) -> None:
        """Take in what a folder's .gitignore says; None where there is none any more. `.` is the root."""
        if rules == self._rules.get(folder):
            return
        if rules is None:
            del self._rules[folder], self._specs[folder]
        else:
            spec = require("pathspec", "agent").GitIgnoreSpec.from_lines(rules.splitlines())
            self._rules[folder], self._specs[folder] = rules, spec
        self._answers.clear()

    def __call__(self, path: str) -> bool:
        """Whether to leave out a path, relative to the root; a folder's path ends with a slash."""
        answer = self._answers.get(path)
        if answer is None:
            answer = self._answers[path] = self._decide(path)
        return answer

    def _decide(self, path: str) -> bool:
        if path.rstrip("/").rpartition("/")[2] in SKIPPED:
            return True
        for folder in _above(path):
            spec = self._specs.get(folder)
            if spec is not None:
                inner = path if folder == "." else path[len(folder) + 1 :]
                verdict = spec.check_file(inner).include
                if verdict is not None:
                    return verdict
        return False


def walk(
    entries: Callable[[str], list[Found]],
    rules: Callable[[str], str | None],
    ignored: Ignored,
    folder: str = ".",
) -> Iterator[str]:
    """The files below a folder that count, sorted within each folder; links are not followed.

    `entries` lists a folder, `rules` gives the text of the .gitignore in it.
    """
    found = entries(folder)
    has_rules = any(entry.name == IGNORE_FILE and entry.kind == "file" for entry in found)
    ignored.learn(folder, rules(folder) if has_rules else None)
    prefix = "" if folder == "." else folder + "/"
    for entry in sorted(found):
        path = prefix + entry.name
        if entry.kind == "folder":
            if not ignored(path + "/"):
                yield from walk(entries, rules, ignored, path)
        elif entry.kind == "file" and not ignored(path):
            yield path


def _above(path: str) -> Iterator[str]:
    """The folders that a path is in, the nearest first."""
    folder = path.rstrip("/")
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        yield folder
    yield "."
