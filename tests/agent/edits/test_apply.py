"""Each tolerance, what it records, and each refusal with what it shows."""

from __future__ import annotations

import pickle

import pytest

from weft.agent.edits import EditError, SearchReplace, apply


def edited(text: str, search: str, replace: str) -> tuple[str, tuple[str, ...]]:
    applied = apply(text, [SearchReplace(search, replace)])
    return applied.text, applied.hunks[0].steps


LOOK = ("look-alikes and trailing blanks",)

HEALED = {
    "exact": ("a\nb\n", "b\n", "c\n", "a\nc\n", ("exact",)),
    "in the middle of a line": ("x = f(1)\n", "f(1)", "g(2)", "x = g(2)\n", ("exact",)),
    "no final newline": ("a\nb", "b\n", "c\n", "a\nc", ("exact",)),
    "crlf": ("a\r\nb\r\n", "a\nb\n", "a\nc\n", "a\r\nc\r\n", ("line endings",)),
    "lf replacement of one line in crlf": ("a\r\nb\r\n", "a", "x\ny", "x\r\ny\r\nb\r\n", ("exact",)),
    "bom": ("\ufeffa\nb\n", "a\nb\n", "a\nc\n", "\ufeffa\nc\n", ("exact",)),
    "trailing blanks of the file": ("a  \nb\t\nc\n", "a\nb\n", "a\nx\n", "a  \nx\nc\n", LOOK),
    "trailing blanks of the search": ("a\nb\n", "a \nb\n", "a \nx\n", "a\nx\n", LOOK),
    "no-break space": (
        "x =\u00a01\ny = 2\n",
        "x = 1\ny = 2\n",
        "x = 1\ny = 3\n",
        "x =\u00a01\ny = 3\n",
        LOOK,
    ),
    "curly quotes in the edit": (
        "print('a')\n",
        "print(\u2018a\u2019)\n",
        "print(\u2018b\u2019)\n",
        "print('b')\n",
        LOOK,
    ),
    "curly quotes in the file": (
        "\u201chi\u201d\nx\n",
        '"hi"\n',
        '"hello"\n',
        "\u201chello\u201d\nx\n",
        LOOK,
    ),
    "apostrophe in the file": (
        "don\u2019t\nx\n",
        "don't\n",
        "can't, don't\n",
        "can\u2019t, don\u2019t\nx\n",
        LOOK,
    ),
    "under-indented": (
        "class A:\n    def f():\n        return 1\n",
        "def f():\n    return 1\n",
        "def f():\n    if x:\n        return 2\n    return 1\n",
        "class A:\n    def f():\n        if x:\n            return 2\n        return 1\n",
        ("indentation",),
    ),
    "over-indented": (
        "if a:\n    b\n",
        "    if a:\n        b\n",
        "    if a:\n        c\n",
        "if a:\n    c\n",
        ("indentation",),
    ),
    "spaces for tabs": (
        "f:\n\tif a:\n\t\tb\n",
        "    if a:\n        b\n",
        "    if a:\n        if c:\n            b\n",
        "f:\n\tif a:\n\t\tif c:\n\t\t\tb\n",
        ("indentation",),
    ),
    "spaces for tabs, deeper": (
        "\t\ta\n\t\t\tb\n",
        "  a\n    b\n",
        "  a\n  c\n",
        "\t\ta\n\t\tc\n",
        ("indentation",),
    ),
    "blank lines lost": ("a\n\n\nb\nc\n", "a\nb\nc\n", "a\nb\nx\n", "a\n\n\nb\nx\n", ("blank lines",)),
    "blank lines added": ("a\nb\nc\n", "a\n\nb\nc\n", "a\n\nb\nx\n", "a\nb\nx\n", ("blank lines",)),
    "outer blank lines": ("a\nb\nc\n", "\n\nb\n\n", "\n\nx\n\n", "a\nx\nc\n", ("blank lines",)),
    "outer blank lines around a deletion": (
        "x\ndef f():\n    pass\n\n\ndef g():\n    pass\n",
        "\n\ndef f():\n    pass\n\n\ndef g():\n",
        "\n\ndef g():\n",
        "x\ndef g():\n    pass\n",
        ("blank lines",),
    ),
    "copied line numbers": (
        "a\nb\nc\n",
        "     2\tb\n     3\tc\n",
        "     2\tb\n     3\tx\n",
        "a\nb\nx\n",
        ("copied line numbers", "exact"),
    ),
    "one copied line number": ("a\nb\n", "2: b\n", "x\n", "a\nx\n", ("copied line numbers", "exact")),
    "near match of a kept line": (
        "def f():\n    # the first coment here\n    a = 1\n    return a\n",
        "def f():\n    # the first comment here\n    a = 1\n    return a\n",
        "def f():\n    # the first comment here\n    a = 2\n    return a\n",
        "def f():\n    # the first coment here\n    a = 2\n    return a\n",
        ("near match",),
    ),
    "bom, and trailing blanks in the first line": (
        "\ufeffa\nb\n",
        "a \nb\n",
        "a \nc\n",
        "\ufeffa\nc\n",
        LOOK,
    ),
    "bom in the search only": ("a\nb\n", "\ufeffa\nb\n", "\ufeffa\nc\n", "a\nc\n", ("exact",)),
    "no-break spaces as indentation of the edit": (
        "f:\n  a\n",
        "f:\n\u00a0\u00a0a\n",
        "f:\n\u00a0\u00a0b\n",
        "f:\n  b\n",
        LOOK,
    ),
    "no-break spaces as indentation of the file": (
        "f \n\u00a0\u00a0a\n",
        "f\n\u00a0\u00a0a\n",
        "f\n\u00a0\u00a0b\n",
        "f \n\u00a0\u00a0b\n",
        LOOK,
    ),
    "copied line numbers, and a replacement without": (
        "# see 3.2: http\nb\n",
        "1: # see 3.2: http\n2: b\n",
        "# see 3.2: http\nc\n",
        "# see 3.2: http\nc\n",
        ("copied line numbers", "exact"),
    ),
    "copied line numbers, and a replacement that begins with numbers of its own": (
        "8080: web\n",
        "     1\t8080: web\n",
        "8081: web\n",
        "8081: web\n",
        ("copied line numbers", "exact"),
    ),
    "a near match whose lines begin with numbers": (
        "5: one long line\n6: another long line\n7: ten\n8: x\n",
        "5: one long line\n6: anxther long line\n7: ten\n8: x\n",
        "5: one long line\n6: anxther long line\n7: ten\n8: y\n",
        "5: one long line\n6: another long line\n7: ten\n8: y\n",
        ("near match",),
    ),
    "a tab more, before spaces that align": (
        "\tf(a,\n\t  b)\n",
        "f(a,\n  b)\n",
        "f(a,\n  c)\n",
        "\tf(a,\n\t  c)\n",
        ("indentation",),
    ),
    "an indented line deleted, quoted without its indentation": (
        "f:\n    a\n    b\n",
        "a\n",
        "",
        "f:\n    b\n",
        ("indentation",),
    ),
    "lines deleted": ("a\nb\nc\n", "b\n", "", "a\nc\n", ("exact",)),
    "last line deleted": ("a\nb \nc ", "c\n", "", "a\nb \n", LOOK),
}


@pytest.mark.parametrize("name", HEALED)
def test_the_place_is_found_and_only_the_change_is_made(name: str) -> None:
    text, search, replace, expected, steps = HEALED[name]
    assert edited(text, search, replace) == (expected, steps)


REFUSED = {
    "not there": ("a\nb\n", "nothing of it\n", "x\n", "not in the file"),
    "two places": ("a\nb\na\nb\n", "a\nb\n", "x\n", "in 2 places"),
    "overlapping places": ("aaa", "aa", "b", "in 2 places"),
    "two places by indentation": ("  a\n  b\n\ta\n\tb\n", "a\nb\n", "a\nc\n", "in 2 places"),
    "empty search": ("a\n", "", "x", "blank"),
    "blank search": ("a\n\n", " \n\t\n", "x\n", "blank"),
    "no change": ("a\n", "a\n", "a\n", "are the same"),
    "no change after healing": ("a \nb\n", "a\nb\n", "a  \nb\n", "changes nothing"),
    "removed line differs": (
        "def f():\n    timeout = 45\n    go()\n    return 1\n",
        "def f():\n    timeout = 30\n    go()\n    return 1\n",
        "def f():\n    timeout = 60\n    go()\n    return 1\n",
        "not in the file",
    ),
    "removed line has other blanks inside": (
        "f:\n  # one long lne of comment\n  x = '\t'\n  y\n",
        "f:\n  # one long line of comment\n  x = ' '\n  y\n",
        "f:\n  # one long line of comment\n  x = ' ' + z\n  y\n",
        "not in the file",
    ),
    "another function like it": (
        "def load_user():\n    a = 1\n    b = 2\n    return a + b\n",
        "def load_team():\n    a = 1\n    b = 2\n    return a + b\n",
        "def load_team():\n    a = 1\n    b = 3\n    return a + b\n",
        "not in the file",
    ),
    "two near matches": (
        "f\n  one long line of code\n  x = 1\nend\nf\n  one long line of coda\n  x = 1\nend\n",
        "f\n  one long line of codx\n  x = 1\nend\n",
        "f\n  one long line of codx\n  x = 2\nend\n",
        "not in the file",
    ),
    "half of the indentation": ("    f()\n", "f()", "f()\ng()", "inside the indentation"),
    "half of the indentation, with newline": (
        "    f()\n",
        "  f()\n",
        "  f()\n  g()\n",
        "inside the indentation",
    ),
    "indentation that nobody knows": (
        "\t\ta\n\t\tb\n",
        "    a\n    b\n",
        "    a\n        b\n",
        "indentation",
    ),
    "insertion among lost blank lines": ("a\n\n\nb\n", "a\nb\n", "a\nx\nb\n", "blank lines"),
    "mixed quotes": ('\u201ca\u201d "b"\nx\n', '"a" "b"\n', '"a" "b" "c"\n', "more than one way"),
    "spaces behind a tab that nobody saw": ("\ta\n\tb\n", "a\nb\n", "a\n    c\nb\n", "indentation"),
    "a place near many like it": (
        "".join(f"{{\n  'state': {n},\n  'the same everywhere'\n}}\n" for n in range(30)),
        "{\n  'stxte': 17,\n  'the same everywhere'\n}\n",
        "{\n  'stxte': 17,\n  'the same everywhere'\n  x\n}\n",
        "not in the file",
    ),
    "part of the lines numbered": ("a\nb\n", "1\ta\n2\tb\n", "1\ta\nc\n", "not in the file"),
    "one line break too many": ("a \nb\nc\n", "a\nb\n", "a\nx", "ends with a line break"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_clear_is_refused(name: str) -> None:
    text, search, replace, reason = REFUSED[name]
    with pytest.raises(EditError, match=reason) as caught:
        apply(text, [SearchReplace(search, replace)])
    assert caught.value.hint


def test_the_error_shows_the_nearest_place_and_what_differs() -> None:
    text = "import os\n\ndef f(a, b):\n    return a + b\n"
    with pytest.raises(EditError) as caught:
        apply(text, [SearchReplace("def f(a, c):\n    return a + b\n", "x\n")])
    (nearest, *_) = caught.value.candidates
    assert (nearest.start_line, nearest.end_line) == (3, 4)
    assert nearest.differences == (
        "line 3: file has 'def f(a, b):', search has 'def f(a, c):'; "
        "at character 10 file has 'b', search has 'c'",
    )
    assert "candidate at lines 3-4" in caught.value.report()


def test_every_place_of_an_ambiguous_search_is_shown() -> None:
    with pytest.raises(EditError) as caught:
        apply("x\na\ny\na\n", [SearchReplace("a\n", "b\n")])
    assert [candidate.start_line for candidate in caught.value.candidates] == [2, 4]


def test_edits_apply_one_after_the_other_or_not_at_all() -> None:
    chain = [SearchReplace("a\n", "b\n"), SearchReplace("b\n", "c\n")]
    assert apply("a\n", chain).text == "c\n"
    with pytest.raises(EditError, match="edit 2 of 2") as caught:
        apply("a\n", [SearchReplace("a\n", "b\n"), SearchReplace("a\n", "c\n")])
    assert "none was applied" in str(caught.value)
    with pytest.raises(EditError, match="together change nothing"):
        apply("a\n", [SearchReplace("a\n", "b\n"), SearchReplace("b\n", "a\n")])
    with pytest.raises(EditError, match="no edit"):
        apply("a\n", [])


def test_hunks_tell_what_was_there() -> None:
    (hunk,) = apply("a\nb \nc\n", SearchReplace("b\nc\n", "x\nc\n")).hunks
    assert (hunk.start_line, hunk.old, hunk.new) == (2, "b \nc\n", "x\nc\n")


def test_an_error_survives_pickling() -> None:
    with pytest.raises(EditError) as caught:
        apply("a\na\n", [SearchReplace("a\n", "b\n")])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.candidates) == (caught.value.message, caught.value.candidates)
