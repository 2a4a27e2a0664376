"""The `*** Begin Patch` format: files by header, hunks by `@@` anchor and context, no line numbers."""

from __future__ import annotations

from weft.agent.edits.model import EditError
from weft.agent.edits.patch_format import ADD, CONTEXT, REMOVE, FilePatch, PatchHunk, patch_lines

_BEGIN, _END, _EOF = "*** Begin Patch", "*** End Patch", "*** End of File"
_ADD, _UPDATE, _DELETE, _MOVE = "*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "


def parse_v4a(patch: str) -> list[FilePatch]:
    """The files of a V4A patch; `EditError` naming the line that does not belong."""
    lines = patch_lines(patch)
    begin = next(i for i, line in enumerate(lines) if line.strip() == _BEGIN)
    end = next((i for i, line in enumerate(lines) if line.strip() == _END), None)
    if end is None:
        raise EditError(f"the patch has no `{_END}`", hint="end the patch with it; it may have been cut off")
    sections: list[tuple[str, list[str]]] = []
    for number, line in enumerate(lines[begin + 1 : end], begin + 2):
        if line.startswith((_ADD, _UPDATE, _DELETE)):
            sections.append((line.strip(), []))
        elif sections:
            sections[-1][1].append(line)
        elif line.strip():
            raise EditError(
                f"line {number} of the patch is outside any file: `{line}`",
                hint=f"begin with `{_UPDATE}PATH`",
            )
    if not sections:
        raise EditError("the patch touches no file", hint=f"begin with `{_UPDATE}PATH`")
    return [_section(header, body) for header, body in sections]


def _section(header: str, body: list[str]) -> FilePatch:
    if header.startswith(_ADD.rstrip()):
        return FilePatch("add", header[len(_ADD) :].strip(), _added(header, body))
    if header.startswith(_DELETE.rstrip()):
        if any(line.strip() for line in body):
            raise EditError(f"`{header}` is followed by lines", hint="a deleted file has none")
        return FilePatch("delete", header[len(_DELETE) :].strip())
    path = header[len(_UPDATE) :].strip()
    move = body[0][len(_MOVE) :].strip() if body and body[0].startswith(_MOVE) else None
    hunks = _hunks(path, body[1:] if move else body)
    if not hunks and not move:
        raise EditError(f"{path}: the update has no hunk", hint="begin each hunk with `@@`")
    return FilePatch("update", path, hunks=hunks, move_to=move)


def _added(header: str, body: list[str]) -> str:
    bad = next((line for line in body if line and not line.startswith("+")), None)
    if bad is not None:
        raise EditError(
            f"`{header}`: the line `{bad}` does not begin with `+`", hint="begin each line with `+`"
        )
    return "".join(line[1:] + "\n" for line in body if line)


def _hunks(path: str, body: list[str]) -> tuple[PatchHunk, ...]:
    hunks: list[PatchHunk] = []
    anchors: list[str] = []
    lines: list[tuple[str, str]] = []

    def close(end_of_file: bool = False) -> None:
        while lines and lines[-1] == (CONTEXT, ""):
            lines.pop()
        if lines:
            hunks.append(PatchHunk(tuple(lines), tuple(anchors), end_of_file=end_of_file))
            anchors.clear()
            lines.clear()

    for line in body:
        if line.startswith("@@"):
            close()
            if anchor := line[2:].strip().removesuffix("@@").strip():
                anchors.append(anchor)
        elif line.strip() == _EOF:
            close(end_of_file=True)
        elif not line:
            lines.append((CONTEXT, ""))
        elif line[0] in (CONTEXT, ADD, REMOVE):
            lines.append((line[0], line[1:]))
        else:
            raise EditError(
                f"{path}: the line `{line}` does not begin with a blank, `+` or `-`",
                hint="begin each line of a hunk with one of them",
            )
    close()
    return tuple(hunks)
