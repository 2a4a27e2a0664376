"""Formats that quote less or write edits as text: search blocks, ranges of lines, whole files, encodings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.edits import EditError, LineRange, SearchReplace, WholeFile, apply, apply_patch
from weft.agent.edits.encoding import decode
from weft.agent.edits.patch import patched
from weft.agent.edits.syntax import new_syntax_error, syntax_error

BLOCKS = """I will rename the function.

src/a.py
```python
<<<<<<< SEARCH
def f():
=======
def g():
>>>>>>> REPLACE

<<<<<<< SEARCH
    return 1
=======
>>>>>>> REPLACE
```

**new.txt**:
<<<<<<< SEARCH
=======
hello
>>>>>>> REPLACE
"""


def test_search_blocks_name_their_file_above_and_add_one_where_the_search_is_empty() -> None:
    files = {"src/a.py": "def f():\r\n    x = 1\r\n    return 1\r\n"}
    assert apply_patch(files, BLOCKS) == {
        "src/a.py": "def g():\r\n    x = 1\r\n",
        "new.txt": "hello\n",
    }


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ("<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n", "names no file"),
        ("f\n<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n", "no `=======`"),
        ("f\n<<<<<<< SEARCH\na\n=======\nb\n", "no `>>>>>>> REPLACE`"),
        ("f\n<<<<<<< SEARCH\na\n=======\nb\n<<<<<<< SEARCH\n", "no `>>>>>>> REPLACE`"),
        ("f\n<<<<<<< SEARCH\na\n=======\n=======\n>>>>>>> REPLACE\n", "more than one line `=======`"),
        ("f\n=======\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n", "outside any block"),
        ("g\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n", "no such file"),
        ("f\n<<<<<<< SEARCH\n=======\nb\n>>>>>>> REPLACE\n", "exists already"),
        ("f\n<<<<<<< SEARCH\nnone\n=======\nb\n>>>>>>> REPLACE\n", "f: the search text is not in the file"),
    ],
)
def test_blocks_that_do_not_fit_say_which_line(patch: str, reason: str) -> None:
    with pytest.raises(EditError, match=reason):
        apply_patch({"f": "a\n"}, patch)


def test_one_block_that_fails_leaves_every_file_as_it_was() -> None:
    good = "f\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n"
    with pytest.raises(EditError, match="edit 2 of 2"):
        apply_patch({"f": "a\n"}, good + good)
    with pytest.raises(EditError, match="no such file"):
        apply_patch({"f": "a\n"}, good + "g" + good[1:])


def test_a_patch_records_the_steps_of_each_hunk() -> None:
    patch = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n@@ -3 +3 @@\n-c\n+d\n"
    done = patched({"f": "a \nx\n  c\ny\n"}, patch)["f"]
    assert done is not None
    assert [(hunk.start_line, hunk.old, hunk.new, hunk.steps) for hunk in done.hunks] == [
        (1, "a \n", "b\n", ("look-alikes and trailing blanks",)),
        (3, "  c\n", "  d\n", ("indentation",)),
    ]
    assert done.text == "b\nx\n  d\ny\n"


def test_a_range_of_lines_is_replaced_in_the_files_endings() -> None:
    text = "\ufeffa\r\nb \r\nc\r\nd"
    assert apply(text, LineRange(2, 3, "b", "c\n", "x\ny\nz\n")).text == "\ufeffa\r\nx\r\ny\r\nz\r\nd"
    assert apply(text, LineRange(4, 4, "d", "d", "e\nf\n")).text == "\ufeffa\r\nb \r\nc\r\ne\r\nf"
    assert apply(text, LineRange(2, 3, "b", "c", "")).text == "\ufeffa\r\nd"


def test_stale_line_numbers_show_what_is_there_and_where_the_lines_are_now() -> None:
    text = "new\na\nb\nc\n"
    with pytest.raises(EditError, match="line 1 is not `a`") as caught:
        apply(text, LineRange(1, 2, "a", "b", "x\n"))
    assert [(near.start_line, near.text) for near in caught.value.candidates] == [(1, "new\na"), (2, "a\nb")]
    for start, end in ((0, 1), (3, 2), (4, 5), (-1, -1)):
        with pytest.raises(EditError, match="there are no lines"):
            apply(text, LineRange(start, end, "c", "c", "x\n"))
    with pytest.raises(EditError, match="changes nothing"):
        apply(text, LineRange(2, 2, "a", "a", "a\n"))


@given(st.lists(st.sampled_from(["a", "b ", "\tc", "", "d e"]), min_size=1, max_size=9), st.data())
def test_a_range_replaces_these_lines_and_no_others(lines: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(1, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = "".join(line + ending for line in lines)
    done = apply(text, LineRange(start, end, lines[start - 1], lines[end - 1], "new\n\nlines\n"))
    wanted = [*lines[: start - 1], "new", "", "lines", *lines[end:]]
    assert done.text == "".join(line + ending for line in wanted)


def test_a_whole_file_keeps_bom_and_line_endings() -> None:
    done = apply("\ufeffa\r\nb\r\n", WholeFile("x\ny\n"))
    assert (done.text, done.hunks[0].steps) == ("\ufeffx\r\ny\r\n", ("line endings",))
    assert apply("a\nb\n", WholeFile("x\r\ny\r\n")).text == "x\ny\n"
    assert apply("a\r\nb\n", WholeFile("x\ny")).text == "x\ny"
    assert apply("", WholeFile("x\r\n")).text == "x\r\n"
    with pytest.raises(EditError, match="changes nothing"):
        apply("a\r\n", WholeFile("a\n"))


def test_kinds_of_edits_mix_and_fail_together() -> None:
    edits = [SearchReplace("a\n", "b\n"), LineRange(1, 1, "b", "b", "c\n"), WholeFile("d\n")]
    assert apply("a\n", edits).text == "d\n"
    with pytest.raises(EditError, match="edit 2 of 2"):
        apply("a\n", [edits[0], LineRange(1, 1, "a", "a", "c\n")])


@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-16")))
def test_any_bytes_come_back(data: bytes) -> None:
    decoded = decode(data)
    assert decoded.encode(decoded.text) == data


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "é = “1”\n"),
        ("utf-8-sig", "é\n"),
        ("utf-16", "é = 1\r\n"),
        ("latin-1", "caf\xe9 = 1\n"),
        ("iso8859-2", "# -*- coding: iso8859-2 -*-\nx = 'ł'\n"),
        ("shift-jis", "#!/bin/x\n# coding=shift-jis\n日本 = 1\n"),
    ],
)
def test_an_edit_keeps_the_encoding(encoding: str, text: str) -> None:
    decoded = decode(text.encode(encoding))
    after = apply(
        decoded.text, SearchReplace("1", "é") if "1" in text and "日" not in text else WholeFile("x\n")
    )
    if encoding == "iso8859-2":
        after = apply(decoded.text, SearchReplace("ł", "Ł"))
    assert decoded.encode(after.text).decode(encoding) == after.text.removeprefix("\ufeff")


def test_a_character_that_the_encoding_lacks_is_refused() -> None:
    with pytest.raises(EditError, match="`→` cannot be written in latin-1"):
        decode(b"caf\xe9\n").encode("→\n")


@pytest.mark.parametrize(
    ("path", "good", "bad", "line"),
    [
        ("a.py", "x = 1\n", "x = 1\nx = (\n", 2),
        ("a.json", '{"a": 1}', '{\n"a": }', 2),
        ("a.toml", "a = 1\n", "a = 1\nb = \n", 2),
        ("a.js", "let a = f(1);\n", "let b = 1;\nlet a = f(1;\n", 2),
        ("a.go", "package a\nfunc f() {}\n", "package a\nfunc f( {}\n", 2),
        ("a.unknown", "(", "((", 0),
    ],
)
def test_what_does_not_parse_any_more_is_told_with_its_line(
    path: str, good: str, bad: str, line: int
) -> None:
    assert syntax_error(path, good) is None
    error = syntax_error(path, "\ufeff" + bad)
    assert (error is None) == (line == 0)
    if error:
        assert f"line {line}" in error
        assert new_syntax_error(path, good, bad) == error == new_syntax_error(path, None, bad)
    assert new_syntax_error(path, bad, bad) is None
