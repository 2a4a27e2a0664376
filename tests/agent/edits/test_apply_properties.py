"""Random files and edits: exactly the intended text, or an error; never anything else."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import assume, given
from hypothesis import strategies as st

from weft.agent.edits import EditError, SearchReplace, apply

WORDS = ["alpha", "beta = 1", "if gamma:", "return delta", "}", "x = epsilon(1, 2)", "# zeta", "end"]


@dataclass(frozen=True)
class Case:
    """A file as lines without endings, a block of it, and what the block is to become."""

    lines: list[str]
    start: int
    stop: int
    new: list[str]
    ending: str
    final: bool

    def text(self, lines: list[str]) -> str:
        joined = self.ending.join(lines)
        return joined + self.ending if self.final and lines else joined

    @property
    def file(self) -> str:
        return self.text(self.lines)

    @property
    def intended(self) -> str:
        return self.text(self.lines[: self.start] + self.new + self.lines[self.stop :])

    @property
    def old(self) -> list[str]:
        return self.lines[self.start : self.stop]

    def is_unique(self) -> bool:
        """Whether no other place reads alike when indentation and blank lines are left out."""
        solid = [line.strip() for line in self.lines if line.strip()]
        wanted = [line.strip() for line in self.old if line.strip()]
        n = len(wanted)
        return sum(solid[i : i + n] == wanted for i in range(len(solid) - n + 1)) == 1


@st.composite
def solid_lines(draw: st.DrawFn, unit: str) -> str:
    word = draw(st.sampled_from(WORDS)) + draw(st.sampled_from(["", "", " 1", " 2", " 3"]))
    return unit * draw(st.integers(0, 3)) + word


@st.composite
def cases(draw: st.DrawFn, unit: str = "    ", min_indent: int = 0) -> Case:
    line = st.one_of(solid_lines(unit), solid_lines(unit), solid_lines(unit), st.just(""))
    lines = [*draw(st.lists(line, max_size=7)), draw(solid_lines(unit)), *draw(st.lists(line, max_size=6))]
    solid = [i for i, text in enumerate(lines) if text]
    start = draw(st.sampled_from(solid))
    stop = draw(st.sampled_from([i for i in solid if i >= start])) + 1
    if min_indent:
        lines[start:stop] = [unit * min_indent + text if text else "" for text in lines[start:stop]]
    new: list[str] = []
    for old in lines[start:stop]:
        fate = draw(st.sampled_from(["keep", "keep", "drop", "change", "insert"]))
        new += {"keep": [old], "drop": [], "change": [], "insert": [old]}[fate]
        if fate in ("change", "insert"):
            new.append(unit * min_indent + draw(solid_lines(unit)))
    if not new or new == lines[start:stop]:
        new.append(unit * min_indent + "# omega")
    final = len(lines) == 1 or draw(st.booleans())  # a file without any line ending cannot show its own
    return Case(lines, start, stop, new, draw(st.sampled_from(["\n", "\r\n"])), final)


def outcome(case: Case, search: list[str], replace: list[str], ending: str = "\n") -> str | None:
    """The text after the edit written with whole lines; None when it is refused."""
    edit = SearchReplace(ending.join(search) + ending, ending.join(replace) + ending)
    try:
        return apply(case.file, [edit]).text
    except EditError:
        return None


@given(cases())
def test_an_edit_copied_from_the_file_gives_the_intended_text(case: Case) -> None:
    got = outcome(case, case.old, case.new, case.ending)
    if case.is_unique():
        assert got == case.intended
    else:
        assert got in (None, case.intended)


@given(cases())
def test_other_line_endings_in_the_edit_change_nothing_else(case: Case) -> None:
    assume(case.is_unique())
    other = "\n" if case.ending == "\r\n" else "\r\n"
    assert outcome(case, case.old, case.new, other) == case.intended


@given(cases(), st.data())
def test_trailing_blanks_of_the_file_are_kept_and_need_not_be_copied(case: Case, data: st.DataObject) -> None:
    assume(case.is_unique())
    blanks = {
        text: data.draw(st.sampled_from(["", " ", "  ", "\t"])) for text in sorted(set(case.lines)) if text
    }
    dirty = Case(
        [text + blanks.get(text, "") for text in case.lines],
        case.start,
        case.stop,
        [text + (blanks[text] if text in case.old else "") for text in case.new if text],
        case.ending,
        case.final,
    )
    assume(all(case.new) and len(set(case.old)) == len(case.old) and len(set(case.new)) == len(case.new))
    kept = [text for text in case.old if text in case.new]
    assume(kept == [text for text in case.new if text in case.old])
    assert outcome(dirty, case.old, case.new) == dirty.intended


@given(cases(min_indent=1), st.sampled_from([2, 4]))
def test_an_under_indented_edit_is_shifted(case: Case, columns: int) -> None:
    assume(case.is_unique())
    got = outcome(case, [t[columns:] for t in case.old], [t[columns:] for t in case.new])
    solid = [text for text in case.old if text]
    assert got in (None, case.intended)
    if len(solid) > 1:
        assert got == case.intended


@given(cases(), st.sampled_from(["  ", "    ", "\t"]))
def test_an_over_indented_edit_is_shifted(case: Case, prefix: str) -> None:
    assume(case.is_unique())
    got = outcome(
        case, [prefix + t if t else t for t in case.old], [prefix + t if t else t for t in case.new]
    )
    assert got == case.intended


@given(cases(unit="\t", min_indent=1))
def test_spaces_for_tabs_are_turned_back(case: Case) -> None:
    assume(case.is_unique())
    got = outcome(
        case, [t.replace("\t", "    ") for t in case.old], [t.replace("\t", "    ") for t in case.new]
    )
    assert got == case.intended


@given(cases(unit="    ", min_indent=1))
def test_tabs_for_spaces_are_turned_back(case: Case) -> None:
    assume(case.is_unique())
    got = outcome(
        case, [t.replace("    ", "\t") for t in case.old], [t.replace("    ", "\t") for t in case.new]
    )
    assert got == case.intended


@given(cases(), st.data())
def test_lost_blank_lines_are_never_guessed(case: Case, data: st.DataObject) -> None:
    assume(case.is_unique() and all(t for t in case.new if t not in case.old))
    old, new = [t for t in case.old if t], [t for t in case.new if t]
    got = outcome(case, old, new)
    acceptable = {None, case.intended}
    if "" in case.old:
        without = [t for t in (got or "").split(case.ending) if t]
        assert got is None or without == [t for t in case.intended.split(case.ending) if t]
        head = case.text(case.lines[: case.start])[: -len(case.ending) or None] if case.start else ""
        assert got is None or got.startswith(head.rstrip("\r\n"))
    else:
        assert got in acceptable


_bits = st.text(alphabet="ab \n\t", max_size=12)


@given(
    _bits,
    st.tuples(_bits, st.sampled_from("ab"), _bits).map("".join),
    _bits,
    st.text(alphabet="ab \n", max_size=10),
)
def test_any_exact_piece_that_is_unique_is_replaced_as_it_stands(
    before: str, search: str, after: str, replace: str
) -> None:
    text, start, stop = before + search + after, len(before), len(before) + len(search)
    if search == replace:
        replace += "b"
    closed = text if text.endswith("\n") else text + "\n"  # a last line without its ending counts as well
    places = sum(closed.startswith(search, i) for i in range(len(text)))
    try:
        got = apply(text, [SearchReplace(search, replace)]).text
    except EditError as error:
        assert places > 1 or "indentation" in error.message  # noqa: PT017
    else:
        assert places == 1
        if not replace and search.endswith("\n") and before.rpartition("\n")[2].isspace():
            start = before.rfind("\n") + 1  # the whole line goes, its indentation too
        assert got == text[:start] + replace + text[stop:]


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_input_breaks_the_engine(text: str, search: str, replace: str) -> None:
    try:
        applied = apply(text, [SearchReplace(search, replace)])
    except EditError:
        return
    assert applied.text != text
    assert len(applied.hunks) == 1


@given(cases(), cases())
def test_when_one_of_several_edits_fails_none_is_applied(case: Case, other: Case) -> None:
    good = SearchReplace("\n".join(case.old) + "\n", "\n".join(case.new) + "\n")
    bad = SearchReplace("this line is nowhere\n", "\n".join(other.new) + "\n")
    for edits in ([good, bad], [bad, good]):
        try:
            apply(case.file, edits)
        except EditError as error:
            assert "none was applied" in error.hint  # noqa: PT017
        else:
            raise AssertionError("an edit that cannot apply was accepted")
