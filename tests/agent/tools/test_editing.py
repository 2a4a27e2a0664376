"""What editing tools make of real files: all changes or none, bytes and modes kept, formatted, undoable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.tools import Observation, ToolContext, ToolError
from weft.agent.tools.editing import (
    ApplyPatch,
    ApplyPatchArguments,
    EditFile,
    EditFileArguments,
    WriteFile,
    WriteFileArguments,
)
from weft.core.errors import WeftError

FILES = {"a.py": b"a = 1\n", "run.sh": b"#!/bin/sh\necho 1\n", "latin.txt": b"caf\xe9 1\r\n", "gone": b"x\n"}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    root = tmp_path / "repository"
    root.mkdir()
    for name, data in FILES.items():
        (root / name).write_bytes(data)
    (root / "run.sh").chmod(0o755)
    with Sandbox.open(root, provider=Unconfined()) as opened:
        yield opened


def contents(box: Sandbox) -> dict[str, bytes]:
    return {entry.name: box.read(entry.name) for entry in box.entries() if entry.kind == "file"}


def patch(box: Sandbox, text: str) -> Observation:
    whole = f"*** Begin Patch\n{text}*** End Patch\n"
    return ApplyPatch().run(ApplyPatchArguments(whole), ToolContext(box, None, 10.0))


def edit(box: Sandbox, path: str, search: str, replace: str, tool: EditFile | None = None) -> Observation:
    asked = EditFileArguments(path, search, replace)
    return (tool or EditFile()).run(asked, ToolContext(box, None, 10.0))


def test_the_encoding_stays_and_what_it_lacks_is_refused(box: Sandbox) -> None:
    edit(box, "latin.txt", "café 1\n", "café é\n")
    assert box.read("latin.txt") == b"caf\xe9 \xe9\r\n"
    with pytest.raises(ToolError, match=r"latin\.txt: `→` cannot be written"):
        patch(
            box,
            "*** Update File: a.py\n@@\n-a = 1\n+a = 2\n*** Update File: latin.txt\n@@\n-café é\n+→\n",
        )
    assert box.read("a.py") == FILES["a.py"]


def test_a_mode_stays_also_when_the_file_moves(box: Sandbox) -> None:
    edit(box, "run.sh", "echo 1\n", "echo 2\n")
    seen = patch(box, "*** Update File: run.sh\n*** Move to: bin/go.sh\n@@\n-echo 2\n+echo 3\n")
    assert (box.stat("bin/go.sh").mode & 0o777, box.read("bin/go.sh")) == (0o755, b"#!/bin/sh\necho 3\n")
    assert "run.sh" not in contents(box)
    assert [(use.path, use.how) for use in seen.files] == [("bin/go.sh", "written"), ("run.sh", "deleted")]


def test_a_patch_of_which_one_file_cannot_be_written_changes_none(box: Sandbox) -> None:
    text = (
        "*** Delete File: gone\n*** Update File: a.py\n@@\n-a = 1\n+a = 2\n"
        "*** Update File: run.sh\n*** Move to: go.sh\n@@\n-echo 1\n+echo 2\n"
        "*** Add File: new.txt\n+n\n*** Add File: a.py/below.txt\n+x\n"
    )
    with pytest.raises(WeftError, match=r"a\.py/below\.txt"):
        patch(box, text)
    assert contents(box) == FILES
    assert box.changes() == []


def test_tolerances_and_new_syntax_errors_are_told(box: Sandbox) -> None:
    seen = patch(box, "*** Update File: a.py\n@@\n-   a = 1\n+   a = (1\n").text
    assert "[a.py placed by tolerance: indentation]" in seen
    assert "-a = 1\n+a = (1\n" in seen
    assert "[warning: a.py does not parse now: line 1" in seen
    again = edit(box, "a.py", "(1", "((1").text
    assert "warning" not in again, "the edit before is to blame"


def test_a_formatter_runs_after_the_edit_and_the_diff_shows_what_it_made(box: Sandbox) -> None:
    tool = EditFile({".py": ["sed", "-i", "s/  */ /g"]})
    accesses = tool.accesses(EditFileArguments("a.py", "", ""))
    assert [access.resource.name for access in accesses][-1] == "sed -i 's/  */ /g' a.py"
    assert "+a = 2\n" in edit(box, "a.py", "a = 1\n", "a   =   2\n", tool).text
    assert box.read("a.py") == b"a = 2\n"
    failing = edit(box, "a.py", "2", "3", EditFile({".py": ["false"]}))
    assert "[false a.py failed" in failing.text
    assert box.read("a.py") == b"a = 3\n"
    assert "latin" not in str(EditFile({".py": ["false"]}).accesses(EditFileArguments("b.txt", "", ""))[-1])


def test_a_whole_file_keeps_line_endings_and_says_when_nothing_changes(box: Sandbox) -> None:
    context = ToolContext(box, None, 10.0)
    WriteFile().run(WriteFileArguments("latin.txt", "thé\nx\n"), context)
    assert box.read("latin.txt") == b"th\xe9\r\nx\r\n"
    with pytest.raises(ToolError, match="changes nothing"):
        WriteFile().run(WriteFileArguments("a.py", "a = 1\n"), context)
    WriteFile().run(WriteFileArguments("new/b.txt", "→\n"), context)
    assert box.read("new/b.txt") == "→\n".encode()


def test_search_blocks_are_taken_for_a_patch(box: Sandbox) -> None:
    text = "a.py\n<<<<<<< SEARCH\na = 1\n=======\na = 2\n>>>>>>> REPLACE\n"
    tool = ApplyPatch()
    assert [access.action for access in tool.accesses(ApplyPatchArguments(text))] == ["read", "write"]
    tool.run(ApplyPatchArguments(text), ToolContext(box, None, 10.0))
    assert box.read("a.py") == b"a = 2\n"
