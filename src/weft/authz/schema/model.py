"""The one model that every schema language compiles to: namespaces, relations, rewrites and conditions.

After the namespace configuration of the Zanzibar paper (section 2.3), with typed relations and conditions.
Values compare by meaning: positions in the source and doc comments do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from weft.authz.tuples import RelationTuple, User
from weft.core.errors import NotFound


class Span(NamedTuple):
    """A place in a schema's text: line and column count from 1, length in characters on that line."""

    line: int
    column: int
    length: int = 1


@dataclass(frozen=True)
class This:
    """The users of the relation's own tuples (`_this`; `[user]` in OpenFGA)."""

    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class ComputedUserset:
    """The users of another relation of the same object."""

    relation: str
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class TupleToUserset:
    """The users of `computed` on the objects that the tuples of `tupleset` name (`parent->view`).

    With `all`, only users of `computed` on every such object; on none when there is no such object.
    """

    tupleset: str
    computed: str
    all: bool = False
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Union:
    """The users of any child; at least two children."""

    children: tuple[Rewrite, ...]
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Intersection:
    """The users of every child; at least two children."""

    children: tuple[Rewrite, ...]
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Exclusion:
    """The users of `base` that are not users of `subtract`."""

    base: Rewrite
    subtract: Rewrite
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Nil:
    """Nobody."""

    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Self:
    """The object itself, as a user."""

    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


Rewrite = This | ComputedUserset | TupleToUserset | Union | Intersection | Exclusion | Nil | Self


@dataclass(frozen=True)
class AllowedSubject:
    """One kind of user that a relation's tuples may name; condition and expiry must match exactly."""

    namespace: str
    relation: str = ""
    """Empty, except for usersets (`group#member`)."""
    wildcard: bool = False
    condition: str = ""
    """The name of the condition that the tuple must carry; empty when it must carry none."""
    expiration: bool = False
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Relation:
    """A relation, or a permission: a relation without tuples of its own."""

    name: str
    rewrite: Rewrite
    allowed: tuple[AllowedSubject, ...] | None = ()
    """None admits any user, as in the Zanzibar paper, which has no types."""
    doc: str = field(default="", compare=False, repr=False, kw_only=True)
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)

    @cached_property
    def is_permission(self) -> bool:
        """Whether no tuple may be written: the rewrite has no `This`."""
        return not any(isinstance(node, This) for node in walk(self.rewrite))

    def allows(self, user: User, condition: str = "", expires: bool = False) -> bool:
        """Whether a tuple of this relation may name the user, with that condition and expiry."""
        if self.allowed is None or self.is_permission:
            return not self.is_permission
        wanted = AllowedSubject(user.namespace, user.relation, user.is_wildcard, condition, expires)
        return wanted in self.allowed


@dataclass(frozen=True)
class NamespaceConfig:
    """The relations of one type of object, in the order written."""

    name: str
    relations: tuple[Relation, ...] = ()
    doc: str = field(default="", compare=False, repr=False, kw_only=True)
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)

    @cached_property
    def by_name(self) -> dict[str, Relation]:
        return {relation.name: relation for relation in self.relations}


@dataclass(frozen=True)
class ValueType:
    """The type of a condition's parameter: int, uint, double, bool, string, bytes, duration, timestamp, any,
    ipaddress, or list or map (with string keys) `of` another."""

    name: str
    of: ValueType | None = None

    def __str__(self) -> str:
        return f"{self.name}<{self.of}>" if self.of else self.name


@dataclass(frozen=True)
class Parameter:
    """A parameter of a condition."""

    name: str
    type: ValueType
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Condition:
    """A named CEL expression over typed parameters (a caveat in SpiceDB's words)."""

    name: str
    parameters: tuple[Parameter, ...]
    expression: str
    doc: str = field(default="", compare=False, repr=False, kw_only=True)
    at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    expression_at: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Schema:
    """All namespaces and conditions, in the order written."""

    namespaces: tuple[NamespaceConfig, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, NamespaceConfig]:
        return {namespace.name: namespace for namespace in self.namespaces}

    @cached_property
    def conditions_by_name(self) -> dict[str, Condition]:
        return {condition.name: condition for condition in self.conditions}

    def namespace(self, name: str) -> NamespaceConfig:
        """The namespace of that name, or `NotFound` with the nearest ones."""
        if found := self.by_name.get(name):
            return found
        raise NotFound(f"namespace `{name}` is not in the schema", hint=did_you_mean(name, self.by_name))

    def relation(self, namespace: str, name: str) -> Relation:
        """The relation of that namespace, or `NotFound` with the nearest ones."""
        config = self.namespace(namespace)
        if found := config.by_name.get(name):
            return found
        message = f"namespace `{namespace}` has no relation `{name}`"
        raise NotFound(message, hint=did_you_mean(name, config.by_name))

    def find(self, namespace: str, relation: str) -> Relation | None:
        """The relation, or None."""
        config = self.by_name.get(namespace)
        return config.by_name.get(relation) if config else None

    def condition(self, name: str) -> Condition:
        """The condition of that name, or `NotFound` with the nearest ones."""
        if found := self.conditions_by_name.get(name):
            return found
        message = f"condition `{name}` is not in the schema"
        raise NotFound(message, hint=did_you_mean(name, self.conditions_by_name))

    def allows(self, item: RelationTuple) -> bool:
        """Whether the schema admits the tuple; reads ignore stored tuples that it does not admit."""
        relation = self.find(item.object.namespace, item.relation)
        condition = item.condition.name if item.condition else ""
        if relation is None or (condition and condition not in self.conditions_by_name):
            return False
        return relation.allows(item.user, condition, item.expires_at_us is not None)


def children(rewrite: Rewrite) -> tuple[Rewrite, ...]:
    """The direct parts of a rewrite."""
    match rewrite:
        case Union(parts) | Intersection(parts):
            return parts
        case Exclusion(base, subtract):
            return base, subtract
    return ()


def walk(rewrite: Rewrite) -> Iterator[Rewrite]:
    """The rewrite and all its parts, parents first."""
    stack = [rewrite]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def did_you_mean(name: str, known: object) -> str:
    """A hint that names the known name nearest to a mistyped one; else the names there are."""
    import difflib

    names = sorted(map(str, known))  # type: ignore[call-overload]
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    return "known are: " + ", ".join(f"`{known}`" for known in names[:10]) if names else ""
