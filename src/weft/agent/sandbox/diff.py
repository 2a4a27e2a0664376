"""Changes as text, in the form of `git diff` that `git apply` takes back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from weft.agent.sandbox.changes import LINK, Change, Content

_CONTEXT_LINES = 3
# On both sides; a second or two at worst, and what differs in more is nothing that a person reads.
_MAX_COMPARED_LINES = 16_000
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def unified(changes: Iterable[Change]) -> str:
    """All changes; a binary file is named and its bytes left out, as git does without --binary."""
    return "".join(_one(part) for change in changes for part in _split_type_change(change))


def _split_type_change(change: Change) -> list[Change]:
    """A file that becomes a link, or the reverse, is deleted and added, as in git."""
    before, after = change.before, change.after
    if before and after and (before.mode == LINK) != (after.mode == LINK):
        return [Change(change.path, before, None), Change(change.path, None, after)]
    return [change]


def _one(change: Change) -> str:
    before, after = change.before, change.after
    old, new = _quoted("a/" + change.path), _quoted("b/" + change.path)
    head = [f"diff --git {old} {new}"]
    if before is None and after is not None:
        head.append(f"new file mode {after.mode:o}")
    elif after is None and before is not None:
        head.append(f"deleted file mode {before.mode:o}")
    elif before is not None and after is not None and before.mode != after.mode:
        head += [f"old mode {before.mode:o}", f"new mode {after.mode:o}"]
    if _data(before) == _data(after):
        return "\n".join(head) + "\n"
    source, target = old if before else "/dev/null", new if after else "/dev/null"
    old_lines, new_lines = _lines(before), _lines(after)
    if old_lines is None or new_lines is None:
        return "\n".join([*head, f"Binary files {source} and {target} differ"]) + "\n"
    head += [f"--- {source}" + _tab(source), f"+++ {target}" + _tab(target)]
    return "\n".join(head) + "\n" + "".join(map(_terminated, _hunks(old_lines, new_lines)))


class _Matcher(difflib.SequenceMatcher[str]):
    """Compares what lies between the lines that both texts begin and end with, and that only up to a bound.

    Text can be made for which the comparison takes the cube of its length.
    """

    def __init__(self, old: list[str], new: list[str]) -> None:
        shorter = min(len(old), len(new))
        same = zip(old, new, strict=False)
        head = next((at for at, (one, other) in enumerate(same) if one != other), shorter)
        same = zip(reversed(old[head:]), reversed(new[head:]), strict=False)
        tail = next((at for at, (one, other) in enumerate(same) if one != other), shorter - head)
        self._frame = (head, len(old) - tail, len(new) - tail, tail)
        between = old[head : len(old) - tail], new[head : len(new) - tail]
        self._bounded = sum(map(len, between)) <= _MAX_COMPARED_LINES
        super().__init__(None, *(between if self._bounded else ([], [])))

    def get_opcodes(self) -> list[Any]:
        head, old_end, new_end, tail = self._frame
        codes = [(tag, i + head, j + head, k + head, m + head) for tag, i, j, k, m in super().get_opcodes()]
        if not self._bounded:
            codes = [("replace", head, old_end, head, new_end)]
        framed = [
            ("equal", 0, head, 0, head),
            *codes,
            ("equal", old_end, old_end + tail, new_end, new_end + tail),
        ]
        return [code for code in framed if code[1] < code[2] or code[3] < code[4]]


def _hunks(old: list[str], new: list[str]) -> Iterator[str]:
    for group in _Matcher(old, new).get_grouped_opcodes(_CONTEXT_LINES):
        (_, from_old, _, from_new, _), (_, _, to_old, _, to_new) = group[0], group[-1]
        yield f"@@ -{_range(from_old, to_old)} +{_range(from_new, to_new)} @@\n"
        for tag, i, j, k, m in group:
            if tag == "equal":
                yield from (" " + line for line in old[i:j])
            else:
                yield from ("-" + line for line in old[i:j])
                yield from ("+" + line for line in new[k:m])


def _range(start: int, end: int) -> str:
    """As POSIX has it: an empty range is named by the line before it, and a single line needs no length."""
    length = end - start
    return f"{start + 1}" if length == 1 else f"{start + (length > 0)},{length}"


def _data(content: Content | None) -> bytes:
    return content.data if content else b""


def _lines(content: Content | None) -> list[str] | None:
    """Lines with their ends, split at line feeds only; None where the content is not text."""
    data = _data(content)
    if b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _terminated(line: str) -> str:
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def _tab(path: str) -> str:
    """Without it a reader would take what follows a space for a time stamp."""
    return "\t" if " " in path and not path.startswith('"') else ""


def _quoted(path: str) -> str:
    raw = path.encode("utf-8", "surrogateescape")
    if all(byte >= 0x20 and byte < 0x7F and chr(byte) not in _ESCAPES for byte in raw):
        return path
    plain = (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}" for byte in raw)
    escaped = (_ESCAPES.get(chr(byte), text) for byte, text in zip(raw, plain, strict=True))
    return '"' + "".join(escaped) + '"'
