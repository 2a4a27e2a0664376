"""Types of CEL expressions: every part of a condition is checked when its schema is written.

`dyn` is CEL's word for a value whose type is known only when it is there (a parameter of type `any`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from weft.authz.schema.cel import (
    Call,
    CelError,
    Comprehension,
    Ident,
    ListOf,
    Literal,
    MapOf,
    Node,
    Select,
)
from weft.authz.schema.model import ValueType, did_you_mean

SCALARS: Final = (
    "any",
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "ipaddress",
    "string",
    "timestamp",
    "uint",
)
DYN: Final = ValueType("dyn")
BOOL: Final = ValueType("bool")
_ORDERED: Final = ("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint")

_OPERATORS: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "+": (
        *((t, t, t) for t in ("int", "uint", "double", "string", "bytes", "duration")),
        ("timestamp", "duration", "timestamp"),
    ),
    "-": (
        *((t, t, t) for t in ("int", "uint", "double", "duration")),
        ("timestamp", "duration", "timestamp"),
        ("timestamp", "timestamp", "duration"),
    ),
    "*": tuple((t, t, t) for t in ("int", "uint", "double")),
    "/": tuple((t, t, t) for t in ("int", "uint", "double")),
    "%": tuple((t, t, t) for t in ("int", "uint")),
    **{sign: tuple((t, t, "bool") for t in _ORDERED) for sign in ("<", "<=", ">", ">=")},
}
_CALENDAR: Final = (
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
)
_METHODS: Final[dict[str, tuple[tuple[tuple[str, ...], str], ...]]] = {
    "contains": ((("string", "string"), "bool"),),
    "startsWith": ((("string", "string"), "bool"),),
    "endsWith": ((("string", "string"), "bool"),),
    "matches": ((("string", "string"), "bool"),),
    "in_cidr": ((("ipaddress", "string"), "bool"),),
    "size": tuple(((t,), "int") for t in ("string", "bytes", "list", "map")),
    **dict.fromkeys(_CALENDAR, ((("timestamp",), "int"), (("timestamp", "string"), "int"))),
}
for _name in ("getHours", "getMinutes", "getSeconds"):
    _METHODS[_name] += ((("duration",), "int"),)
_FUNCTIONS: Final[dict[str, tuple[tuple[tuple[str, ...], str], ...]]] = {
    "size": _METHODS["size"],
    "int": tuple(((t,), "int") for t in ("int", "uint", "double", "string")),
    "uint": tuple(((t,), "uint") for t in ("int", "uint", "double", "string")),
    "double": tuple(((t,), "double") for t in ("int", "uint", "double", "string")),
    "string": tuple(((t,), "string") for t in ("int", "uint", "double", "string", "bytes")),
    "bytes": ((("string",), "bytes"), (("bytes",), "bytes")),
    "timestamp": ((("string",), "timestamp"), (("timestamp",), "timestamp")),
    "duration": ((("string",), "duration"), (("duration",), "duration")),
    "ipaddress": ((("string",), "ipaddress"),),
    "dyn": ((("dyn",), "dyn"),),
}


def parameter_type_error(type_: ValueType) -> str:
    """Why a parameter cannot have this type; empty when it can."""
    if type_.name in ("list", "map"):
        if type_.of is None:
            return f"`{type_.name}` does not say of what"
        return parameter_type_error(type_.of)
    if type_.name not in SCALARS:
        return f"`{type_.name}` is not a type"
    return f"`{type_.name}` takes no `<…>`" if type_.of else ""


def parameter_type_hint(type_: ValueType) -> str:
    """What to write instead of a wrong type."""
    if type_.name in ("list", "map") and type_.of is None:
        return f"write `{type_.name}<string>`"
    if type_.of is not None and type_.name in ("list", "map"):
        return parameter_type_hint(type_.of)
    return did_you_mean(type_.name, (*SCALARS, "list", "map"))


class Checker:
    """Finds the type of each node; `types` keeps them for whoever evaluates the tree."""

    def __init__(self, parameters: Mapping[str, ValueType]) -> None:
        self.types: dict[Node, ValueType] = {}
        self._scope = {name: _plain(type_) for name, type_ in parameters.items()}

    def check(self, node: Node) -> ValueType:
        """The type of the node, or `CelError` at the part that has none."""
        found = self._type(node)
        self.types[node] = found
        return found

    def check_test(self, root: Node) -> None:
        """`CelError` unless the whole expression is true or false."""
        self._want(root, "bool", "a condition")

    def _type(self, node: Node) -> ValueType:
        match node:
            case Literal(type=name):
                return ValueType(name)
            case Ident(name=name):
                return self._ident(node, name)
            case Select():
                return self._select(node)
            case ListOf(items=items):
                return ValueType("list", _join([self.check(item) for item in items]))
            case MapOf(entries=entries):
                for key, _ in entries:
                    self._want(key, "string", "a map's key")
                return ValueType("map", _join([self.check(value) for _, value in entries]))
            case Comprehension():
                return self._comprehension(node)
            case Call():
                return self._call(node)
        raise AssertionError(node)

    def _ident(self, node: Node, name: str) -> ValueType:
        if name not in self._scope:
            raise _error(node, f"`{name}` is not a parameter", did_you_mean(name, self._scope))
        return self._scope[name]

    def _select(self, node: Select) -> ValueType:
        operand = self.check(node.operand)
        if operand.name not in ("map", "dyn"):
            raise _error(node, f"`.{node.name}` of a value of type {operand}", "only maps have fields")
        return BOOL if node.test else operand.of or DYN

    def _comprehension(self, node: Comprehension) -> ValueType:
        range_ = self.check(node.range)
        if range_.name not in ("list", "map", "dyn"):
            message = f"`{node.macro}` goes over a list or a map, not over a value of type {range_}"
            raise _error(node.range, message, "")
        outer = dict(self._scope)
        item = ValueType("string") if range_.name == "map" else range_.of or DYN
        self._scope[node.variable] = item
        if node.filter is not None:
            self._want(node.filter, "bool", "the filter of `map`")
        body = self.check(node.body)
        self._scope = outer
        if node.macro == "map":
            return ValueType("list", body)
        if body.name not in ("bool", "dyn"):
            raise _error(
                node.body, f"`{node.macro}` tests something of type {body}", "compare it to something"
            )
        return ValueType("list", item) if node.macro == "filter" else BOOL

    def _call(self, node: Call) -> ValueType:
        match node.function:
            case "&&" | "||" | "!":
                for part in node.arguments:
                    self._want(part, "bool", f"`{node.function}`")
                return BOOL
            case "?:":
                self._want(node.arguments[0], "bool", "the test before `?`")
                return self._same(node, node.arguments[1:], "the parts of `? :`")
            case "==" | "!=":
                self._same(node, node.arguments, f"`{node.function}`")
                return BOOL
            case "in":
                return self._in(node)
            case "[]":
                return self._index(node)
            case "neg":
                return self._pick(node, "-", ((("int",), "int"), (("double",), "double")))
        if node.function in _OPERATORS:
            return self._pick(
                node, node.function, tuple(((a, b), r) for a, b, r in _OPERATORS[node.function])
            )
        table = _METHODS if node.method else _FUNCTIONS
        if node.function not in table:
            kind = "method" if node.method else "function"
            hint = did_you_mean(node.function, table)
            raise _error(node, f"there is no {kind} `{node.function}`", hint)
        result = self._pick(node, node.function, table[node.function])
        self._check_constant(node)
        return result

    def _in(self, node: Call) -> ValueType:
        item, whole = (self.check(part) for part in node.arguments)
        if whole.name not in ("list", "map", "dyn"):
            hint = "for text, write `text.contains(part)`"
            raise _error(node.arguments[1], f"`in` looks in a list or map, not in {whole}", hint)
        wanted = ValueType("string") if whole.name == "map" else whole.of or DYN
        if not _fits(item, wanted):
            raise _error(node, f"`in` looks for {item} among {wanted}", "make the types agree")
        return BOOL

    def _index(self, node: Call) -> ValueType:
        whole, index = (self.check(part) for part in node.arguments)
        wanted = {"list": "int", "map": "string", "dyn": "dyn"}.get(whole.name)
        if wanted is None or not _fits(index, ValueType(wanted)):
            hint = "a list is indexed by an int, a map by a string"
            raise _error(node, f"a value of type {whole} is indexed by {index}", hint)
        return whole.of or DYN

    def _pick(self, node: Call, name: str, overloads: tuple[tuple[tuple[str, ...], str], ...]) -> ValueType:
        got = [self.check(part) for part in node.arguments]
        results = {
            result
            for wanted, result in overloads
            if len(wanted) == len(got)
            and all(
                have.name in ("dyn", want) or want == "dyn" for have, want in zip(got, wanted, strict=True)
            )
        }
        if not results:
            kinds = ", ".join(map(str, got))
            hint = "numbers do not mix: convert by `int()`, `uint()` or `double()`"
            numbers = {"int", "uint", "double"}
            raise _error(
                node,
                f"`{name}` does not take ({kinds})",
                hint if {kind.name for kind in got} & numbers and len(got) > 1 else "",
            )
        return ValueType(results.pop()) if len(results) == 1 else DYN

    def _check_constant(self, node: Call) -> None:
        """A constant network is wrong at once, not at the first check."""
        if node.function != "in_cidr" or not isinstance(network := node.arguments[1], Literal):
            return
        try:
            ipaddress.ip_network(network.text.lstrip("rR").strip("'\""), strict=False)
        except ValueError:
            raise _error(network, f"{network.text} is not a network", "write '10.0.0.0/8'") from None

    def _same(self, node: Node, parts: tuple[Node, ...], what: str) -> ValueType:
        first, second = (self.check(part) for part in parts)
        if not _fits(first, second):
            hint = "make the types agree, for example by `int()`, `double()` or `string()`"
            raise _error(node, f"{what} mixes {first} and {second}", hint)
        return second if first.name == "dyn" else first

    def _want(self, node: Node, wanted: str, what: str) -> None:
        got = self.check(node)
        if got.name not in (wanted, "dyn"):
            raise _error(
                node,
                f"{what} takes {wanted}, got {got}",
                "compare it to something" if wanted == "bool" else "",
            )


def _plain(type_: ValueType) -> ValueType:
    if type_.name == "any":
        return DYN
    return ValueType(type_.name, type_.of and _plain(type_.of))


def _fits(first: ValueType, second: ValueType) -> bool:
    if "dyn" in (first.name, second.name) or "null" in (first.name, second.name):
        return True
    if first.name != second.name:
        return False
    return first.of is None or second.of is None or _fits(first.of, second.of)


def _join(types: list[ValueType]) -> ValueType:
    return types[0] if types and all(type_ == types[0] for type_ in types) else DYN


def _error(node: Node, message: str, hint: str) -> CelError:
    return CelError(message, hint, node.start, node.end)
