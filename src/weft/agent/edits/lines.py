"""A text as lines that remember their endings, and the edit as steps over the lines searched for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from typing import NamedTuple

from weft.agent.edits.normalise import bare, plain

BOM = "\ufeff"


class Line(NamedTuple):
    text: str
    ending: str
    """`\\n`, `\\r\\n`, or empty on a last line that has none."""


class Lines:
    """The lines of a text, with what is compared of them; worked out when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._raw = text.split("\n")
        self._closed = not self._raw[-1]
        if self._closed:
            self._raw.pop()

    def __len__(self) -> int:
        return len(self._raw)

    @cached_property
    def texts(self) -> list[str]:
        """Without endings."""
        if "\r\n" not in self.text:
            return self._raw
        texts = [line.removesuffix("\r") for line in self._raw]
        return texts if self._closed else [*texts[:-1], self._raw[-1]]

    @cached_property
    def bare(self) -> list[str]:
        """Without look-alikes, indentation and trailing blanks."""
        if self.text.isascii():
            return [line.strip() for line in self._raw]
        return [bare(text) for text in self.texts]

    def reading(self, wanted: str) -> Iterator[int]:
        """Which lines read `wanted` when bare; it is looked for in the text, most lines are never touched."""
        text = plain(self.text)
        at, number, counted = text.find(wanted), 0, 0
        while at >= 0:
            start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at + len(wanted))
            end = len(text) if end < 0 else end
            if is_blank(text[start:at]) and is_blank(text[at + len(wanted) : end]):
                number, counted = number + text.count("\n", counted, start), start
                yield number
            at = text.find(wanted, end)

    @cached_property
    def common_ending(self) -> str:
        """The ending that most lines have; `\\n` for a text of one line."""
        crlf = self.text.count("\r\n")
        return "\r\n" if crlf * 2 > self.text.count("\n") else "\n"

    def line(self, i: int) -> Line:
        if i == len(self._raw) - 1 and not self._closed:
            return Line(self._raw[i], "")
        raw = self._raw[i]
        return Line(raw[:-1], "\r\n") if raw.endswith("\r") else Line(raw, "\n")

    def slice(self, stretch: range) -> list[Line]:
        return [self.line(i) for i in stretch]

    def span(self, stretch: range) -> tuple[int, int]:
        """Where the lines begin and end in the text, in characters."""
        start = self._offset(stretch.start)
        length = sum(map(len, self._raw[stretch.start : stretch.stop])) + len(stretch)
        return start, min(start + length, len(self.text))

    def _offset(self, i: int) -> int:
        return min(sum(map(len, self._raw[:i])) + i, len(self.text))


def join(lines: Iterable[Line]) -> str:
    return "".join([line.text + line.ending for line in lines])


def contents(text: str) -> list[str]:
    """The lines of a text without their endings; a final line ending opens no further line."""
    return Lines(text).texts


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
