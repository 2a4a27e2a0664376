"""Each tool on a real copy of a small repository."""

from __future__ import annotations

import msgspec
import pytest

from weft.agent.models import ToolCall
from weft.agent.sandbox import Sandbox
from weft.agent.tools import Toolbox, ToolError, standard_tools
from weft.agent.tools.protocol import schema
from weft.core import limits
from weft.core.errors import WeftError


def test_reading_numbers_the_lines_and_pages(use, box: Sandbox) -> None:
    box.write("long.txt", b"".join(b"line %d\r\n" % n for n in range(1, 2_001)))
    first = use("read_file", path="long.txt")
    assert first.text.startswith("     1\tline 1\n     2\tline 2\n")
    assert "start_line=1001" in first.text
    assert use("read_file", path="long.txt", start_line=2_000).text == "  2000\tline 2000"
    assert use("read_file", path="long.txt", start_line=5, lines=1).text.startswith(
        "     5\tline 5\n[1,995 more"
    )
    with pytest.raises(ToolError, match="has 2000 lines"):
        use("read_file", path="long.txt", start_line=2_001)


def test_reading_tells_empty_binary_and_missing_files_apart(use, box: Sandbox) -> None:
    box.write("empty", b"")
    box.write("binary", b"\x00\x01")
    box.write("wide", b"x" * 10_000)
    assert use("read_file", path="empty").text == "[the file is empty]"
    with pytest.raises(ToolError, match="binary"):
        use("read_file", path="binary")
    with pytest.raises(WeftError):
        use("read_file", path="none")
    assert len(use("read_file", path="wide").text) < limits.MAX_TOOL_LINE_CHARS + 50


def test_listing_shows_folders_to_the_depth_asked_for(use, box: Sandbox) -> None:
    box.write("a/b/c/d.txt", b"")
    assert use("list_dir").text.split("\n") == ["a/", "a/b/", "calc.py", "test_calc.py"]
    assert "a/b/c/d.txt" in use("list_dir", depth=5).text
    assert use("list_dir", path="a/b", depth=1).text == "c/"


def test_searching_gives_places_and_says_what_went_wrong(use, box: Sandbox) -> None:
    assert use("grep", pattern="def (mean|none)").text == "calc.py:1:def mean(values):"
    assert use("grep", pattern="MEAN", ignore_case=True, glob="test_*").text.count("test_calc.py:") == 3
    assert use("grep", pattern="-nothing-").text == "[no line matches]"
    with pytest.raises(ToolError, match="grep failed"):
        use("grep", pattern="(")
    box.write("many", b"x\n" * 500)
    assert "[400 more rows]" in use("grep", pattern="x", path="many").text


def test_editing_keeps_every_other_byte(use, box: Sandbox) -> None:
    box.write("latin", b"\xef\xbb\xbfa\r\nb\xff\r\nc")
    shown = use("edit_file", path="latin", search="a\n", replace="x\n")
    assert "+\ufeffx" in shown.text
    assert box.read("latin") == b"\xef\xbb\xbfx\r\nb\xff\r\nc"


def test_a_failed_edit_shows_what_is_there_and_changes_nothing(use, box: Sandbox) -> None:
    before = box.read("calc.py")
    with pytest.raises(ToolError, match=r"line 2: file has .*len\(values\) \+ 1"):
        use(
            "edit_file",
            path="calc.py",
            search="def mean(values):\n    return sum(values) / 2\n",
            replace="x\n",
        )
    assert box.read("calc.py") == before


def test_an_edit_that_breaks_the_syntax_is_told(use) -> None:
    seen = use("edit_file", path="calc.py", search="def mean(values):\n", replace="def mean(values:\n")
    assert "[warning: calc.py does not parse now" in seen.text


def test_a_patch_changes_adds_moves_and_deletes_together_or_not_at_all(use, box: Sandbox) -> None:
    patch = (
        "*** Begin Patch\n*** Update File: calc.py\n*** Move to: lib/calc.py\n@@\n-def mean(values):\n"
        "+def average(values):\n*** Add File: new.txt\n+hello\n*** Delete File: test_calc.py\n*** End Patch\n"
    )
    bad = patch.replace("-def mean(values):", "-def median(values):")
    with pytest.raises(ToolError):
        use("apply_patch", patch=bad)
    assert box.changes() == []
    use("apply_patch", patch=patch)
    assert sorted((change.path, change.kind) for change in box.changes()) == [
        ("calc.py", "deleted"),
        ("lib/calc.py", "added"),
        ("new.txt", "added"),
        ("test_calc.py", "deleted"),
    ]


def test_running_gives_output_exit_code_and_timeout(use) -> None:
    assert use("run_command", command="echo out; echo err >&2; exit 3").text == "out\nerr\n[exit 3]"
    slow = use("run_command", command="sleep 5", timeout_s=0.2)
    assert (slow.ok, slow.command.timed_out) == (False, True)
    assert "timed out" in slow.text
    assert len(use("run_command", command="seq 100000").text) < limits.MAX_TOOL_OUTPUT_CHARS + 200
    assert use("run_tests", paths=["a b.py"]).command.command == "echo tests of 'a b.py'"


def test_arguments_that_do_not_fit_name_the_field(use) -> None:
    for name, arguments in [("read_file", {"path": ""}), ("read_file", {}), ("read_file", {"path": 1})]:
        with pytest.raises(ToolError, match="path"):
            use(name, **arguments)
    with pytest.raises(ToolError, match="there is no tool `rm`"):
        use("rm")
    with pytest.raises(ToolError, match="do not fit"):
        Toolbox(standard_tools(None)).parse(ToolCall("1", "list_dir", "{not json"))


def test_schemas_are_plain_json_schema_and_the_prefix_is_stable() -> None:
    specs = Toolbox(reversed(standard_tools(None))).specs
    assert [spec.name for spec in specs] == sorted(spec.name for spec in specs)
    assert specs == Toolbox(standard_tools("pytest")).specs
    for spec in specs:
        assert spec.parameters["type"] == "object"
        assert spec.parameters["additionalProperties"] is False
        assert "$ref" not in spec.parameters


class Inner(msgspec.Struct):
    x: int


class Outer(msgspec.Struct):
    inner: Inner


def test_nested_arguments_keep_their_parts() -> None:
    assert schema(Outer)["$defs"]["Inner"]["properties"] == {"x": {"type": "integer"}}
