"""What is found in source files of each language, broken and huge ones among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.context import Import, parse_source
from weft.agent.context.languages import GRAMMARS, load
from weft.core.limits import MAX_SOURCE_BYTES

# path, source, (kind, qualified name, lines) of definitions, (name, line, enclosing) of calls, imports
CASES = [
    (
        "a.py",
        "import os, sys as s\nfrom .x import y as z, w\nfrom q import *\nX = 1\nclass A:\n    @deco\n"
        "    def f(self):\n        def g(): pass\n        return g() + os.path.join(1)\n\n"
        "def h(): return A()\n",
        [
            ("variable", "X", 4, 4),
            ("class", "A", 5, 9),
            ("method", "A.f", 7, 9),
            ("function", "A.f.g", 8, 8),
            ("function", "h", 11, 11),
        ],
        [("deco", 6, "A"), ("g", 9, "A.f"), ("join", 9, "A.f"), ("A", 11, "h")],
        [Import("os", 1), Import("sys", 1), Import(".x", 2, ("y", "w")), Import("q", 3, ("*",))],
    ),
    (
        "a.ts",
        "import {x} from './m';\nexport interface I { a: number }\nclass B { m() { foo(); this.bar(); } }\n"
        "const k = (a: number) => new B();\ntype T = string;\nenum E { A }\n",
        [
            ("interface", "I", 2, 2),
            ("class", "B", 3, 3),
            ("method", "B.m", 3, 3),
            ("function", "k", 4, 4),
            ("type", "T", 5, 5),
            ("enum", "E", 6, 6),
        ],
        [("foo", 3, "B.m"), ("bar", 3, "B.m"), ("B", 4, "k")],
        [Import("./m", 1)],
    ),
    ("a.tsx", "const C = () => <div>{f()}</div>;", [("function", "C", 1, 1)], [("f", 1, "C")], []),
    (
        "a.js",
        "const x = require('fs');\nfunction f() { return g(); }\n",
        [("function", "f", 2, 2)],
        [("require", 1, None), ("g", 2, "f")],
        [Import("fs", 1)],
    ),
    (
        "a.go",
        'package p\nimport (\n "fmt"\n)\ntype T struct{}\nfunc (t *T) M() { fmt.Println(1) }\n'
        "func F() { F() }\n",
        [("type", "T", 5, 5), ("method", "T.M", 6, 6), ("function", "F", 7, 7)],
        [("Println", 6, "T.M"), ("F", 7, "F")],
        [Import("fmt", 3)],
    ),
    (
        "a.rs",
        "use std::io;\nstruct S<T>(T);\nimpl<T> S<T> {\n fn m(&self) { foo::bar(); log!(); }\n}\n"
        "mod k { fn i() {} }\n",
        [("struct", "S", 2, 2), ("method", "S.m", 4, 4), ("module", "k", 6, 6), ("function", "k.i", 6, 6)],
        [("bar", 4, "S.m"), ("log", 4, "S.m")],
        [Import("std::io", 1)],
    ),
    (
        "A.java",
        "import java.util.List;\nclass A {\n A() {}\n void m() { n(); new B<String>(); }\n}\n",
        [("class", "A", 2, 5), ("method", "A.A", 3, 3), ("method", "A.m", 4, 4)],
        [("n", 4, "A.m"), ("B", 4, "A.m")],
        [Import("java.util.List", 1)],
    ),
    (
        "a.c",
        "#include <stdio.h>\nstruct s { int a; };\nint *f(int x) { return g(x); }\n"
        "int main(void) { f(1); }\n",
        [("struct", "s", 2, 2), ("function", "f", 3, 3), ("function", "main", 4, 4)],
        [("g", 3, "f"), ("f", 4, "main")],
        [Import("stdio.h", 1)],
    ),
]


@pytest.mark.parametrize(
    ("path", "source", "definitions", "calls", "imports"), CASES, ids=[case[0] for case in CASES]
)
def test_definitions_calls_and_imports(path, source, definitions, calls, imports) -> None:
    parsed = parse_source(path, source)
    assert parsed is not None
    assert not parsed.has_errors
    assert [(d.kind, d.qualified_name, d.start_line, d.end_line) for d in parsed.definitions] == definitions
    assert [(r.name, r.line, r.enclosing) for r in parsed.references] == calls
    assert list(parsed.imports) == imports


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_every_grammar_is_installed_and_takes_its_query(language: str) -> None:
    assert load(language)[1].pattern_count > 0


def test_unknown_languages_are_told_apart_from_empty_files() -> None:
    assert parse_source("README.md", "# hello") is None
    assert parse_source(".py", "x = 1") is None
    parsed = parse_source("a.py", "")
    assert parsed is not None
    assert parsed.definitions == ()


def test_broken_code_still_shows_what_can_be_read() -> None:
    parsed = parse_source("a.py", "def f(:\n  class ((\ndef g():\n    h()\n")
    assert parsed is not None
    assert parsed.has_errors
    assert "g" in [d.name for d in parsed.definitions]
    assert [(r.name, r.enclosing) for r in parsed.references] == [("h", "g")]


def test_a_file_over_the_limit_is_not_looked_at_and_says_so() -> None:
    parsed = parse_source("a.py", b"x = 1\n" * (MAX_SOURCE_BYTES // 6 + 1))
    assert parsed is not None
    assert (parsed.complete, parsed.definitions) == (False, ())


@given(
    st.text(alphabet="def clas():x.=\n  \t'\"{}[]é", max_size=200),
    st.sampled_from(["a.py", "a.ts", "a.go", "a.rs", "a.c"]),
)
def test_any_text_parses_the_same_twice_within_its_lines(source: str, path: str) -> None:
    parsed = parse_source(path, source)
    assert parsed == parse_source(path, source.encode())
    last = source.count("\n") + 1
    assert parsed is not None
    assert all(1 <= d.start_line <= d.end_line <= last for d in parsed.definitions)
    assert all(1 <= r.line <= last for r in parsed.references)
