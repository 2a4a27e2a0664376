"""Patches over several files: all of them apply, or none does."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby, pairwise

from weft.agent.edits.apply import ambiguous, nearest, put
from weft.agent.edits.indent import indentation
from weft.agent.edits.lines import Block, Line, common_ending, is_blank, join, split
from weft.agent.edits.locate import Match, locate
from weft.agent.edits.model import EditError
from weft.agent.edits.normalise import key
from weft.agent.edits.patch_format import ADD, CONTEXT, FilePatch, PatchHunk, is_v4a
from weft.agent.edits.patch_unified import parse_unified
from weft.agent.edits.patch_v4a import parse_v4a
from weft.agent.edits.rewrite import rewrite


def parse(patch: str) -> list[FilePatch]:
    """The files that a patch touches; V4A (`*** Begin Patch`) and unified diffs are told apart."""
    return parse_v4a(patch) if is_v4a(patch) else parse_unified(patch)


def apply_patch(files: Mapping[str, str], patch: str) -> dict[str, str | None]:
    """The new text of each file that the patch touches, None for a deleted one; `files` is left as it is.

    Hunks are located as `apply` locates a search, so wrong line numbers and counts do not matter. Where a
    hunk fits several places, its `@@` anchor, its order and trustworthy line numbers decide; otherwise it is
    an `EditError`. One error means that nothing is applied.
    """
    state: dict[str, str | None] = dict(files)
    changed: dict[str, str | None] = {}
    for part in parse(patch):
        for path, text in _file_after(state, part).items():
            state[path] = changed[path] = text
    return changed


def _file_after(files: Mapping[str, str | None], part: FilePatch) -> dict[str, str | None]:
    if part.kind == "add":
        if files.get(part.path) is not None:
            raise EditError(f"{part.path}: to be added, and exists already", hint="update the file instead")
        return {part.path: part.text}
    path = _existing(files, part.path)
    text = files[path] or ""
    try:
        new = text if part.kind == "update" and not part.hunks else _patched(text, part.hunks)
    except EditError as error:
        raise error.in_file(path) from error
    if part.kind == "delete":
        if new and part.hunks:
            raise EditError(f"{path}: the patch deletes the file and leaves text in it", path=path)
        return {path: None}
    target = part.move_to or path
    if target != path:
        if files.get(target) is not None:
            raise EditError(f"{path}: cannot move to {target}, which exists already", path=path)
        return {path: None, target: new}
    if new == text:
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


def _patched(text: str, hunks: Sequence[PatchHunk]) -> str:
    lines = split(text)
    placed: list[tuple[Match | int, PatchHunk]] = []
    trusted = _numbers_are_right(lines, hunks)
    cursor = 0
    for number, hunk in enumerate(hunks, 1):
        try:
            place = _place(lines, hunk, cursor, trusted)
        except EditError as error:
            raise EditError(
                f"hunk {number} of {len(hunks)}: {error.message}", error.candidates, hint=error.hint
            ) from error
        cursor = place if isinstance(place, int) else place.lines.stop
        placed.append((place, hunk))
    placed.sort(key=lambda pair: _first(pair[0]), reverse=True)
    for (later, _), (earlier, _) in pairwise(placed):
        stop = earlier if isinstance(earlier, int) else earlier.lines.stop
        if stop > _first(later):
            raise EditError("two hunks change the same lines", hint="make one hunk of them")
    for place, hunk in placed:
        text = _with(split(text), place, hunk)
    return text


def _first(place: Match | int) -> int:
    return place if isinstance(place, int) else place.lines.start


def _place(lines: Sequence[Line], hunk: PatchHunk, cursor: int, trusted: bool) -> Match | int:
    if all(is_blank(text) for text in hunk.old):
        return _insertion(lines, hunk, trusted)
    found = locate(lines, hunk.old)
    if not found:
        return nearest(lines, hunk.old, _blocks(hunk))
    for narrowed in (found, *_narrowings(lines, hunk, found, cursor, trusted)):
        if len(narrowed) == 1:
            return narrowed[0]
    raise ambiguous(lines, found)


def _narrowings(
    lines: Sequence[Line], hunk: PatchHunk, found: list[Match], cursor: int, trusted: bool
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


def _scope(lines: Sequence[Line], anchors: Sequence[str]) -> range:
    """The anchor's line and what is indented below it; each further anchor is looked for inside."""
    scope = range(len(lines))
    for anchor in anchors:
        wanted = key(anchor).strip()
        hits = [i for i in scope if key(lines[i].text).strip() == wanted]
        hits = hits or [i for i in scope if wanted in key(lines[i].text)]
        if len(hits) != 1:
            raise EditError(
                f"the anchor `{anchor}` is in {len(hits)} places", hint="name one line as the anchor"
            )
        depth = len(indentation(lines[hits[0]].text))
        inside = (
            i
            for i in range(hits[0] + 1, scope.stop)
            if not is_blank(lines[i].text) and len(indentation(lines[i].text)) <= depth
        )
        scope = range(hits[0], next(inside, scope.stop))
    return scope


def _insertion(lines: Sequence[Line], hunk: PatchHunk, trusted: bool) -> int:
    """Where a hunk without any old line goes: into an empty file, to the end, below its anchor."""
    if not hunk.old:
        if not lines or hunk.end_of_file:
            return len(lines)
        if hunk.anchors:
            return _scope(lines, hunk.anchors).start + 1
        if trusted and hunk.start is not None and 0 <= hunk.start <= len(lines):
            return hunk.start
    raise EditError(
        "the hunk has no line of the file that says where it goes", hint="give lines of context around it"
    )


def _numbers_are_right(lines: Sequence[Line], hunks: Sequence[PatchHunk]) -> bool:
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


def _with(lines: list[Line], place: Match | int, hunk: PatchHunk) -> str:
    if isinstance(place, int):
        ending = common_ending(lines)
        head = [Line(line.text, line.ending or ending) for line in lines[:place]]
        return _finished(
            join([*head, *(Line(text, ending) for text in hunk.new), *lines[place:]]), True, hunk
        )
    at_end = place.lines.stop == len(lines)
    text, _ = put(lines, place, rewrite(lines, hunk.old, _blocks(hunk), place), (place.step,))
    return _finished(text, at_end, hunk)


def _finished(text: str, at_end: bool, hunk: PatchHunk) -> str:
    """The final line ending as the markers of a unified diff ask for it."""
    if not at_end or hunk.old_open == hunk.new_open:
        return text
    if hunk.new_open:
        return text.removesuffix("\n").removesuffix("\r")
    return text if text.endswith("\n") else text + common_ending(split(text))


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
