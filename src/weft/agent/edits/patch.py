"""Patches over several files: all of them apply, or none does."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby, pairwise
from typing import NamedTuple

from weft.agent.edits.apply import ambiguous, apply, nearest, rewritten
from weft.agent.edits.indent import indentation
from weft.agent.edits.lines import BOM, Block, Line, Lines, is_blank, join
from weft.agent.edits.locate import Match, locate
from weft.agent.edits.model import Applied, EditError, Hunk
from weft.agent.edits.normalise import key
from weft.agent.edits.patch_blocks import is_blocks, parse_blocks
from weft.agent.edits.patch_format import ADD, CONTEXT, FilePatch, PatchHunk, is_v4a
from weft.agent.edits.patch_unified import parse_unified
from weft.agent.edits.patch_v4a import parse_v4a


def parse(patch: str) -> list[FilePatch]:
    """The files that a patch touches; V4A, search blocks and unified diffs are told apart."""
    if is_v4a(patch):
        return parse_v4a(patch)
    return parse_blocks(patch) if is_blocks(patch) else parse_unified(patch)


def apply_patch(files: Mapping[str, str], patch: str) -> dict[str, str | None]:
    """The new text of each file that the patch touches, None for a deleted one; `files` is left as it is.

    Hunks are located as `apply` locates a search, so wrong line numbers and counts do not matter. Where a
    hunk fits several places, its `@@` anchor, its order and trustworthy line numbers decide; otherwise it is
    an `EditError`. One error means that nothing is applied.
    """
    return {path: done.text if done else None for path, done in patched(files, patch).items()}


def patched(files: Mapping[str, str], patch: str) -> dict[str, Applied | None]:
    """As `apply_patch`, with what each hunk did; there is none of a file that is added or moved whole."""
    state: dict[str, str | None] = dict(files)
    changed: dict[str, Applied | None] = {}
    for part in parse(patch):
        for path, done in _file_after(state, part).items():
            earlier = changed.get(path)
            if done and earlier:
                done = Applied(done.text, (*earlier.hunks, *done.hunks))
            changed[path] = done
            state[path] = done.text if done else None
    return changed


def _file_after(files: Mapping[str, str | None], part: FilePatch) -> dict[str, Applied | None]:
    if part.kind == "add":
        if files.get(part.path) is not None:
            raise EditError(f"{part.path}: to be added, and exists already", hint="update the file instead")
        return {part.path: Applied(part.text, ())}
    path = _existing(files, part.path)
    text = files[path] or ""
    try:
        new = apply(text, part.edits) if part.edits else _patched(text, part.hunks)
    except EditError as error:
        raise error.in_file(path) from error
    if part.kind == "delete":
        if new.text and part.hunks:
            raise EditError(f"{path}: the patch deletes the file and leaves text in it", path=path)
        return {path: None}
    target = part.move_to or path
    if target != path:
        if files.get(target) is not None:
            raise EditError(f"{path}: cannot move to {target}, which exists already", path=path)
        return {path: None, target: new}
    if new.text == text:
        raise EditError(f"{path}: the patch changes nothing", hint="leave the file out", path=path)
    return {path: new}


def _existing(files: Mapping[str, str | None], path: str) -> str:
    for name in (path, posixpath.normpath(path)):
        if files.get(name) is not None:
            return name
    near = get_close_matches(
        path, [name for name, text in files.items() if text is not None], n=3, cutoff=0.4
    )
    raise EditError(
        f"{path}: there is no such file",
        hint=f"did you mean {' or '.join(near)}?" if near else "add it instead",
    )


class _Change(NamedTuple):
    """What one hunk does: lines of the file, which may be none, become new ones."""

    place: range
    new: list[Line]
    hunk: PatchHunk
    step: str


def _patched(text: str, hunks: Sequence[PatchHunk]) -> Applied:
    lines = Lines(text.removeprefix(BOM))
    changes: list[_Change] = []
    trusted = _numbers_are_right(lines, hunks)
    cursor = 0
    for number, hunk in enumerate(hunks, 1):
        try:
            change = _change(lines, hunk, cursor, trusted)
        except EditError as error:
            raise EditError(
                f"hunk {number} of {len(hunks)}: {error.message}", error.candidates, hint=error.hint
            ) from error
        cursor = change.place.stop
        changes.append(change)
    changes.sort(key=lambda change: change.place.start)
    if any(earlier.place.stop > later.place.start for earlier, later in pairwise(changes)):
        raise EditError("two hunks change the same lines", hint="make one hunk of them")
    return _carried_out(text, lines, changes)


def _carried_out(text: str, lines: Lines, changes: Sequence[_Change]) -> Applied:
    parts, hunks, at = [BOM] if text.startswith(BOM) else [], [], 0
    for change in changes:
        start, stop = lines.span(change.place)
        new = join(change.new)
        parts += [lines.text[at:start], new]
        hunks.append(Hunk(change.place.start + 1, lines.text[start:stop], new, (change.step,)))
        at = stop
    result = "".join([*parts, lines.text[at:]])
    if changes and changes[-1].place.stop == len(lines):
        result = _finished(result, changes[-1].hunk, lines)
    return Applied(result, tuple(hunks))


def _change(lines: Lines, hunk: PatchHunk, cursor: int, trusted: bool) -> _Change:
    if all(is_blank(text) for text in hunk.old):
        at = _insertion(lines, hunk, trusted)
        new = [Line(text, lines.common_ending) for text in hunk.new]
        if at and at == len(lines) and not lines.line(at - 1).ending:
            new = [Line("", lines.common_ending), *new]
        return _Change(range(at, at), new, hunk, "exact")
    match = _place(lines, hunk, cursor, trusted)
    return _Change(match.lines, rewritten(lines, hunk.old, _blocks(hunk), match), hunk, match.step)


def _place(lines: Lines, hunk: PatchHunk, cursor: int, trusted: bool) -> Match:
    found = locate(lines, hunk.old)
    if not found:
        return nearest(lines, hunk.old, _blocks(hunk))
    for narrowed in (found, *_narrowings(lines, hunk, found, cursor, trusted)):
        if len(narrowed) == 1:
            return narrowed[0]
    raise ambiguous(lines, found)


def _narrowings(
    lines: Lines, hunk: PatchHunk, found: list[Match], cursor: int, trusted: bool
) -> list[list[Match]]:
    narrowed = []
    if hunk.anchors:
        scope = _scope(lines, hunk.anchors)
        narrowed.append([m for m in found if scope.start <= m.lines.start and m.lines.stop <= scope.stop])
        narrowed.append([m for m in found if m.lines.start >= scope.start])
    elif hunk.end_of_file:
        narrowed.append([m for m in found if m.lines.stop == len(lines)])
    elif trusted and hunk.start is not None:
        narrowed.append([m for m in found if m.lines.start == hunk.start - 1])
    elif cursor:
        narrowed.append([m for m in found if m.lines.start >= cursor])
    return narrowed


def _scope(lines: Lines, anchors: Sequence[str]) -> range:
    """The anchor's line and what is indented below it; each further anchor is looked for inside."""
    scope = range(len(lines))
    for anchor in anchors:
        wanted = key(anchor).strip()
        hits = [i for i in scope if lines.bare[i] == wanted]
        hits = hits or [i for i in scope if wanted in key(lines.texts[i])]
        if len(hits) != 1:
            raise EditError(
                f"the anchor `{anchor}` is in {len(hits)} places", hint="name one line as the anchor"
            )
        depth = len(indentation(lines.texts[hits[0]]))
        inside = (
            i
            for i in range(hits[0] + 1, scope.stop)
            if not is_blank(lines.texts[i]) and len(indentation(lines.texts[i])) <= depth
        )
        scope = range(hits[0], next(inside, scope.stop))
    return scope


def _insertion(lines: Lines, hunk: PatchHunk, trusted: bool) -> int:
    """Where a hunk without any old line goes: into an empty file, to the end, below its anchor."""
    if not hunk.old:
        if not len(lines) or hunk.end_of_file:
            return len(lines)
        if hunk.anchors:
            return _scope(lines, hunk.anchors).start + 1
        if trusted and hunk.start is not None and 0 <= hunk.start <= len(lines):
            return hunk.start
    raise EditError(
        "the hunk has no line of the file that says where it goes", hint="give lines of context around it"
    )


def _numbers_are_right(lines: Lines, hunks: Sequence[PatchHunk]) -> bool:
    """Whether the headers of a unified diff fit: counts, running offset, and every place that is clear."""
    delta = 0
    for hunk in hunks:
        if hunk.start is None or not hunk.counts_fit or hunk.new_start is None:
            return False
        shift = bool(hunk.new) - bool(hunk.old)
        if hunk.new_start - hunk.start != delta + shift:
            return False
        found = locate(lines, hunk.old) if hunk.old else []
        if hunk.old and hunk.start - 1 not in [m.lines.start for m in found]:
            return False
        delta += len(hunk.new) - len(hunk.old)
    return True


def _finished(text: str, hunk: PatchHunk, lines: Lines) -> str:
    """The final line ending as the markers of a unified diff ask for it."""
    if hunk.old_open == hunk.new_open:
        return text
    if hunk.new_open:
        return text.removesuffix("\n").removesuffix("\r")
    return text if text.endswith("\n") else text + lines.common_ending


def _blocks(hunk: PatchHunk) -> list[Block]:
    """The marked lines as stretches that stay and stretches that change."""
    found: list[Block] = []
    at = 0
    for stays, group in groupby(hunk.lines, key=lambda line: line[0] == CONTEXT):
        marked = list(group)
        stop = at + sum(mark != ADD for mark, _ in marked)
        found.append(Block(range(at, stop), None if stays else tuple(t for mark, t in marked if mark == ADD)))
        at = stop
    return found
