"""Patches: both formats, wrong numbers, several files, and that nothing happens by halves."""

from __future__ import annotations

import difflib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.edits import EditError, apply_patch

WORDS = ["alpha", "beta = 1", "    gamma", "        delta()", "}", "-- dashes", "++ pluses", "@@ at", ""]


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, str]:
    """A text of lines that are mostly unlike, and another made from it."""
    lines = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=25))
    before = [f"{text} {n}" if text and draw(st.integers(0, 5)) else text for n, text in enumerate(lines)]
    after: list[str] = []
    for text in before:
        fate = draw(st.sampled_from(["keep", "keep", "keep", "drop", "change", "insert"]))
        after += {"keep": [text], "drop": [], "change": [text + " changed"], "insert": [text, "new " + text]}[
            fate
        ]
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    final = len(before) == 1 or draw(st.booleans())  # one line without an ending cannot show it

    def text_of(rows: list[str]) -> str:
        rows = [*rows, "tail"] if not final and rows[-1:] == [""] else rows
        joined = ending.join(rows)
        return joined + ending if final and rows else joined

    return text_of(before), text_of(after)


def unified(before: str, after: str, context: int = 3) -> str:
    """A diff as git writes it, of texts whose lines may lack their last ending."""
    old = [line + "\n" for line in before.split("\n")]
    new = [line + "\n" for line in after.split("\n")]
    if before.endswith("\n") or not before:
        old.pop()
    if after.endswith("\n") or not after:
        new.pop()
    return "".join(difflib.unified_diff(old, new, "a/f", "b/f", n=context)).replace("\r\n", "\n")


@given(changes(), st.integers(1, 3))
def test_a_right_diff_gives_the_other_text_or_is_refused(pair: tuple[str, str], context: int) -> None:
    before, after = pair
    patch = unified(before, after, context)
    if not patch or not before:
        return
    try:
        got = apply_patch({"f": before}, patch)["f"]
    except EditError as error:
        assert re.search("places|no line of the file|blank", error.message)  # noqa: PT017
    else:
        assert got == after


@given(changes(), st.integers(-40, 40), st.integers(-3, 3))
def test_wrong_numbers_never_lead_to_a_wrong_text(pair: tuple[str, str], shift: int, miscount: int) -> None:
    before, after = pair
    patch = unified(before, after)
    if not patch or not before:
        return

    def spoil(header: re.Match[str]) -> str:
        start, count = int(header[1]), int(header[2] or 1)
        return f"@@ -{max(1, start + shift)},{max(0, count + miscount)} +{max(1, start - shift)},{count} @@"

    spoilt = re.sub(r"(?m)^@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@$", spoil, patch)
    try:
        got = apply_patch({"f": before}, spoilt)["f"]
    except EditError:
        return
    assert got == after


def test_wrong_line_numbers_and_counts_do_not_matter() -> None:
    patch = "--- a/a.py\n+++ b/a.py\n@@ -90,1 +3,17 @@\n a\n-b\n+x\n c\n"
    assert apply_patch({"a.py": "a\nb\nc\n"}, patch) == {"a.py": "a\nx\nc\n"}


def test_right_numbers_tell_twins_apart_and_doubtful_ones_do_not() -> None:
    text = "x\ny\nx\ny\n"
    right = "--- a/f\n+++ b/f\n@@ -3,2 +3,2 @@\n x\n-y\n+z\n"
    assert apply_patch({"f": text}, right) == {"f": "x\ny\nx\nz\n"}
    for header in ("@@ -3,9 +3,2 @@", "@@ -3,2 +8,2 @@", "@@ -2,2 +2,2 @@", "@@"):
        with pytest.raises(EditError, match="2 places"):
            apply_patch({"f": text}, right.replace("@@ -3,2 +3,2 @@", header))


def test_removed_lines_that_look_like_headers_are_lines() -> None:
    patch = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n--- old\n+++ new\n keep\n"
    assert apply_patch({"f": "-- old\nkeep\n"}, patch) == {"f": "++ new\nkeep\n"}


def test_the_final_line_ending_follows_the_markers() -> None:
    marker = "\\ No newline at end of file\n"
    head = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n"
    assert apply_patch({"f": "a"}, f"{head}-a\n{marker}+b\n") == {"f": "b\n"}
    assert apply_patch({"f": "a\n"}, f"{head}-a\n+b\n{marker}") == {"f": "b"}
    assert apply_patch({"f": "a"}, f"{head}-a\n{marker}+b\n{marker}") == {"f": "b"}
    assert apply_patch({"f": "a"}, f"{head}-a\n+b\n") == {"f": "b"}


def test_files_are_added_deleted_and_renamed_by_a_unified_diff() -> None:
    patch = (
        "diff --git a/old b/new\nsimilarity index 100%\nrename from old\nrename to new\n"
        "diff --git a/gone b/gone\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        "--- /dev/null\n+++ b/made\n@@ -0,0 +1,2 @@\n+p\n+q\n"
        "diff --git a/from b/to\nrename from from\nrename to to\n--- a/from\n+++ b/to\n@@ -1 +1 @@\n-1\n+2\n"
    )
    files = {"old": "o\n", "gone": "x\n", "from": "1\n"}
    assert apply_patch(files, patch) == {
        "old": None,
        "new": "o\n",
        "gone": None,
        "made": "p\nq\n",
        "from": None,
        "to": "2\n",
    }


V4A = """*** Begin Patch
*** Update File: a.py
@@ class B:
@@     def f(self):
-        return 1
+        return 2
*** Add File: n.py
+hello
+
+there
*** Delete File: d.py
*** Update File: m.py
*** Move to: lib/m.py
@@
 x
+y
*** End of File
*** End Patch
"""
TWINS = "class A:\n    def f(self):\n        return 1\nclass B:\n    def f(self):\n        return 1\n"
FILES = {"a.py": TWINS, "d.py": "d\n", "m.py": "x\nz\nx\n"}


def test_a_v4a_patch_names_its_place_by_anchors_and_context() -> None:
    assert apply_patch(FILES, V4A) == {
        "a.py": TWINS[: TWINS.rindex("1")] + "2\n",
        "n.py": "hello\n\nthere\n",
        "d.py": None,
        "m.py": None,
        "lib/m.py": "x\nz\nx\ny\n",
    }


def test_hunks_in_order_tell_twins_apart() -> None:
    patch = "*** Begin Patch\n*** Update File: f\n@@\n-first\n+1\n@@\n-x\n+2\n*** End Patch\n"
    assert apply_patch({"f": "x\nfirst\nx\n"}, patch) == {"f": "x\n1\n2\n"}


def test_a_patch_heals_what_an_edit_heals() -> None:
    hunk = "-def f():\n-    return 1\n+def f():\n+    return 2\n"
    patch = f"*** Begin Patch\n*** Update File: f\n@@\n{hunk}*** End Patch\n"
    assert apply_patch({"f": "class A:\r\n\tdef f():\r\n\t\treturn 1"}, patch) == {
        "f": "class A:\r\n\tdef f():\r\n\t\treturn 2"
    }


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ("hello", "neither"),
        ("", "neither"),
        ("*** Begin Patch\n*** Update File: a.py\n@@\n-x\n+y\n", "no `\\*\\*\\* End Patch`"),
        ("*** Begin Patch\n*** End Patch", "touches no file"),
        ("*** Begin Patch\nwhat\n*** End Patch", "outside any file"),
        ("*** Begin Patch\n*** Update File: a.py\n*** End Patch", "has no hunk"),
        ("*** Begin Patch\n*** Update File: a.py\n@@\n!x\n*** End Patch", "does not begin with"),
        ("*** Begin Patch\n*** Update File: none.py\n@@\n-x\n+y\n*** End Patch", "there is no such file"),
        ("*** Begin Patch\n*** Add File: d.py\n+x\n*** End Patch", "exists already"),
        ("*** Begin Patch\n*** Update File: d.py\n@@\n d\n*** End Patch", "changes nothing"),
        ("*** Begin Patch\n*** Update File: m.py\n@@\n-x\n+y\n*** End Patch", "2 places"),
        ("*** Begin Patch\n*** Update File: m.py\n@@\n+y\n*** End Patch", "no line of the file"),
        (
            "*** Begin Patch\n*** Update File: d.py\n*** Move to: m.py\n@@\n-d\n+e\n*** End Patch",
            "exists already",
        ),
        (
            "*** Begin Patch\n*** Update File: m.py\n@@\n x\n-z\n+1\n@@\n-z\n x\n+2\n*** End Patch",
            "same lines",
        ),
        ("--- a/d.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-other\n", "not in the file"),
        ("--- a/d.py\n+++ b/d.py\n", "has no hunk"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_as_a_whole(patch: str, reason: str) -> None:
    files = dict(FILES)
    with pytest.raises(EditError, match=reason):
        apply_patch(files, patch)
    good = "*** Begin Patch\n*** Delete File: a.py\n"
    if "File: " in patch:
        with pytest.raises(EditError):
            apply_patch(files, patch.replace("*** Begin Patch\n", good))
    assert files == FILES


@given(st.text(max_size=80), st.text(max_size=120))
def test_no_patch_breaks_the_engine(text: str, patch: str) -> None:
    for whole in (
        patch,
        f"*** Begin Patch\n*** Update File: f\n{patch}\n*** End Patch",
        f"--- a/f\n+++ b/f\n@@ -1 +1 @@\n{patch}",
    ):
        try:
            assert isinstance(apply_patch({"f": text}, whole), dict)
        except EditError:
            continue
