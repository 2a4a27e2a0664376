"""Globs over whole paths as regular expressions that never take long, whatever the glob."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from weft.core.errors import Invalid

_TOKEN: Final = re.compile(r"(?:^|(?<=/))(?:\*\*/)+|\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
# A glob with more of them is no list that anybody wrote.
_MAX_ALTERNATIVES: Final = 256


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob over whole paths: `*` and `?` stay within a name, `**` spans folders, `{a,b}` and `[a-z]` as in
    shells; one without a slash is matched against the name alone, in any folder.

    `Invalid` for one that is malformed.
    """
    found = [each if "/" in each else f"**/{each}" for each in alternatives(glob.removeprefix("./"))]
    try:
        return re.compile("|".join(rf"(?:{_whole(each)})\Z" for each in found), re.DOTALL)
    except re.error as error:
        raise Invalid(f"the glob `{glob}` is malformed", hint=str(error)) from error


def alternatives(glob: str) -> list[str]:
    """The globs without braces that a glob with some stands for; `Invalid` for too many."""
    done: list[str] = []
    waiting = [glob]
    while waiting:
        each = waiting.pop()
        braces = re.search(r"\{([^{}]*)\}", each)
        if braces:
            head, tail = each[: braces.start()], each[braces.end() :]
            waiting += [head + part + tail for part in reversed(braces[1].split(","))]
        else:
            done.append(each)
        if len(done) + len(waiting) > _MAX_ALTERNATIVES:
            raise Invalid(
                f"a glob stands for more than {_MAX_ALTERNATIVES} others", hint="use `*` for some of it"
            )
    return list(dict.fromkeys(done))


def _whole(glob: str) -> str:
    """What stands between two wildcards is looked for at the first place only, in an atomic group: where a
    glob fits at all, it fits with that choice, and trying every other would take time without bounds."""
    first, *others = _split(_TOKEN.findall(glob), lambda token: token.startswith("**"))
    made = _within(first[1:], last=not others)
    for number, (wildcard, *part) in enumerate(others, 1):
        gap = r"(?:[^/]+/)*" if wildcard.endswith("/") else ".*"
        last = number == len(others)
        made += f"{gap}{_within(part, last)}" if last else f"(?>{gap}?{_within(part, last)})"
    return made


def _within(tokens: Sequence[str], last: bool) -> str:
    """A piece without wildcards that span folders; `last` if nothing comes after it."""
    first, *others = _split(tokens, lambda token: token == "*")
    made = "".join(map(_one, first[1:]))
    for number, (_, *part) in enumerate(others, 1):
        fixed = "".join(map(_one, part))
        made += f"[^/]*{fixed}" if last and number == len(others) else f"(?>[^/]*?{fixed})"
    return made


def _split(tokens: Sequence[str], is_wildcard: Callable[[str], bool]) -> list[list[str]]:
    """The tokens in runs; each begins with a wildcard, the first with an empty one."""
    runs = [[""]]
    for token in tokens:
        if is_wildcard(token):
            runs.append([token])
        else:
            runs[-1].append(token)
    return runs


def _one(token: str) -> str:
    """What stands for one character."""
    if token == "?":
        return "[^/]"
    if len(token) == 1:
        return re.escape(token)
    inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"(?!/)[{'^' + inner[1:] if inner.startswith('!') else inner}]"
