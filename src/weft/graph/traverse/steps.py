"""A traversal as data: where it starts and what it does, in Python and in JSON alike."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from weft.core.errors import Invalid

Direction = Literal["out", "in", "both"]


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="step"):
    pass


class Hop(_Step, frozen=True, tag="hop"):
    """Walk the edges of one type that satisfy `where`, in `order_by` (a property, with `-` for descending) or
    else in the order of the nodes before and of ids. At most `per_node` edges from each node, and at most
    `limit` in all; both count only edges that satisfy `where` and lead to a visible node."""

    direction: Direction
    edge: str
    where: dict[str, Any] = {}
    order_by: str | None = None
    per_node: int | None = None
    limit: int | None = None


class Where(_Step, frozen=True, tag="where"):
    """Keep the nodes that satisfy the condition."""

    where: dict[str, Any]


class OrderBy(_Step, frozen=True, tag="order_by"):
    """Order the nodes by a property, with `-` for descending; absent values last, ties as they were."""

    by: str


class Limit(_Step, frozen=True, tag="limit"):
    """Keep the first nodes."""

    limit: int


class Distinct(_Step, frozen=True, tag="distinct"):
    """Forget in how many ways each node was reached: it counts once from here on."""


Step = Hop | Where | OrderBy | Limit | Distinct


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A start set, and steps. `ids=None` starts from every node of the type.

    `as_of_us` walks only edges that are valid at that instant, of types that say from when to when (see
    `where.valid_at`). `within_s` is how long the walk may read; then it ends with what it has found.
    `per_node` is the bound of every hop that has none of its own.
    """

    type: str
    ids: list[str] | None = None
    steps: list[Step] = []
    as_of_us: int | None = None
    within_s: float | None = None
    per_node: int | None = None


def to_json(query: Query) -> str:
    return msgspec.json.encode(query).decode()


def from_json(text: str | bytes) -> Query:
    """The query that `to_json` wrote; `Invalid` names the place that does not fit."""
    try:
        return msgspec.json.decode(text, type=Query)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the traversal does not parse: {error}") from error
