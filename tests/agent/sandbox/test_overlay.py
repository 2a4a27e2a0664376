"""An overlay's change set against what a command sees inside, after random work in the workspace."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.agent.sandbox import Change, Sandbox
from weft.agent.sandbox.changes import Content

pytestmark = pytest.mark.sandbox

PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/f", "g", "g/h"])
STEPS = st.lists(
    st.tuples(st.just("write"), PATHS, st.sampled_from(["", "x\n", "y\n"]))
    | st.tuples(st.just("link"), PATHS, st.sampled_from(["a", "/etc", "nowhere"]))
    | st.tuples(st.just("move"), PATHS, PATHS)
    | st.tuples(st.sampled_from(["remove", "folder", "executable", "touch"]), PATHS, st.just("")),
    max_size=15,
)

# Makes the steps that can be made, then tells every file and link: mode as git has it, and content.
_WORK = """
import json, os, shutil, sys
for what, path, more in json.loads(sys.argv[1]):
    try:
        if what == "write": open(path, "w").write(more)
        elif what == "link": os.symlink(more, path)
        elif what == "move": shutil.move(path, more)
        elif what == "remove" and os.path.isdir(path) and not os.path.islink(path): shutil.rmtree(path)
        elif what == "remove": os.unlink(path)
        elif what == "folder": os.makedirs(path)
        elif what == "executable": os.path.islink(path) or os.path.isdir(path) or os.chmod(path, 0o755)
        elif what == "touch": os.utime(path, follow_symlinks=False)
    except (OSError, shutil.Error):
        pass
seen = {}
for top, folders, files in os.walk("."):
    for name in folders + files:
        path = os.path.join(top, name)
        if os.path.islink(path):
            seen[path[2:]] = [0o120000, os.readlink(path)]
        elif os.path.isfile(path):
            seen[path[2:]] = [0o100644 | os.stat(path).st_mode & 0o111, open(path).read()]
print(json.dumps(seen))
"""


def work(box: Sandbox, steps: list[tuple[str, str, str]]) -> dict[str, Content]:
    result = box.run([sys.executable, "-I", "-S", "-c", _WORK, json.dumps(steps)], timeout_s=30)
    assert result.exit_code == 0, result
    return {path: Content(mode, text.encode()) for path, (mode, text) in json.loads(result.output).items()}


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, STEPS, STEPS)
def test_changes_are_what_a_command_sees(
    first: list[tuple[str, str, str]], second: list[tuple[str, str, str]], third: list[tuple[str, str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as scratch, Sandbox.open(scratch) as box:
        before: dict[str, Content] = {}
        for steps in (first, second, third):
            after = work(box, steps)
            expected = [
                Change(path, before.get(path), after.get(path))
                for path in sorted({*before, *after})
                if before.get(path) != after.get(path)
            ]
            assert box.changes() == expected
            assert box.commit() == expected
            assert {
                str(p.relative_to(scratch)) for p in Path(scratch).rglob("*") if p.is_symlink() or p.is_file()
            } == set(after)
            before = after
        with Sandbox.open(scratch) as fresh:
            assert work(fresh, []) == before
