"""A text as lines that remember their endings, and the edit as steps over the lines searched for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

_LINE = re.compile(r"([^\n]*?)(\r\n|\n|\Z)")


class Line(NamedTuple):
    text: str
    ending: str
    """`\\n`, `\\r\\n`, or empty on a last line that has none."""


def split(text: str) -> list[Line]:
    """The lines of a text; joining `text + ending` of each gives it back."""
    lines = []
    for raw in text.split("\n"):
        if raw.endswith("\r"):
            lines.append(Line(raw[:-1], "\r\n"))
        else:
            lines.append(Line(raw, "\n"))
    last = text[len(text) - len(text.rpartition("\n")[2]) :]
    lines.pop()
    if last:
        lines.append(Line(last, ""))
    return lines


def join(lines: Sequence[Line]) -> str:
    return "".join([line.text + line.ending for line in lines])


def contents(text: str) -> list[str]:
    """The lines of a text without their endings; a final line ending opens no further line."""
    return [line.text for line in split(text)]


def common_ending(lines: Sequence[Line]) -> str:
    """The ending that most lines have; `\\n` for a text of one line."""
    counts = Counter(line.ending for line in lines if line.ending)
    return counts.most_common(1)[0][0] if counts else "\n"


def is_blank(text: str) -> bool:
    return not text or text.isspace()


class Block(NamedTuple):
    """A stretch of an edit: the search lines `old` stay as in the file (`new` is None) or become `new`."""

    old: range
    new: tuple[str, ...] | None


def blocks(search: Sequence[str], replace: Sequence[str]) -> list[Block]:
    """The edit from one list of lines to another: what stays, what goes, what comes.

    Lines that both share at their ends stay first of all: the author copied them around the change.
    """
    before = [line.rstrip() for line in search]
    after = [line.rstrip() for line in replace]
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    tail = next((i for i in range(shorter - head) if before[-1 - i] != after[-1 - i]), shorter - head)
    stop, new_stop = len(before) - tail, len(after) - tail
    found = [Block(range(head), None)] if head else []
    matcher = SequenceMatcher(None, before[head:stop], after[head:new_stop], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        new = None if tag == "equal" else tuple(replace[head + c : head + d])
        found.append(Block(range(head + a, head + b), new))
    return [*found, Block(range(stop, len(before)), None)] if tail else found
