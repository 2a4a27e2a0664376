"""Tools that find, search, show history and check: on a repository with ignored, hidden and odd files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from weft.agent.commands import simple_commands
from weft.agent.context import CodeIndex
from weft.agent.instructions import INSTRUCTIONS
from weft.agent.models import ToolCall
from weft.agent.policy import Allow, Question, RulePolicy
from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.state import State
from weft.agent.subagents import Explore
from weft.agent.tools import Toolbox, ToolContext, ToolError, standard_tools
from weft.agent.tools.diagnostics import CHECKERS, Diagnostic, Diagnostics, DiagnosticsArguments, parse
from weft.agent.tools.knowledge import Table
from weft.core import limits
from weft.core.errors import NotFound, WeftError
from weft.testing.agent import MENDED, failing_repository
from weft.testing.git import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = Repository(tmp_path / "repository")
    root = failing_repository(repository.folder)
    (root / "lib").mkdir()
    (root / "lib/retry.py").write_text("def backoff(n):\n    return 2**n\n\n\ndef wait(n):\n    backoff(n)\n")
    (root / "lib/hidden.py").write_text("def backoff_key():\n    return 'backoff'\n")
    repository.git("add", ".")
    repository.git("commit", "-qm", "Average wrongly")
    (root / "lib/retry.py").write_text("def backoff(n):\n    return 3**n\n\n\ndef wait(n):\n    backoff(n)\n")
    (root / "lib/hidden.py").write_text("def backoff_key():\n    return 'other backoff'\n")
    repository.git("commit", "-qam", "Wait longer", who="bob")
    (root / ".gitignore").write_text("*.log\nbuild/\n")
    (root / "build").mkdir()
    (root / "build/out.py").write_text("backoff = 1\n")
    (root / "a.log").write_text("backoff\n")
    (root / ".github").mkdir()
    (root / ".github/ci.yml").write_text("backoff: 1\n")
    (root / "odd name:1.txt").write_text("backoff here\n")
    (root / "blob").write_bytes(b"backoff\0")
    return root


@pytest.fixture(params=["unconfined", pytest.param("namespaces", marks=pytest.mark.sandbox)])
def box(request, repository: Path) -> Iterator[Sandbox]:
    provider = Namespaces() if request.param == "namespaces" else Unconfined()
    with Sandbox.open(repository, provider=provider) as opened:
        yield opened


def test_grep_leaves_out_what_ripgrep_leaves_out(use) -> None:
    rows = use("grep", pattern="backoff").text.splitlines()
    assert rows == [
        "lib/retry.py:1:def backoff(n):",
        "lib/retry.py:6:    backoff(n)",
        "odd name:1.txt:1:backoff here",
    ]
    assert use("grep", pattern="backoff", path=".github").text == ".github/ci.yml:1:backoff: 1"
    assert use("grep", pattern=r"^def \w+\((?!n|\))", glob="*.py").text == "calc.py:1:def mean(values):"


def test_grep_gives_files_counts_context_and_the_rest(use, box: Sandbox) -> None:
    assert use("grep", pattern="backoff", show="files").text == "lib/retry.py\nodd name:1.txt"
    assert use("grep", pattern="backoff", show="counts").text == "lib/retry.py:2\nodd name:1.txt:1"
    around = use("grep", pattern="3\\*\\*n", context=1).text.splitlines()
    assert around == ["lib/retry.py:1:def backoff(n):", "lib/retry.py:2:    return 3**n", "lib/retry.py:3:"]
    only = use("grep", pattern="n", glob="lib/*.{py,txt}", show="files").text
    assert only == "lib/retry.py"
    box.write("many.txt", b"".join(b"line %d\n" % n for n in range(300)))
    seen = use("grep", pattern="line", path="many.txt").text
    handle = re.search(r"handle=(\w+)", seen)[1]
    assert "[200 more rows]" in seen
    page = use("read_output", handle=handle, start_line=299)
    assert page.text == "   299\tmany.txt:299:line 298\n   300\tmany.txt:300:line 299"
    assert use("read_output", handle=handle, contains="line 250").text == "   251\tmany.txt:251:line 250"


def test_grep_says_what_is_wrong(use) -> None:
    with pytest.raises(ToolError, match="grep failed"):
        use("grep", pattern="(")
    with pytest.raises(NotFound):
        use("grep", pattern="x", path="nowhere")
    assert use("grep", pattern="--help").text == "[no line matches]"


def test_glob(use, box: Sandbox) -> None:
    assert use("glob", pattern="*.py").text.split() == ["calc.py", "lib/retry.py", "test_calc.py"]
    assert use("glob", pattern="*.{yml,md}").text == ".github/ci.yml"
    assert use("glob", pattern="*.py", path="lib").text == "lib/retry.py"
    box.write("lib/deep/er/x.py", b"")
    assert use("glob", pattern="lib/**/*.py").text.split() == ["lib/deep/er/x.py", "lib/retry.py"]
    assert use("glob", pattern="*.nope").text == "[no file fits]"
    assert use("glob", pattern="*.log").text == "[no file fits]"
    assert use("glob", pattern="*", path="lib/deep").text == "lib/deep/er/x.py"


def test_the_index_sees_what_the_sandbox_changed(use, box: Sandbox) -> None:
    seen = use("search_code", query="backoff wait").text
    assert seen.startswith("lib/retry.py:")
    assert "hidden" not in seen
    assert "2\t    return 3**n" in use("search_code", query="backoff").text
    box.write("lib/fresh.py", b"def quokka():\n    return backoff(1)\n")
    assert use("search_code", query="quokka").text.startswith("lib/fresh.py:1-2 function quokka")
    assert use("find_symbol", name="quokka").text == "lib/fresh.py:1-2 function quokka: def quokka():"
    assert use("find_references", name="backoff").text.splitlines() == [
        "lib/retry.py:1 definition: def backoff(n):",
        "lib/fresh.py:2 call in quokka: return backoff(1)",
        "lib/retry.py:6 call in wait: backoff(n)",
        ".github/ci.yml:1 mention: backoff: 1",
        "odd name:1.txt:1 mention: backoff here",
    ]
    box.delete("lib/fresh.py")
    assert use("find_symbol", name="quokka").text == "[no such name]"
    assert use("find_symbol", name="backoff_key").text == "[no such name]"


def test_git_diff_shows_the_session_and_the_history_without_hidden_files(use, box: Sandbox) -> None:
    assert use("git_diff").text == "[no changes]"
    box.write("calc.py", MENDED.encode())
    box.write("lib/hidden.py", b"changed = 1\n")
    session = use("git_diff").text
    assert "-    return sum(values) / (len(values) + 1)" in session
    assert "hidden" not in session
    assert use("git_diff", path="lib").text == "[no changes]"
    history = use("git_diff", revision="HEAD~1..HEAD").text
    assert "+    return 3**n" in history
    assert "hidden" not in history
    assert "calc.py" in use("git_diff", revision="HEAD").text
    for revision in ("--output=/tmp/x", "HEAD --no-index", "nowhere"):
        with pytest.raises(ToolError, match="revision"):
            use("git_diff", revision=revision)


def test_git_log(use) -> None:
    rows = use("git_log").text.splitlines()
    assert [re.sub(r"^\w+ \S+ ", "", row) for row in rows] == ["bob: Wait longer", "ann: Average wrongly"]
    assert "Wait longer" not in use("git_log", path="calc.py").text
    assert use("git_log", contains="LONGER").text.endswith("bob: Wait longer")
    assert use("git_log", contains="nothing").text == "[no commit fits]"


def test_files_are_deleted_and_moved_one_at_a_time(use, box: Sandbox) -> None:
    use("move_file", path="calc.py", target="pkg/new/calc.py")
    use("delete_file", path="test_calc.py")
    assert [(c.path, c.kind) for c in box.changes()] == [
        ("calc.py", "deleted"),
        ("pkg/new/calc.py", "added"),
        ("test_calc.py", "deleted"),
    ]
    for arguments in (
        {"path": "lib", "target": "x"},
        {"path": "lib/retry.py", "target": "pkg/new/calc.py"},
        {"path": "lib/retry.py", "target": "pkg/"},
    ):
        with pytest.raises(ToolError):
            use("move_file", **arguments)
    with pytest.raises(ToolError, match="folder"):
        use("delete_file", path="lib")
    with pytest.raises(WeftError):
        use("delete_file", path="gone")


def test_a_file_that_shrinks_while_its_symbols_are_shown_is_no_crash(
    use, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write("late.py", b"\n\n\ndef zebra():\n    pass\n")
    monkeypatch.setattr(CodeIndex, "read", lambda index, path: b"")
    assert use("find_symbol", name="zebra").text == "late.py:4-5 function zebra: "


def test_diagnostics_run_what_the_project_uses(use, box: Sandbox) -> None:
    clean = use("diagnostics")
    assert clean.ok
    assert clean.text.startswith("[0 findings of python")
    box.write("broken.py", b"x = 1\ndef f(:\n")
    found = use("diagnostics")
    assert not found.ok
    assert "broken.py:2: invalid syntax" in found.text
    assert use("diagnostics", paths=["lib", "calc.py"]).ok
    assert not use("diagnostics", paths=["broken.py"]).ok
    assert not [change for change in box.changes() if change.path != "broken.py"]


def test_diagnostics_of_ruff(box: Sandbox, use) -> None:
    if box.run([f"{Path(sys.executable).parent}/ruff", "--version"]).exit_code:
        pytest.skip("ruff is not seen in this sandbox")
    box.write("ruff.toml", b"line-length = 80\n")
    box.write("loose.py", b"import os\n")
    assert "loose.py:1: F401" in use("diagnostics", paths=["loose.py"]).text


def test_the_built_in_rules_let_diagnostics_run() -> None:
    for paths in ([], ["a b.py"]):
        (access,) = Diagnostics().accesses(DiagnosticsArguments(paths))
        assert isinstance(RulePolicy().decide(Question("s", "u", "diagnostics", access)), Allow)


def test_what_diagnostics_ask_for_names_every_program_in_a_line() -> None:
    (access,) = Diagnostics().accesses(DiagnosticsArguments(["a b.py"]))
    programs = [words[0] for words in simple_commands(access.resource.name)]
    assert programs == [checker.name.split()[0] for checker in CHECKERS]
    assert access.resource.name.endswith("# on 'a b.py'")
    assert len(access.resource.name) < 100


def test_the_outputs_of_checkers_are_read() -> None:
    output = """== weft mypy ==
a.py:3: error: Incompatible types  [assignment]
a.py:3: error: Incompatible types  [assignment]
== weft eslint ==
[{"filePath":"/w/src/a.js","messages":[{"ruleId":"no-undef","line":4,"message":"x is not defined"}]}]
== weft tsc ==
src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.
== weft go vet ==
# example.org/m
vet: ./b.go:5:38: undefined: nosuch
== weft cargo check ==
src/lib.rs:1:28: warning: unused variable: `x`
== weft nobody ==
"""
    assert parse(output, "/w") == [
        Diagnostic("a.py", 3, "error: Incompatible types  [assignment]", "mypy"),
        Diagnostic("b.go", 5, "undefined: nosuch", "go vet"),
        Diagnostic("src/a.js", 4, "x is not defined (no-undef)", "eslint"),
        Diagnostic("src/a.ts", 3, "error TS2322: Type 'string' is not assignable to type 'number'.", "tsc"),
        Diagnostic("src/lib.rs", 1, "warning: unused variable: `x`", "cargo check"),
    ]
    assert parse("== weft eslint ==\nOops\n", "/w") == []


def test_background_commands_are_started_looked_at_and_stopped(use, box: Sandbox) -> None:
    seen = use(
        "run_command", command="echo up; while [ ! -e go ]; do sleep 0.02; done; echo done", background=True
    )
    assert seen.text == "up\n[running as 1]"
    assert use("command_output", number=1, wait_s=0).text == "[running as 1]"
    assert use("run_command", command="touch go").ok
    text = ""
    while "exit" not in text:
        text += use("command_output", number=1, wait_s=5).text
    assert "done" in text
    assert text.endswith("[exit 0]")
    with pytest.raises(NotFound, match="those that run are: none"):
        use("command_output", number=1)
    use("run_command", command="sleep 1000", background=True)
    stopped = use("command_output", number=2, stop=True)
    assert (stopped.ok, stopped.command.command) == (True, "sleep 1000")


def test_long_output_stays_within_reach(use) -> None:
    seen = use("run_command", command="seq 100000")
    assert len(seen.text) < limits.MAX_TOOL_OUTPUT_CHARS + 300
    handle = re.search(r"handle=(\w+)", seen.text)[1]
    assert use("read_output", handle=handle, start_line=50_000, lines=1).text.startswith(" 50000\t50000\n[")
    with pytest.raises(NotFound):
        use("read_output", handle="x" * 64)
    with pytest.raises(ToolError, match="start earlier"):
        use("read_output", handle=handle, start_line=200_000)
    wide = use("run_command", command="head -c 30000 /dev/zero | tr '\\0' y; printf ' ghp_" + "a" * 40 + "'")
    handle = re.search(r"handle=(\w+)", wide.text)[1]
    first = use("read_output", handle=handle).text.splitlines()
    assert first[-1] == "[8 more lines; read on with start_line=24]"
    assert use("read_output", handle=handle, start_line=31).text == "    31\t [secret removed]"


def test_the_plan_and_questions(use, box: Sandbox) -> None:
    plan = use(
        "todo",
        items=[{"text": "look", "status": "done"}, {"text": "mend", "status": "doing"}, {"text": "test"}],
    )
    assert plan.text == "[x] look\n[>] mend\n[ ] test"
    with pytest.raises(ToolError, match="one after the other"):
        use("todo", items=[{"text": "a", "status": "doing"}, {"text": "b", "status": "doing"}])
    alone = use("ask_user", question="which?")
    assert not alone.ok
    assert "nobody answers" in alone.text


def test_an_answer_comes_from_the_person(box: Sandbox) -> None:
    asked = []

    def person(question: str, options: tuple[str, ...]) -> str:
        asked.append((question, options))
        return "the second"

    toolbox = Toolbox(standard_tools(None, ask_user=person))
    tool, arguments = toolbox.parse(call("ask_user", '{"question": "which?", "options": ["a", "b"]}'))
    assert tool.run(arguments, ToolContext(box, None, 1.0)).text == "the second"
    assert asked == [("which?", ("a", "b"))]


class OneRow:
    schema = "(person)-[:wrote]->(file)"

    def query(self, text, parameters) -> Table:
        return Table(("text", "n"), [(text, number) for number in range(parameters["rows"])])


def test_the_graph_is_asked_and_its_answer_bounded(box: Sandbox) -> None:
    toolbox = Toolbox(standard_tools(None, graph=OneRow()))
    context = ToolContext(box, None, 1.0)

    def ask(query: str, rows: int) -> str:
        text = f'{{"query": "{query}", "parameters": {{"rows": {rows}}}}}'
        tool, arguments = toolbox.parse(call("graph_query", text))
        return tool.run(arguments, context).text

    assert ask("RETURN 1", 2) == 'text, n  [2 rows]\n["RETURN 1",0]\n["RETURN 1",1]'
    assert "more rows]" in ask("RETURN 1", 500)
    assert ask("", 0) == "(person)-[:wrote]->(file)"


def call(name: str, arguments: str) -> ToolCall:
    return ToolCall("1", name, arguments)


def test_the_page_has_every_tool_as_it_is(repository: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/agent/tools.md").read_text()
    toolbox = Toolbox(standard_tools("pytest", index=CodeIndex.open(repository), graph=OneRow()))
    rows = [
        f"| `{spec.name}` | {'reads' if toolbox.is_read_only(spec.name) else 'acts'} | {spec.description} |"
        for spec in toolbox.specs
    ]
    assert re.findall(r"^\| `.*$", page, re.MULTILINE) == rows


def test_every_tool_is_marked_and_the_first_prompt_is_small(repository: Path) -> None:
    """Tokens are counted as characters of the JSON that is sent, divided by four."""
    more = [Explore(lambda call, question: ("", State()))]
    toolbox = Toolbox(standard_tools("pytest", index=CodeIndex.open(repository), graph=OneRow(), more=more))
    changing = {spec.name for spec in toolbox.specs if not toolbox.is_read_only(spec.name)}
    assert changing == {
        "apply_patch",
        "command_output",
        "delete_file",
        "diagnostics",
        "edit_file",
        "move_file",
        "run_command",
        "run_tests",
        "write_file",
    }
    characters = len(msgspec.json.encode(toolbox.specs)) + len(INSTRUCTIONS)
    assert characters / 4 <= 3_000
