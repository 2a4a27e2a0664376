"""Node and edge types: what a graph may hold, declared in Python or TOML, and checked on every write."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import msgspec

from weft.core import codec
from weft.core.errors import Invalid

Unknown = Literal["keep", "refuse"]

KINDS: Final[dict[str, type]] = {kind.__name__: kind for kind in (str, int, float, bool, bytes, list, dict)}
# 40 characters leave room for the prefix of the namespace.
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, kw_only=True)
class _Properties:
    """What node and edge types share. `properties` maps names to `str`, `int`, `float`, `bool`, `bytes`,
    `list` or `dict`; none is required. `unknown` says what happens to others. Nodes or edges of the type
    expire `ttl_s` seconds after their event time; None keeps them."""

    properties: Mapping[str, type | str] = field(default_factory=dict)
    unknown: Unknown = "refuse"
    ttl_s: float | None = None
    kinds: dict[str, type] = field(init=False, repr=False, compare=False)

    @property
    def label(self) -> str:
        raise NotImplementedError

    def __post_init__(self) -> None:
        if self.unknown not in ("keep", "refuse"):
            raise Invalid(f"{self.label} has unknown=`{self.unknown}`", hint="use `keep` or `refuse`")
        if self.ttl_s is not None and not (self.ttl_s > 0 and math.isfinite(self.ttl_s)):
            raise Invalid(f"{self.label} has ttl_s=`{self.ttl_s}`", hint="use a number above 0, or None")
        kinds = {name: self._kind(name, kind) for name, kind in self.properties.items()}
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "properties", {name: kind.__name__ for name, kind in kinds.items()})

    def _kind(self, name: str, kind: type | str) -> type:
        known = KINDS.get(kind if isinstance(kind, str) else getattr(kind, "__name__", ""))
        if known is None or not (isinstance(kind, str) or kind is known):
            raise Invalid(
                f"property `{name}` of {self.label} has the unknown kind `{kind}`",
                hint=f"use one of {', '.join(KINDS)}",
            )
        return known

    def encode(self, properties: Mapping[str, Any]) -> bytes:
        """The properties as stored bytes; `Invalid` naming the first that the type refuses. None means
        absent, and an integer will do for a float."""
        try:
            return codec.encode(self._checked(properties))
        except (UnicodeEncodeError, OverflowError, TypeError, RecursionError) as error:
            raise Invalid(f"{self.label} has a value that cannot be stored: {error}") from error

    def _checked(self, properties: Mapping[str, Any]) -> Mapping[str, Any]:
        kinds = self.kinds
        plain = True
        for name, value in properties.items():
            kind = kinds.get(name)
            if type(value) is not kind or kind is float:
                plain = False
                if value is not None:
                    self._accept(name, value, kind)
        if plain:
            return properties
        return {
            name: float(value) if kinds.get(name) is float else value
            for name, value in properties.items()
            if value is not None
        }

    def _accept(self, name: str, value: Any, kind: type | None) -> None:
        if not isinstance(name, str):
            raise Invalid(f"{self.label} was given `{name!r}` as a property name", hint="use a string")
        if kind is None and self.unknown == "refuse":
            raise Invalid(
                f"{self.label} has no property `{name}`",
                hint=f'declare it, or the type with unknown="keep"; declared are {_names(self.kinds)}',
            )
        if isinstance(value, float) and value != value:
            raise Invalid(f"property `{name}` of {self.label} is not a number", hint="leave it out")
        if kind is None or type(value) is kind or (kind is float and type(value) is int):
            return
        raise Invalid(
            f"property `{name}` of {self.label} is {a_kind(kind)}, not `{value!r:.80}`", property=name
        )


def a_kind(kind: type) -> str:
    """The kind of a property with its article."""
    return f"{'an' if kind is int else 'a'} {kind.__name__}"


def _names(names: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Invalid(
            f"`{name}` cannot be the name of {what}",
            hint="use at most 40 lower-case letters, digits and `_`, with a letter first",
        )


@dataclass(frozen=True)
class NodeType(_Properties):
    """`NodeType("account", properties={"name": str, "views": int}, unknown="keep", ttl_s=86_400)`.

    `groups={"stats": ["views"]}` keeps these properties in an item of their own, so that a partial node can
    write them alone; all others form the group "".
    """

    name: str
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict, kw_only=True)
    group_of: dict[str, str] = field(init=False, repr=False, compare=False)

    @property
    def label(self) -> str:
        return f"node type `{self.name}`"

    def __post_init__(self) -> None:
        _check_name(self.name, "a node type")
        super().__post_init__()
        groups: dict[str, tuple[str, ...]] = {}
        group_of: dict[str, str] = {}
        for group, names in self.groups.items():
            _check_name(group, f"a group of {self.label}")
            groups[group] = tuple(names)
            for name in groups[group]:
                if name not in self.kinds:
                    raise Invalid(
                        f"group `{group}` of {self.label} has the undeclared property `{name}`",
                        hint=f"declared are {_names(self.kinds)}",
                    )
                if name in group_of:
                    raise Invalid(f"property `{name}` of {self.label} is in two groups")
                group_of[name] = group
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "group_of", group_of)

    @property
    def layout(self) -> dict[str, Any]:
        """How nodes are laid out, by field, where that is not as usual."""
        return {"groups": {group: list(names) for group, names in self.groups.items()}} if self.groups else {}

    def encode_groups(self, properties: Mapping[str, Any], *, partial: bool) -> dict[str, bytes]:
        """The stored bytes of every group, or, when `partial`, of those that the properties name."""
        named: dict[str, dict[str, Any]] = {} if partial else {group: {} for group in ("", *self.groups)}
        for name, value in properties.items():
            named.setdefault(self.group_of.get(name, ""), {})[name] = value
        if not named:
            raise Invalid(
                f"a partial {self.label} without properties changes nothing",
                hint="name one; None clears it",
            )
        return {group: self.encode(values) for group, values in named.items()}


@dataclass(frozen=True)
class EdgeType(_Properties):
    """`EdgeType("watched", source="account", target="title", properties={"device": str})`.

    `split` keeps the properties apart from the adjacency lists, once for both directions. `newest` also lists
    the edges of a node by event time, so that the newest few are read alone. `cap` is how many edges a source
    keeps: the newest; it needs `newest`.
    """

    name: str
    source: str
    target: str
    split: bool = field(default=False, kw_only=True)
    newest: bool = field(default=False, kw_only=True)
    cap: int | None = field(default=None, kw_only=True)
    plain: bool = field(init=False, repr=False, compare=False)
    """Whether the two adjacency lists are all there is."""

    @property
    def label(self) -> str:
        return f"edge type `{self.name}`"

    def __post_init__(self) -> None:
        _check_name(self.name, "an edge type")
        super().__post_init__()
        if self.cap is not None and (type(self.cap) is not int or self.cap < 1):
            raise Invalid(f"{self.label} has cap=`{self.cap}`", hint="use a whole number above 0, or None")
        if self.cap is not None and not self.newest:
            raise Invalid(
                f"{self.label} has a cap and no order to keep the newest by", hint="add newest=True"
            )
        object.__setattr__(self, "plain", not (self.split or self.newest))

    @property
    def layout(self) -> dict[str, Any]:
        """How edges are laid out, by field, where that is not as usual."""
        own = {"split": self.split, "newest": self.newest, "cap": self.cap}
        return {name: value for name, value in own.items() if value}


GraphType = NodeType | EdgeType


class _Declared(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    properties: dict[str, str] = {}
    unknown: Unknown = "refuse"
    ttl_s: float | None = None


D = TypeVar("D", bound=_Declared)


class _DeclaredNode(_Declared, omit_defaults=True):
    groups: dict[str, list[str]] = {}


class _DeclaredEdge(_Declared, kw_only=True, omit_defaults=True):
    source: str
    target: str
    split: bool = False
    newest: bool = False
    cap: int | None = None


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    node: dict[str, _DeclaredNode] = {}
    edge: dict[str, _DeclaredEdge] = {}


def types_from_toml(text: str) -> list[GraphType]:
    """Types written as tables `[node.NAME]` and `[edge.NAME]` with the same fields as in Python."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"the graph types do not parse: {error}") from error
    if strange := tables.keys() - {"node", "edge"}:
        raise Invalid(f"the graph types have `{min(strange)}`", hint="write [node.NAME] and [edge.NAME]")
    return _types(
        _Document(_declared(tables, "node", _DeclaredNode), _declared(tables, "edge", _DeclaredEdge))
    )


def _declared(tables: dict[str, Any], noun: str, shape: type[D]) -> dict[str, D]:
    """The tables `[noun.NAME]`, by name."""
    named = tables.get(noun, {})
    if not isinstance(named, dict):
        raise Invalid(f"`{noun}` is not a table", hint=f"write [{noun}.NAME]")
    found = {}
    for name, fields in named.items():
        try:
            found[name] = msgspec.convert(fields, shape)
        except msgspec.ValidationError as error:
            raise Invalid(
                f"[{noun}.{name}] does not parse: {error}",
                hint=f"its fields are {', '.join(shape.__struct_fields__)}",
            ) from error
    return found


def encode_types(types: list[GraphType]) -> bytes:
    """Types as stored bytes, in the shape of the TOML document."""
    document = _Document()
    for kind in types:
        properties = {name: python.__name__ for name, python in kind.kinds.items()}
        if isinstance(kind, NodeType):
            groups = {group: list(names) for group, names in kind.groups.items()}
            document.node[kind.name] = _DeclaredNode(properties, kind.unknown, kind.ttl_s, groups)
        else:
            document.edge[kind.name] = _DeclaredEdge(
                properties,
                kind.unknown,
                kind.ttl_s,
                source=kind.source,
                target=kind.target,
                split=kind.split,
                newest=kind.newest,
                cap=kind.cap,
            )
    return codec.encode(document)


def decode_types(data: bytes) -> list[GraphType]:
    """The inverse of `encode_types`."""
    return _types(codec.decode(data, _Document, "the graph's types"))


def _types(document: _Document) -> list[GraphType]:
    nodes = [NodeType(name, **msgspec.structs.asdict(one)) for name, one in document.node.items()]
    edges = [EdgeType(name, **msgspec.structs.asdict(one)) for name, one in document.edge.items()]
    return [*nodes, *edges]
