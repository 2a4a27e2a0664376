"""A stretch of a real file and what it is to become: the intended text follows before anything is spoilt."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple

Verdict = Literal["applies", "refused", "either"]
_SUFFIXES: Final = (
    *(".py", ".pyi", ".c", ".h", ".hpp", ".js", ".ts", ".java", ".go", ".rs", ".sh", ".pl", ".pm", ".rb"),
    *(".md", ".rst", ".txt", ".toml", ".yaml", ".yml", ".json", ".xml", ".html", ".css", ".cmake", ".tcl"),
    *(".lua", ".awk", ".vim", ".el", ".m4", ".mk", ".ini", ".cfg", ".sql"),
)
_SIZES: Final = range(200, 120_000)
_MIN_SOLID_LINES: Final = 8
MARKS: Final = ("=======", "<<<<<<<", ">>>>>>>", "***", "@@", "diff ", "\\")
"""What the formats themselves begin lines with."""
_FOLDED: Final = {
    ord(odd): plain
    for odds, plain in (
        ("\u2018\u2019\u201a\u201b", "'"),
        ("\u201c\u201d\u201e\u201f", '"'),
        ("‐‑‒–—―−", "-"),
    )
    for odd in odds
}


class Case(NamedTuple):
    """One edit of one file, and what has to come of it."""

    kind: str
    text: str
    search: tuple[str, ...]
    """Lines without endings."""
    replace: tuple[str, ...]
    ending: str
    """Of the lines of the edit; empty for a search that is a piece of a line."""
    intended: str
    verdict: Verdict
    line: int
    """First line of the place, from 1."""
    steps: tuple[tuple[str, str], ...]
    """The edit as marked lines, for patches: ` ` stays, `-` goes, `+` comes. Empty where there is none."""


class Sources(NamedTuple):
    """Texts to edit."""

    texts: list[str]

    @classmethod
    def read(cls, paths: Sequence[Path], number: int, rng: random.Random) -> Sources:
        """Up to `number` of the files, chosen by the seed, without those that are no text of some lines."""
        texts = []
        for path in rng.sample(paths, min(number, len(paths))):
            try:
                text = path.read_bytes().decode()
            except (OSError, UnicodeDecodeError):
                continue
            if len([line for line in text.split("\n") if line.strip()]) >= _MIN_SOLID_LINES:
                texts.append(text)
        return cls(texts)


def source_paths(folders: Sequence[Path]) -> list[Path]:
    """Every file below the folders that looks like source or text of a usual size, in order."""
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES and path.is_file() and path.stat().st_size in _SIZES
    )


class Draft(NamedTuple):
    """A file as lines, and a stretch of it: lines that stay, that go, that come instead, that stay."""

    lines: list[str]
    start: int
    before: list[str]
    old: list[str]
    new: list[str]
    after: list[str]
    final: bool
    """Whether the file ends with a line ending."""

    @property
    def stop(self) -> int:
        return self.start + len(self.quoted)

    @property
    def quoted(self) -> list[str]:
        return self.before + self.old + self.after

    @property
    def wanted(self) -> list[str]:
        return self.before + self.new + self.after

    @property
    def is_clear(self) -> bool:
        """Whether search and replacement alone tell which lines stay: those that go do not slide."""
        down, up = self.old[:1] == self.after[:1], self.old[-1:] == self.before[-1:]
        return bool(self.new) or not self.old or not (down or up)

    def file(self, stretch: Sequence[str], ending: str = "\n") -> str:
        """The file with `stretch` in the place."""
        lines = [*self.lines[: self.start], *stretch, *self.lines[self.stop :]]
        closed = self.final or (self.stop == len(self.lines) and not stretch)
        return ending.join(lines) + (ending if closed and lines else "")


def draft(text: str, rng: random.Random) -> Draft | None:
    """A stretch of up to eleven lines of which up to three go and up to three, unlike any other, come."""
    final = text.endswith("\n")
    lines = [line.rstrip() for line in text.removeprefix("\ufeff").split("\n")]
    if final:
        lines.pop()
    start = rng.choice([i for i, line in enumerate(lines) if line])
    ahead, going, behind = rng.randrange(5), rng.randrange(4), rng.randrange(5)
    stop = min(start + max(1, ahead + going + behind), len(lines))
    while not lines[stop - 1]:
        stop -= 1
    stretch = lines[start:stop]
    if any(line.startswith(MARKS) for line in stretch) or any(
        set("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029") & set(line) for line in lines
    ):
        return None
    before, old, after = stretch[:ahead], stretch[ahead : ahead + going], stretch[ahead + going :]
    if before[-1:] == [""] or after[:1] == [""] or "" in old:
        return None
    solid = [line for line in stretch if line]
    new = [fresh(rng.choice(solid), rng) for _ in range(rng.randrange(4))]
    return Draft(lines, start, before, old, new or ([] if old else [fresh(solid[0], rng)]), after, final)


def fresh(line: str, rng: random.Random) -> str:
    """A line like this one, as far in or a step further, that is nowhere in the file."""
    body = line.lstrip()
    indent = line[: len(line) - len(body)]
    deeper = rng.choice(["", "", "\t" if indent.endswith("\t") else "    "]) if indent else ""
    at = rng.randrange(len(body) + 1)
    return f"{indent}{deeper}{body[:at].lstrip()}q{rng.getrandbits(40)}{body[at:]}"


def stands_once(text: str, quoted: Sequence[str]) -> bool:
    """The oracle, dumb on purpose: with every blank taken out and look-alikes folded, the quotation is in the
    text at one place."""
    return occurrences(_loose(text), loose("\n".join(quoted))) == 1


def occurrences(text: str, wanted: str) -> int:
    """At how many places a string is in a text, overlapping ones too."""
    count, at = 0, text.find(wanted) if wanted else -1
    while at >= 0:
        count, at = count + 1, text.find(wanted, at + 1)
    return count


def loose(text: str) -> str:
    """The text without blanks, blank lines and BOM, look-alikes as plain characters."""
    folded = unicodedata.normalize("NFKC", text).translate(_FOLDED).replace("\ufeff", "")
    return "\n".join(filter(None, ("".join(row.split()) for row in folded.split("\n"))))


_loose = lru_cache(maxsize=4)(loose)
