"""What the questions take and give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from weft.authz.evaluate import Failure, Value
from weft.authz.store import Change
from weft.authz.tuples import ObjectRef, RelationTuple, User
from weft.authz.zookie import Zookie

T = TypeVar("T")


class Check(msgspec.Struct, frozen=True):
    """One question of `check_many`: is the user in the relation on the object?"""

    object: str | ObjectRef
    relation: str
    user: str | User
    context: Mapping[str, Any] = {}
    """For this check alone, over the context of the call."""
    contextual_tuples: Sequence[str | RelationTuple] = ()
    """For this check alone, beside those of the call."""


class Decision(msgspec.Struct, frozen=True):
    """The answer to a check. It is true in a boolean context only when allowed."""

    allowed: bool
    zookie: Zookie
    """The moment that was evaluated."""
    conditional: bool = False
    """Neither allowed nor denied before the missing context is given."""
    missing: tuple[str, ...] = ()
    """The names of that context, sorted."""

    def __bool__(self) -> bool:
        return self.allowed

    @classmethod
    def of(cls, value: Value, zookie: Zookie) -> Decision:
        """From an evaluator's value; an exclusion that depends on itself denies."""
        if isinstance(value, bool):
            return cls(value, zookie)
        return cls(False, zookie, bool(value), missing_names(value))


def missing_names(names: frozenset[str]) -> tuple[str, ...]:
    """The missing context that an answer depends on, sorted; raises the error of a condition that fails."""
    for name in names:
        if isinstance(name, Failure):
            raise name.error
    return tuple(sorted(names))


class ConditionalItem(msgspec.Struct, frozen=True):
    """An item of a list that depends on missing context."""

    item: str
    missing: tuple[str, ...]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list, at one moment. The list is over when `complete`; else `cursor` resumes it at the same
    revision, asked with the same arguments. A page may be empty before the list is over."""

    items: list[T]
    cursor: str | None
    zookie: Zookie
    conditional: list[ConditionalItem] = []
    """What is neither in the list nor out of it before the missing context is given."""
    excluded: list[str] = []
    """`list_subjects` only: who is not meant by a wildcard in the list."""

    @property
    def complete(self) -> bool:
        return self.cursor is None


class Permission(msgspec.Struct, frozen=True):
    """What a user may do on an object, by one relation or permission."""

    name: str
    decision: Decision


class SchemaVersion(msgspec.Struct, frozen=True):
    """A schema as it was written, and when."""

    text: str
    language: str
    zookie: Zookie


class SchemaDifference(msgspec.Struct, frozen=True):
    """What writing a schema would change."""

    changes: tuple[str, ...]
    """One line for each."""
    orphans: tuple[str, ...] = ()
    """Stored tuples that it would orphan, at most 100 of them; while there is one, the schema is refused."""


class WatchEvent(msgspec.Struct, frozen=True):
    """What one commit changed; without changes and schema, a heartbeat. `zookie` resumes right after it."""

    zookie: Zookie
    changes: tuple[Change, ...] = ()
    schema: SchemaVersion | None = None
