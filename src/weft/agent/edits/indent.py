"""Indentation: one rule that turns the indentation of the search into that of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from weft.agent.edits.model import EditError

Rule = Callable[[str], str | None]
"""From an indentation of the edit to one of the file; None where the rule does not say."""

# How many spaces stand for a tab, and how many levels an edit may be off besides.
_UNITS = (2, 4, 8)
_USUAL_UNIT = 4
_LEVELS = range(-8, 9)


def indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def reindent(pairs: Iterable[tuple[str, str]], wanted: Iterable[str]) -> dict[str, str] | None:
    """What each wanted indentation of the edit is in the file, given pairs of (search, file) that match.

    None when no one rule explains the pairs: then this is another place. `EditError` when rules that explain
    them disagree about a wanted indentation, or cannot say. Rules, simplest first: the same; a shift by a
    prefix; four spaces for a tab or back; other numbers of spaces, with a shift.
    """
    seen, needed = set(pairs), sorted(set(wanted))
    explained = False
    for rules in (_same(), _shifts(seen), _conversions((_USUAL_UNIT,), (0,)), _conversions(_UNITS, _LEVELS)):
        fitting = [rule for rule in rules if all(rule(ours) == theirs for ours, theirs in seen)]
        explained = explained or bool(fitting)
        answers = [[rule(indent) for indent in needed] for rule in fitting]
        complete = {tuple(a) for a in answers if None not in a}
        if len(complete) == 1:
            return {i: j for i, j in zip(needed, complete.pop(), strict=True) if j is not None}
        if len(complete) > 1:
            break
    if not explained:
        return None
    raise EditError(
        "the indentation of the replacement cannot be told from the search",
        hint="use the file's own indentation in search and replace",
    )


def _same() -> Iterator[Rule]:
    yield lambda indent: indent


def _shifts(seen: set[tuple[str, str]]) -> Iterator[Rule]:
    for ours, theirs in sorted(seen)[:1]:
        if theirs.endswith(ours):
            yield _adding(theirs[: len(theirs) - len(ours)], seen)
        if ours.endswith(theirs):
            yield _taking(ours[: len(ours) - len(theirs)])


def _adding(prefix: str, seen: set[tuple[str, str]]) -> Rule:
    """A prefix in front. What it says of spaces behind a tab holds only where the file was seen to do so."""

    def mixes(indent: str) -> bool:
        return indent != "" and prefix[-1:] not in ("", indent[0])

    seen_to_mix = any(mixes(ours) for ours, _ in seen)

    def rule(indent: str) -> str | None:
        return None if mixes(indent) and not seen_to_mix else prefix + indent

    return rule


def _taking(prefix: str) -> Rule:
    return lambda indent: indent.removeprefix(prefix) if indent.startswith(prefix) else None


def _conversions(units: Iterable[int], shifts: Iterable[int]) -> Iterator[Rule]:
    for unit in units:
        for shift in shifts:
            yield _to_tabs(unit, shift)
            yield _to_spaces(unit, shift)


def _to_tabs(unit: int, shift: int) -> Rule:
    def rule(indent: str) -> str | None:
        level, rest = divmod(len(indent), unit)
        return None if indent.strip(" ") or rest or level + shift < 0 else "\t" * (level + shift)

    return rule


def _to_spaces(unit: int, shift: int) -> Rule:
    def rule(indent: str) -> str | None:
        level = len(indent) + shift
        return None if indent.strip("\t") or level < 0 else " " * (unit * level)

    return rule
