"""What a traversal returns: the answer, and whether it is the whole answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, Self, TypeVar, overload

import msgspec

from weft.graph.model import NodeRef

T = TypeVar("T")


class Result(Sequence[T], Generic[T]):
    """A list that says whether it is the whole answer: if not `complete`, `reason` names what cut it. `next`
    is what the same question is asked with to go on (`after=`), or None where it cannot or need not."""

    __slots__ = ("items", "next", "reason")

    def __init__(self, items: list[T], reason: str = "", next: str | None = None) -> None:  # noqa: A002
        self.items = items
        self.reason = reason
        self.next = next

    @property
    def complete(self) -> bool:
        return not self.reason

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self.items[index]

    def __repr__(self) -> str:
        return f"Result({self.items!r}, complete={self.complete}" + (
            f", reason={self.reason!r})" if self.reason else ")"
        )


class Count(int):
    """A number that says, like `Result`, whether it is the whole number."""

    reason: str

    def __new__(cls, number: int, reason: str = "") -> Self:
        count = super().__new__(cls, number)
        count.reason = reason
        return count

    @property
    def complete(self) -> bool:
        return not self.reason


class Group(msgspec.Struct, frozen=True):
    """How many walks end in one group: at a node, or at nodes with one value of a property."""

    key: NodeRef | Any
    count: int


class Summary(msgspec.Struct, frozen=True):
    """A property over nodes or edges: how many have it, and their least and greatest value in the order of
    `where.sort_key`; sum and mean where all of them are numbers. All None where none has it."""

    count: int
    min: Any = None
    max: Any = None
    sum: int | float | None = None
    avg: float | None = None
    complete: bool = True
    reason: str = ""
