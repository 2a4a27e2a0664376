"""Traversals as words: `account:ann out:watched in:watched limit:5`."""

from __future__ import annotations

import json
from typing import Any, Final

from weft.core.errors import Invalid
from weft.graph.traverse.steps import Query, from_json

_DIRECTIONS: Final = ("out", "in", "both")
_HINT: Final = "use out:EDGE, in:EDGE, both:EDGE, where:{JSON}, order_by:PROPERTY, limit:N or distinct"


def parse_walk(words: list[str]) -> Query:
    """The traversal that words describe: a start (`account` for all, `account:ann` for one), then steps.

    A hop may have a condition on its edges behind it: `out:watched:{"device": "tv"}`. A single word that
    begins with `{` is a traversal in JSON."""
    if len(words) == 1 and words[0].startswith("{"):
        return from_json(words[0])
    kind, colon, node = words[0].partition(":")
    query = {"type": kind, "ids": [node] if colon else None, "steps": [_step(word) for word in words[1:]]}
    return from_json(json.dumps(query))


def _step(word: str) -> dict[str, Any]:
    name, _, rest = word.partition(":")
    if name in _DIRECTIONS and rest:
        edge, _, where = rest.partition(":")
        return {
            "step": "hop",
            "direction": name,
            "edge": edge,
            **({"where": _json(word, where)} if where else {}),
        }
    if name == "where":
        return {"step": "where", "where": _json(word, rest)}
    if name == "order_by" and rest:
        return {"step": "order_by", "by": rest}
    if name == "limit" and rest.isdecimal():
        return {"step": "limit", "limit": int(rest)}
    if word == "distinct":
        return {"step": "distinct"}
    raise Invalid(f"`{word}` is no step", hint=_HINT)


def _json(word: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"`{word}` has no JSON in its condition: {error}", hint=_HINT) from error
