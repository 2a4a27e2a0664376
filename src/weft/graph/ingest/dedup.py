"""The dedup step of a job: how long updates to one thing may merge, and what becomes of each field.

A policy is here only if it is a semilattice: the same result for any order, grouping and repetition of the
updates. So neither where a window happens to end nor a batch that a crash repeats can be seen in the graph.
`last`, `max`, `min` and `union` are; `sum` and `count` are not, since a repeated event would count twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from weft.core import codec
from weft.core.errors import Invalid
from weft.graph.schema import Schema
from weft.graph.updates import Update

Policy = Literal["max", "min", "union"]
Fold = Callable[[Any, Any], Any]

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def _rank(value: Any) -> tuple[Any, bytes]:
    """Orders also what compares equal, as -0.0 and 0.0 do."""
    return value, _encode(value)


def _union(one: list[Any], other: list[Any]) -> list[Any]:
    members = {_encode(member): member for member in (*one, *other)}
    return [members[encoded] for encoded in sorted(members)]


_FOLDS: Final[dict[str, Fold]] = {
    "max": lambda one, other: max(one, other, key=_rank),
    "min": lambda one, other: min(one, other, key=_rank),
    "union": _union,
}
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "max": (int, float, str),
    "min": (int, float, str),
    "union": (list,),
}


@dataclass(frozen=True, kw_only=True)
class Dedup:
    """`Dedup(window_s=30, merge={"edge/watched": {"devices": "union", "furthest_s": "max"}})`.

    Updates to the same node or edge merge for up to `window_s` seconds of event time, and are written once;
    0 merges only what one checkpoint writes anyway. `merge` names, per output stream (`node/TYPE` or
    `edge/TYPE`), the properties that are folded over all events (`max`, `min`, `union`); of all others the
    last in event time holds.
    """

    window_s: float = 0.0
    merge: Mapping[str, Mapping[str, Policy]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        window_s = self.window_s
        if not (isinstance(window_s, int | float) and window_s >= 0 and math.isfinite(window_s)):
            raise Invalid(f"window_s=`{self.window_s}` is not a time", hint="use seconds, from 0")
        for stream, policies in self.merge.items():
            for name, policy in policies.items():
                if policy not in _FOLDS:
                    raise Invalid(
                        f"`{name}` of `{stream}` cannot be merged by `{policy}`",
                        hint="use max, min or union; a sum would count repeated events twice",
                    )

    def folds(self, schema: Schema) -> dict[str, Folding]:
        """How to fold the streams that `merge` names; `Invalid` unless they fit the schema."""
        return {stream: Folding(stream, policies, schema) for stream, policies in self.merge.items()}


class Folding:
    """Folds updates of one output stream."""

    def __init__(self, stream: str, policies: Mapping[str, Policy], schema: Schema) -> None:
        what, _, name = stream.partition("/")
        if what not in ("node", "edge"):
            raise Invalid(f"`{stream}` is no output stream", hint="use `node/TYPE` or `edge/TYPE`")
        kind = schema.node(name) if what == "node" else schema.edge(name)
        if kind.ttl_s is not None:
            raise Invalid(
                f"{kind.label} expires, so none of its properties can be merged",
                hint="what has expired when an event arrives would depend on when that is",
            )
        for field_name, policy in policies.items():
            if kind.kinds.get(field_name) not in _KINDS[policy]:
                kinds = ", ".join(one.__name__ for one in _KINDS[policy])
                raise Invalid(
                    f"`{policy}` does not fit the property `{field_name}` of {kind.label}",
                    hint=f"declare it as {kinds}",
                )
        self.stream = stream
        self._folds = {field_name: _FOLDS[policy] for field_name, policy in policies.items()}

    def fold(self, one: Update, other: Update) -> Update:
        """Both in one: the later update, with the merged properties of either."""
        early, late = sorted((one, other), key=lambda update: (update.order, update.value))
        before, after = _properties(early), _properties(late)
        merged = dict(after)
        for name, fold in self._folds.items():
            known = [side[name] for side in (before, after) if name in side]
            if known:
                merged[name] = fold(known[0], known[-1])
        # In one order, whatever was merged first.
        return msgspec.structs.replace(late, value=codec.encode(dict(sorted(merged.items()))))

    def normal(self, update: Update) -> Update:
        """The update as if it had been folded with itself: a union without repetitions."""
        return self.fold(update, update)

    def check(self, update: Update) -> None:
        """`Invalid` for a removal."""
        if update.value is None:
            raise Invalid(
                f"`{self.stream}` merges properties, so nothing of it can be removed in a stream",
                hint="what was merged before and after the removal could not be told apart",
            )


def _properties(update: Update) -> dict[str, Any]:
    return codec.decode(update.value or b"", dict, "an update's properties")
