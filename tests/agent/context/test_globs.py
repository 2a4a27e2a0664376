"""Globs fit what a plain reading of them fits, and never take long."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.context.globs import alternatives, glob_pattern
from weft.core.errors import Invalid


@pytest.mark.parametrize(
    ("glob", "fitting", "other"),
    [
        ("*.py", ["a.py", "x/y/b.py"], ["a.pyc", "py"]),
        ("src/*.py", ["src/a.py"], ["src/x/a.py", "a.py", "lib/src/a.py"]),
        ("src/**/*.{ts,tsx}", ["src/a.ts", "src/x/y/b.tsx"], ["a.ts", "src/a.js"]),
        ("**/test_?.py", ["test_a.py", "x/test_b.py"], ["test_ab.py"]),
        ("[!a]*.c", ["b.c"], ["a.c", "ab.c"]),
        ("docs/**", ["docs/a", "docs/x/y"], ["docs", "a/docs/b"]),
        ("a.b", ["a.b"], ["axb"]),
        ("{a,b}/c", ["a/c", "b/c"], ["c"]),
        ("a{b", ["a{b"], ["ab"]),
    ],
)
def test_globs(glob: str, fitting: list[str], other: list[str]) -> None:
    pattern = glob_pattern(glob)
    assert [path for path in fitting + other if pattern.match(path)] == fitting


def plainly_fits(glob: str, path: str) -> bool:
    """Every choice of every wildcard, one character after the other."""

    @cache
    def fits(g: int, p: int) -> bool:
        if g == len(glob):
            return p == len(path)
        if glob.startswith("**/", g) and (g == 0 or glob[g - 1] == "/"):
            ends = [at + 1 for at in range(p, len(path)) if path[at] == "/" and at > p]
            return fits(g + 3, p) or any(fits(g, end) for end in ends[:1])
        if glob.startswith("**", g):
            return fits(g + 2, p) or (p < len(path) and fits(g, p + 1))
        if glob[g] == "*":
            return fits(g + 1, p) or (p < len(path) and path[p] != "/" and fits(g, p + 1))
        if p == len(path) or (glob[g] == "?" and path[p] == "/"):
            return False
        return glob[g] in ("?", path[p]) and fits(g + 1, p + 1)

    return fits(0, 0)


PIECES = st.lists(st.sampled_from(["a", "b", "/", "*", "?", "**/", "/**", "{a,ab}", "{b*,/}"]), max_size=9)
PATHS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)


@given(PIECES.map("".join), PATHS)
def test_a_glob_fits_what_one_of_its_choices_fits(glob: str, path: str) -> None:
    plain = [each if "/" in each else f"**/{each}" for each in alternatives(glob)]
    assert bool(glob_pattern(glob).match(path)) == any(plainly_fits(each, path) for each in plain)


@pytest.mark.parametrize(
    "glob", ["*a" * 40 + "b", "**/a*/" * 20 + "b", "**a" * 40 + "b", "a/**" * 20 + "b", "**/" * 60 + "b"]
)
def test_no_glob_takes_long(glob: str) -> None:
    """Any of these would take longer than the world has stood if every choice were tried."""
    path = "/".join(["a" * 60] * 40)
    assert not glob_pattern(glob).match(path)
    assert not glob_pattern(glob).match("a/" * 100 + "a" * 200)


def test_what_stands_for_too_much_or_for_nothing_is_refused() -> None:
    every = ["xay1", "xay2", "xbcy1", "xbcy2", "xbdy1", "xbdy2"]
    assert sorted(alternatives("x{a,b{c,d}}y{1,2}")) == every
    for glob in ("{a,b}" * 40, "{" * 20 + "a" + ",b}" * 20 + "{c,d}" * 20):
        with pytest.raises(Invalid, match="stands for more"):
            glob_pattern(glob)
    with pytest.raises(Invalid, match="malformed"):
        glob_pattern("[b-a]")
