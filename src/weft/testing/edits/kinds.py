"""The ways in which an edit is spoilt; each knows what must come of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from weft.testing.edits.drafts import (
    Case,
    Draft,
    Sources,
    Verdict,
    draft,
    fresh,
    loose,
    occurrences,
    stands_once,
)

Spoil = Callable[[str], str]
Kind = Callable[[Draft, random.Random], Case | None]

_CURLY: Final = {ord("'"): "\u2019", ord('"'): "\u201d", ord("-"): "\u2013"}
_NUMBERED: Final = ("{:6}\t{}", "{}: {}", "{:>4} | {}", "{}→{}", "{:6}→{}")
_ENOUGH: Final = 20
"""Characters without blanks that a quotation needs for its nearest place to be a fair question."""


def cases(sources: Sources, number: int, rng: random.Random) -> Iterator[Case]:
    """That many cases, every kind equally often."""
    kinds = list(KINDS)
    made = 0
    while made < number:
        found = draft(rng.choice(sources.texts), rng)
        case = found and KINDS[kinds[made % len(kinds)]](found, rng)
        if case:
            made += 1
            yield case._replace(kind=kinds[(made - 1) % len(kinds)])


def _case(
    d: Draft,
    spoil: Spoil = str,
    *,
    file: Draft | None = None,
    text: str | None = None,
    intended: str | None = None,
    verdict: Verdict = "applies",
    ending: str = "\n",
    **parts: list[str],
) -> Case | None:
    """The edit of a draft with `spoil` done to each of its lines; what is given else stands instead.

    `file` is the draft as the file has it. `parts` are lines of the edit that are spoilt already.
    """
    file = file or d
    before, old, new, after = (
        parts[name] if name in parts else [spoil(line) for line in lines]
        for name, lines in (("before", d.before), ("old", d.old), ("new", d.new), ("after", d.after))
    )
    text = file.file(file.quoted) if text is None else text
    if verdict == "applies" and not (stands_once(text, file.quoted) and d.is_clear):
        return None
    marked: list[tuple[str, list[str]]] = [(" ", before), ("-", old), ("+", new), (" ", after)]
    return Case(
        kind="",
        text=text,
        search=(*before, *old, *after),
        replace=(*before, *new, *after),
        ending=ending,
        intended=file.file(file.wanted) if intended is None else intended,
        verdict=verdict,
        line=file.start + 1,
        steps=tuple((mark, line) for mark, lines in marked for line in lines),
    )


def _exact(d: Draft, rng: random.Random) -> Case | None:
    text = d.file(d.quoted)
    closed = text if text.endswith("\n") else text + "\n"
    once = occurrences(closed, "\n".join(d.quoted) + "\n") == 1
    case = _case(d, verdict="either")
    return case and case._replace(verdict="applies" if once else "either")


def _piece(d: Draft, rng: random.Random) -> Case | None:
    line = rng.choice([line for line in d.quoted if line])
    body = line.lstrip()
    start, stop = sorted(rng.sample(range(len(body) + 1), 2))
    piece, new = body[start:stop], f"q{rng.getrandbits(40)}"
    text = d.file(d.quoted)
    if not piece.strip():
        return None
    verdict: Verdict = "applies" if occurrences(text, piece) == 1 else "refused"
    if verdict == "refused" and occurrences(text, piece) > 5:
        return None
    return Case(
        "", text, (piece,), (new,), "", text.replace(piece, new, 1), verdict, d.lines.index(line) + 1, ()
    )


def _dirty_file(d: Draft, rng: random.Random) -> Case | None:
    blanks = ["", " ", "   ", "\t", " \t"]
    lines = [line + rng.choice(blanks) for line in d.lines]
    return _case(d, file=_over(d, lines)) if lines != d.lines else None


def _over(d: Draft, lines: list[str]) -> Draft:
    """The draft with other lines in its file."""
    one, two = d.start + len(d.before), d.start + len(d.before) + len(d.old)
    return d._replace(lines=lines, before=lines[d.start : one], old=lines[one:two], after=lines[two : d.stop])


def _dirty_edit(d: Draft, rng: random.Random) -> Case | None:
    blanks = ["", " ", "   ", "\t"]
    return _case(d, lambda line: line + rng.choice(blanks), new=d.new)


def _endings(d: Draft, rng: random.Random) -> Case | None:
    ours, theirs = rng.choice([("\n", "\r\n"), ("\r\n", "\n"), ("\r\n", "\r\n")])
    return _case(d, text=d.file(d.quoted, theirs), intended=d.file(d.wanted, theirs), ending=ours)


def _mixed_endings(d: Draft, rng: random.Random) -> Case | None:
    ours, theirs = rng.choice([("\n", "\r\n"), ("\r\n", "\n"), ("\n", "\n")])
    head = "".join(line + rng.choice(["\n", "\r\n"]) for line in d.lines[: d.start])
    tail = "".join(line + rng.choice(["\n", "\r\n"]) for line in d.lines[d.stop :])
    inner = [head + "".join(line + theirs for line in part) + tail for part in (d.quoted, d.wanted)]
    return _case(d, text=inner[0], intended=inner[1], ending=ours)


def _byte_order_mark(d: Draft, rng: random.Random) -> Case | None:
    d = d._replace(lines=d.lines[d.start :], start=0)
    spoil = _harmless(rng)
    case = _case(
        d,
        spoil,
        new=[spoil(line).rstrip() for line in d.new],
        text="\ufeff" + d.file(d.quoted),
        intended="\ufeff" + d.file(d.wanted),
    )
    return case if d.wanted else None


def _trailing(line: str) -> str:
    return line + " "


def _shifted(rng: random.Random) -> Spoil:
    prefix = rng.choice([" ", "  ", "    ", "\t", "        "])
    return lambda line: prefix + line if line else line


def _over_indented(d: Draft, rng: random.Random) -> Case | None:
    return _case(d, _shifted(rng))


def _under_indented(d: Draft, rng: random.Random) -> Case | None:
    solid = [line for line in d.quoted + d.new if line]
    depth = min(len(line) - len(line.lstrip()) for line in solid)
    if not depth or len({line[:depth] for line in solid}) > 1:
        return None
    cut = rng.randrange(depth) + 1
    case = _case(d, lambda line: line[cut:])
    alone = len([line for line in d.quoted if line]) == 1
    return case and case._replace(verdict="either" if alone else "applies")


def _tabs(d: Draft, rng: random.Random) -> Case | None:
    indents = {line[: len(line) - len(line.lstrip())] for line in d.quoted if line}
    more = {line[: len(line) - len(line.lstrip())] for line in d.new}
    if indents == {""}:
        return None
    if all(not indent.strip("\t") for indent in indents | more):
        return _case(d, lambda line: _swapped(line, "\t", "    "))
    if all(not indent.strip(" ") and len(indent) % 4 == 0 for indent in indents | more):
        return _case(d, lambda line: _swapped(line, "    ", "\t"))
    return None


def _swapped(line: str, unit: str, other: str) -> str:
    body = line.lstrip()
    return line[: len(line) - len(body)].replace(unit, other) + body


def _blanks_lost(d: Draft, rng: random.Random) -> Case | None:
    if "" not in d.quoted:
        return None
    return _case(d, before=[line for line in d.before if line], after=[line for line in d.after if line])


def _blanks_added(d: Draft, rng: random.Random) -> Case | None:
    def loosened(lines: list[str]) -> list[str]:
        wide = [each for line in lines for each in (line, *[""] * rng.choice([0, 0, 1, 2]))]
        return wide[: len(wide) - next((i for i, line in enumerate(reversed(wide)) if line), 0)]

    before, after = loosened(d.before), loosened(d.after)
    return _case(d, before=before, after=after) if before + after != d.before + d.after else None


def _outer_blanks(d: Draft, rng: random.Random) -> Case | None:
    above, below = [""] * rng.randrange(3), [""] * rng.randrange(3)
    if not above + below or not d.wanted:
        return None
    return _case(d, before=above + d.before, after=d.after + below)


def _curly_edit(d: Draft, rng: random.Random) -> Case | None:
    lines = "".join(d.quoted + d.new)
    if not lines.isascii() or not set(lines) & {"'", '"', "-"}:
        return None
    return _case(d, lambda line: line.translate(_CURLY))


def _no_break_edit(d: Draft, rng: random.Random) -> Case | None:
    lines = "".join(d.quoted + d.new)
    if not lines.isascii() or " " not in "".join(d.quoted):
        return None
    if rng.random() < 0.3:
        return _case(d, lambda line: line.replace(" ", "\u00a0"))
    return _case(d, lambda line: _indent(line) + line.lstrip().replace(" ", "\u00a0"))


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _odd_file(d: Draft, rng: random.Random) -> Case | None:
    d = d._replace(new=[f"{_indent(line)}q{rng.getrandbits(40)}" for line in d.new])
    quoted = "".join(d.quoted)
    if not quoted.isascii() or not set(quoted) & {"'", '"', "-"}:
        return None
    lines = [*d.lines[: d.start], *(line.translate(_CURLY) for line in d.quoted), *d.lines[d.stop :]]
    return _case(d, file=_over(d, lines))


def _numbered(d: Draft, rng: random.Random) -> Case | None:
    style = rng.choice(_NUMBERED)
    first = d.start + 1 + rng.choice([0, 0, 5])
    case = _case(d)
    if not case or (len(case.search) == 1 and first != d.start + 1):
        return None
    search = tuple(style.format(number, line) for number, line in enumerate(case.search, first))
    replace = tuple(style.format(number, line) for number, line in enumerate(case.replace, first))
    return case._replace(search=search, replace=rng.choice([replace, case.replace]), steps=())


def _stale_context(d: Draft, rng: random.Random) -> Case | None:
    kept = [*range(len(d.before)), *range(len(d.quoted) - len(d.after), len(d.quoted))]
    inner = [i for i in kept if d.quoted[i] and 0 < i < len(d.quoted) - 1]
    if not d.old:
        inner = [i for i in inner if i not in (len(d.before) - 1, len(d.before))]
    if not inner:
        return None
    spot = rng.choice(inner)
    slipped = _slip(d.quoted[spot], rng)
    quoted = [slipped if i == spot else line for i, line in enumerate(d.quoted)]
    one, two = len(d.before), len(d.quoted) - len(d.after)
    clear = len([line for line in quoted if line]) >= 5 and len(loose(slipped)) >= _ENOUGH
    verdict: Verdict = "applies" if clear and _has_no_rival(d, d.quoted) else "either"
    return _case(d, before=quoted[:one], after=quoted[two:], verdict=verdict)


def _slip(line: str, rng: random.Random) -> str:
    """The line with one letter wrong."""
    spots = [i for i, char in enumerate(line) if char.isalnum()]
    if not spots:
        return line + "x"
    at = rng.choice(spots)
    return line[:at] + ("y" if line[at] == "x" else "x") + line[at + 1 :]


def _has_no_rival(d: Draft, quoted: Sequence[str]) -> bool:
    """Whether no stretch of the file elsewhere shares half of the quotation's runs of three characters."""
    rows = [_runs(line) for line in d.lines if line]
    wanted = [_runs(line) for line in quoted if line]
    own = len([line for line in d.lines[: d.start] if line])
    total = sum(map(len, wanted))
    for at in range(len(rows) - len(wanted) + 1):
        shared = sum(len(row & want) for row, want in zip(rows[at:], wanted, strict=False))
        if abs(at - own) > len(d.quoted) - len(quoted) and shared * 2 > total:
            return False
    return True


def _runs(line: str) -> set[str]:
    body = loose(line)
    return {body[i : i + 3] for i in range(max(1, len(body) - 2))}


def _stale_target(d: Draft, rng: random.Random) -> Case | None:
    if not d.old or len(loose("".join(d.quoted))) < _ENOUGH:
        return None
    spot = rng.randrange(len(d.old))
    old = [_slip(line, rng) if i == spot else line for i, line in enumerate(d.old)]
    return _absent(_case(d, old=old, verdict="refused"), d)


def _line_left_out(d: Draft, rng: random.Random) -> Case | None:
    before = d.before[:]
    if len(before) < 2:
        return None
    gap = rng.randrange(1, len(before))
    rest = before[:gap] + before[gap + 1 :]
    if not before[gap] or len(loose("".join(rest + d.old + d.after))) < 3 * _ENOUGH:
        return None
    return _absent(_case(d, before=rest, verdict="refused"), d)


def _absent(case: Case | None, d: Draft) -> Case | None:
    """The case, if the file has its own quotation once, nothing like it, and not what the edit quotes."""
    if case is None or not stands_once(case.text, d.quoted):
        return None
    there = occurrences(loose(case.text), loose("\n".join(case.search)))
    return case if not there and _has_no_rival(d, case.search) else None


def _doubled(d: Draft, rng: random.Random) -> Case | None:
    if not stands_once(d.file(d.quoted), d.quoted):
        return None
    at = rng.randrange(d.stop, len(d.lines) + 1)
    file = d._replace(lines=[*d.lines[:at], *d.quoted, *d.lines[at:]])
    return _case(d, _harmless(rng), file=file, verdict="refused")


def _doubled_deeper(d: Draft, rng: random.Random) -> Case | None:
    if not stands_once(d.file(d.quoted), d.quoted):
        return None
    at = rng.randrange(d.stop, len(d.lines) + 1)
    if len(d.quoted) == 1 or any(set(_indent(line)) - {" "} for line in d.quoted):
        return None
    twin = ["    " + line if line else line for line in d.quoted]
    file = d._replace(lines=[*d.lines[:at], *twin, *d.lines[at:]])
    return _case(d, lambda line: "   " + line if line else line, file=file, verdict="refused")


def _near_twin(d: Draft, rng: random.Random) -> Case | None:
    spot = rng.choice([i for i, line in enumerate(d.quoted) if line])
    twin = [fresh(line, rng) if i == spot else line for i, line in enumerate(d.quoted)]
    at = rng.choice([rng.randrange(d.start + 1), rng.randrange(d.stop, len(d.lines) + 1)])
    file = d._replace(
        lines=[*d.lines[:at], *twin, *d.lines[at:]], start=d.start + (len(twin) if at <= d.start else 0)
    )
    spoil = _harmless(rng)
    return _case(d, spoil, new=[spoil(line).rstrip() for line in d.new], file=file)


def _harmless(rng: random.Random) -> Spoil:
    spoils: list[Spoil] = [str, _trailing, _shifted(rng)]
    return rng.choice(spoils)


def _several(d: Draft, rng: random.Random) -> Case | None:
    """Two spoilt sides and three ways at once."""
    theirs = rng.choice(["\n", "\r\n"])
    prefix = _shifted(rng)
    odd = rng.random() < 0.5 and "".join(d.quoted + d.new).isascii()
    file = _over(d, [line + rng.choice(["", "", " "]) for line in d.lines])
    blanks = [""] * rng.randrange(2)

    def spoil(line: str) -> str:
        return prefix(line.translate(_CURLY) if odd else line)

    return (
        _case(
            d,
            text=file.file(file.quoted, theirs),
            intended=file.file(file.wanted, theirs),
            before=blanks + [spoil(line) for line in d.before],
            old=[spoil(line) for line in d.old],
            new=[spoil(line) for line in d.new],
            after=[spoil(line) for line in d.after] + blanks,
            ending=rng.choice(["\n", "\r\n"]),
        )
        if d.wanted
        else None
    )


KINDS: Final[dict[str, Kind]] = {
    "exact": _exact,
    "a piece of a line": _piece,
    "trailing blanks in the file": _dirty_file,
    "trailing blanks in the edit": _dirty_edit,
    "line endings": _endings,
    "mixed line endings": _mixed_endings,
    "byte order mark": _byte_order_mark,
    "over-indented": _over_indented,
    "under-indented": _under_indented,
    "tabs and spaces swapped": _tabs,
    "blank lines lost": _blanks_lost,
    "blank lines added": _blanks_added,
    "outer blank lines": _outer_blanks,
    "curly quotes and dashes in the edit": _curly_edit,
    "no-break spaces in the edit": _no_break_edit,
    "curly quotes and dashes in the file": _odd_file,
    "copied line numbers": _numbered,
    "a slip in a line that stays": _stale_context,
    "a slip in a line that goes": _stale_target,
    "a line left out": _line_left_out,
    "the place twice": _doubled,
    "the place twice, one deeper": _doubled_deeper,
    "a near twin": _near_twin,
    "several at once": _several,
}
