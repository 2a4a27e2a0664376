"""Conditions: CEL expressions, type-checked when a schema is written, three-valued when a check runs.

A condition whose context is not complete is still True or False where the missing part cannot change the
outcome; else the answer is `Missing` with the names that are needed. The rule is CEL's own for unknowns:
`&&` is False when any part is, `||` True when any part is, and `all` and `exists` likewise over their items;
`? :` needs its test first; everything else needs all its parts. Missing context goes before an error.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from weft.authz.schema import cel
from weft.authz.schema.cel import Call, CelError, Comprehension, Ident, ListOf, Literal, MapOf, Node, Select
from weft.authz.schema.cel_types import Checker, parameter_type_error, parameter_type_hint
from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.model import Condition, Schema, Span, ValueType
from weft.authz.schema.values import check_size, coerce, ip_address
from weft.authz.tuples import TupleCondition
from weft.core.errors import Invalid, LimitExceeded
from weft.core.limits import MAX_CONDITION_STEPS

Context = Mapping[str, Any]
_CONTAINERS: Final = (dict, list, tuple)
_MAX_STORED: Final = 10_000
"""Conditions of tuples whose values are kept: some 10 MB."""
_OFFSET: Final = re.compile(r"([+-]?)(\d\d?):(\d\d)")


class Missing(msgspec.Struct, frozen=True):
    """The outcome depends on context that was not given; false, so that careless code denies."""

    names: frozenset[str]

    def __bool__(self) -> bool:
        return False


class _Failed(NamedTuple):
    """Evaluation met an error, which still may not matter: `true || 1/0 == 1` is True."""

    message: str


class Conditions:
    """The conditions of one schema, each compiled when first used."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._programs: dict[str, Program] = {}
        self._stored: dict[TupleCondition, tuple[Program, Context, Context]] = {}
        """What stored conditions come to: program, context, and that as values."""

    def program(self, name: str) -> Program:
        """The compiled condition; `NotFound` when the schema has none of that name."""
        if (found := self._programs.get(name)) is None:
            found = self._programs[name] = Program(self._schema.condition(name))
        return found

    def evaluate(self, condition: TupleCondition, context: Context) -> bool | Missing:
        """Whether a tuple's condition holds, or `Missing`; what is stored wins over `context`."""
        found = self._stored.get(condition)
        if found is None:
            program, stored = self.program(condition.name), condition.values()
            found = program, stored, program.values(stored)
            if len(self._stored) >= _MAX_STORED:
                self._stored = {}
            self._stored[condition] = found
        return found[0].evaluate(found[1], context, found[2])

    def check_stored(self, condition: TupleCondition) -> None:
        """`Invalid` unless the stored context fits the condition's parameters; for writers of tuples."""
        self.program(condition.name).check_stored(condition.values())


class Program:
    """One compiled condition; immutable in effect, so threads may share it."""

    def __init__(self, condition: Condition) -> None:
        """`SchemaError` when the condition is malformed, ill-typed or not a test."""
        if found := list(_parameter_problems(condition)):
            raise SchemaError(found)
        self.condition = condition
        self._parameters = {parameter.name: parameter.type for parameter in condition.parameters}
        try:
            self._tree = _Tree(condition.expression, self._parameters)
        except CelError as error:
            place = _place(condition, error.start, error.end)
            message = f"condition `{condition.name}`: {error.message}"
            raise SchemaError([Problem(message, error.hint, place)]) from None
        self._loops = any(isinstance(node, Comprehension) for node in cel.walk(self._tree.root))

    def evaluate(
        self, stored: Context, given: Context, stored_values: Context | None = None
    ) -> bool | Missing:
        """True, False or `Missing`; `Invalid` for a value of the wrong type and for an expression that fails.

        `stored` wins over `given`; names in `given` that are no parameters belong to other conditions.
        Whoever has `values(stored)` at hand may pass them.
        """
        values: Context = self.values(stored) if stored_values is None else stored_values
        name = self.condition.name
        asked = {key: given[key] for key in self._parameters if key in given and key not in stored}
        if asked:
            if any(isinstance(value, _CONTAINERS) for value in asked.values()):
                check_size((*stored.values(), *asked.values()), name)
            fresh = {key: coerce(self._parameters[key], value, key, name) for key, value in asked.items()}
            values = {**values, **fresh}
        if self._loops:
            self._check_cost(values)
        result = self._tree.value(self._tree.root, values)
        if isinstance(result, bool | Missing):
            return result
        message = result.message if isinstance(result, _Failed) else "its value is neither true nor false"
        raise Invalid(
            f"condition `{self.condition.name}` fails: {message}",
            hint="check the context, or guard the expression, for example by `has(map.key)`",
            condition=self.condition.name,
        )

    def check_stored(self, stored: Context) -> None:
        """`Invalid` unless each value is of a parameter of the condition and has its type."""
        self.values(stored)

    def values(self, context: Context) -> dict[str, Any]:
        """A context as the CEL library takes it; `Invalid` where that cannot be."""
        name = self.condition.name
        for parameter in context:
            if parameter not in self._parameters:
                known = ", ".join(f"`{known}`" for known in self._parameters)
                raise Invalid(f"condition `{name}` has no parameter `{parameter}`", hint=f"known are {known}")
        check_size(context.values(), name)
        return {key: coerce(self._parameters[key], value, key, name) for key, value in context.items()}

    def _check_cost(self, values: Context) -> None:
        longest = max((len(v) for v in _containers(values.values())), default=1) * self._tree.growth
        if _cost(self._tree.root, max(1, longest)) > MAX_CONDITION_STEPS:
            raise LimitExceeded(
                f"condition `{self.condition.name}` would take more than {MAX_CONDITION_STEPS:,} steps",
                hint="give it shorter lists, or nest fewer of `all`, `exists`, `map` and `filter`",
            )


def problems(condition: Condition) -> list[Problem]:
    """What is wrong with a condition: its parameters and types, the syntax and types of its expression."""
    try:
        Program(condition)
    except SchemaError as error:
        return list(error.problems)
    return []


def _parameter_problems(condition: Condition) -> Iterator[Problem]:
    seen: set[str] = set()
    for parameter in condition.parameters:
        what = f"parameter `{parameter.name}` of condition `{condition.name}`"
        if not cel.is_name(parameter.name):
            yield Problem(
                f"{what} has a name that CEL cannot use",
                "use letters, digits and `_`, no word of CEL",
                parameter.at,
            )
        if parameter.name in seen:
            yield Problem(f"{what} is defined twice", "remove one", parameter.at)
        seen.add(parameter.name)
        if reason := parameter_type_error(parameter.type):
            hint = parameter_type_hint(parameter.type)
            yield Problem(f"{what} has no such type: {reason}", hint, parameter.at)


def _place(condition: Condition, start: int, end: int) -> Span | None:
    """Where a part of the expression stands in the schema's text."""
    at = condition.expression_at
    if at is None:
        return condition.at
    before = condition.expression[:start].split("\n")
    column = len(before[-1]) + (at.column if len(before) == 1 else 1)
    return Span(at.line + len(before) - 1, column, max(1, end - start))


class _Tree:
    """Evaluates the nodes of one expression: by the CEL library where all values are there, by hand around
    the gaps. Each node is compiled once, when first needed."""

    def __init__(self, expression: str, parameters: Mapping[str, ValueType]) -> None:
        """`CelError` when the expression is malformed, ill-typed or no test."""
        self.root = cel.parse(expression)
        checker = Checker(parameters)
        checker.check_test(self.root)
        self._types = checker.types
        joined = [n for n in cel.walk(self.root) if isinstance(n, Call) and n.function == "+"]
        self.growth = 1 + sum(self._types[node].name == "dyn" for node in joined)
        """How much longer than any list of the context a list may get."""
        self._programs: dict[Node, tuple[Any, bool]] = {}
        self._needs: dict[Node, frozenset[str]] = {}
        self._shapes: dict[Node, Node] = {}
        try:
            self._compile(self.root)
        except ValueError:
            raise CelError("this does not compile", "write it in a simpler way", 0, len(expression)) from None

    def value(self, node: Node, values: Context) -> Any:
        """The node's value, `Missing` or `_Failed`."""
        if self._free(node) <= values.keys():
            return self._run(node, values)
        match node:
            case Ident(name=name):
                return Missing(frozenset({name}))
            case Call(function="&&", arguments=parts):
                return _settle((self.value(part, values) for part in parts), absorbing=False)
            case Call(function="||", arguments=parts):
                return _settle((self.value(part, values) for part in parts), absorbing=True)
            case Call(function="?:", arguments=(test, then, otherwise)):
                chosen = self.value(test, values)
                if not isinstance(chosen, bool):
                    return chosen if isinstance(chosen, Missing) else _failure(chosen)
                return self.value(then if chosen else otherwise, values)
            case Comprehension():
                return self._comprehension(node, values)
        found = [self.value(part, values) for part in node.parts]
        if (blocked := _unsettled(found)) is not None:
            return blocked
        return self._run(self._shape(node), {f"part{index}": value for index, value in enumerate(found)})

    def _comprehension(self, node: Comprehension, values: Context) -> Any:
        items = self.value(node.range, values)
        if isinstance(items, Missing | _Failed):
            return items
        if not isinstance(items, list | dict):
            return _Failed(f"`{node.macro}` goes over a list or a map")
        scopes = [{**values, node.variable: item} for item in items]
        bodies = (self.value(node.body, scope) for scope in scopes)
        if node.macro in ("all", "exists"):
            return _settle(bodies, absorbing=node.macro == "exists")
        if node.filter is not None:
            kept = [self.value(node.filter, scope) for scope in scopes]
            if (blocked := _unsettled(kept)) is not None:
                return blocked
            bodies = (self.value(node.body, scope) for scope, keep in zip(scopes, kept, strict=True) if keep)
        results = list(bodies)
        if (blocked := _unsettled(results)) is not None:
            return blocked
        if node.macro == "map":
            return results
        if not all(isinstance(result, bool) for result in results):
            return _Failed(f"the test of `{node.macro}` is neither true nor false")
        if node.macro == "exists_one":
            return results.count(True) == 1
        return [item for item, keep in zip(items, results, strict=True) if keep]

    def _run(self, node: Node, values: Context) -> Any:
        # Only what the node needs: the library copies all of it, for each item of a loop that has gaps.
        needed = {name: values[name] for name in self._free(node)}
        try:
            program, functions = self._compile(node)
            return program.execute({**needed, **_FUNCTIONS} if functions else needed)
        except Exception as error:
            return _Failed(" ".join(str(error).split())[:200])
        except BaseException as error:
            # A panic of the library, which is written in Rust, is no reason to stop the process.
            if type(error).__name__ != "PanicException":
                raise
            return _Failed("the CEL library gave up")

    def _compile(self, node: Node) -> tuple[Any, bool]:
        """The library's program for the node, and whether it calls functions of ours; ValueError when the
        library takes the text for malformed."""
        if (found := self._programs.get(node)) is None:
            text = self._text(node)
            found = self._programs[node] = _library().compile(text), "weft_" in text
        return found

    def _free(self, node: Node) -> frozenset[str]:
        """The names that the node needs from outside."""
        if (found := self._needs.get(node)) is None:
            if isinstance(node, Ident):
                found = frozenset({node.name})
            elif isinstance(node, Comprehension):
                inner = frozenset().union(*map(self._free, node.parts[1:]))
                found = self._free(node.range) | (inner - {node.variable})
            else:
                found = frozenset().union(*map(self._free, node.parts))
            self._needs[node] = found
        return found

    def _shape(self, node: Node) -> Node:
        """The node over placeholders `part0`, `part1` … in place of its parts."""
        if (found := self._shapes.get(node)) is None:
            holes = tuple(Ident(p.start, p.end, f"part{index}") for index, p in enumerate(node.parts))
            self._types.update(zip(holes, (self._types[part] for part in node.parts), strict=True))
            found = _with_parts(node, holes)
            self._types[found] = self._types[node]
            self._shapes[node] = found
        return found

    def _text(self, node: Node) -> str:
        """The node as text for the library, which cannot tell a Python int for a uint by itself."""
        text = self._plain_text(node)
        reads = isinstance(node, Ident | Select) or (isinstance(node, Call) and node.function == "[]")
        return f"uint({text})" if reads and self._types[node].name == "uint" else text

    def _plain_text(self, node: Node) -> str:
        parts = [self._text(part) for part in node.parts]
        match node:
            case Literal(text=text):
                return f"({text})"
            case Ident(name=name):
                return name
            case Select(name=name, test=test):
                return f"has({parts[0]}.{name})" if test else f"{parts[0]}.{name}"
            case ListOf():
                return f"[{', '.join(parts)}]"
            case MapOf():
                pairs = zip(parts[::2], parts[1::2], strict=True)
                return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"
            case Comprehension(macro=macro, variable=variable):
                return f"{parts[0]}.{macro}({', '.join([variable, *parts[1:]])})"
            case Call(function="?:"):
                return f"({parts[0]} ? {parts[1]} : {parts[2]})"
            case Call(function="[]"):
                return f"{parts[0]}[{parts[1]}]"
            case Call(function="!"):
                return f"(!{parts[0]})"
            case Call(function="neg"):
                return f"(-{parts[0]})"
            case Call(function="size" | "in_cidr" | "ipaddress" as name):
                return f"weft_{name}({', '.join(parts)})"
            case Call(function=name, method=True) if name.startswith("get") and len(parts) == 2:
                return f"weft_calendar('{name}', {', '.join(parts)})"
            case Call(function=name, method=True):
                return f"{parts[0]}.{name}({', '.join(parts[1:])})"
            case Call(function=name) if name.isidentifier() and name != "in":
                return f"{name}({', '.join(parts)})"
            case Call(function=sign):
                return f"({f' {sign} '.join(parts)})"
        raise AssertionError(node)


def _with_parts(node: Node, parts: tuple[Node, ...]) -> Node:
    match node:
        case Select():
            return replace(node, operand=parts[0])
        case ListOf():
            return replace(node, items=parts)
        case MapOf():
            return replace(node, entries=tuple(zip(parts[::2], parts[1::2], strict=True)))
        case Call():
            return replace(node, arguments=parts)
    raise AssertionError(node)


def _settle(results: Iterable[Any], *, absorbing: bool) -> Any:
    """`||` (absorbing True) or `&&` (absorbing False) over values, some of which may not be known."""
    seen = []
    for result in results:
        if result is absorbing:
            return absorbing
        seen.append(result if isinstance(result, bool | Missing) else _failure(result))
    blocked = _unsettled(seen)
    return not absorbing if blocked is None else blocked


def _failure(result: Any) -> _Failed:
    return result if isinstance(result, _Failed) else _Failed("a part is neither true nor false")


def _unsettled(results: list[Any]) -> Missing | _Failed | None:
    """All that is missing; else the first failure; else None."""
    names = [result.names for result in results if isinstance(result, Missing)]
    if names:
        return Missing(frozenset().union(*names))
    return next((result for result in results if isinstance(result, _Failed)), None)


def _cost(node: Node, items: int) -> int:
    """A bound on the steps of an evaluation over lists of at most so many items."""
    if isinstance(node, Comprehension):
        inner = sum(_cost(part, items) for part in node.parts[1:])
        return _cost(node.range, items) + _length(node.range, items) * inner
    return 1 + sum(_cost(part, items) for part in node.parts)


def _length(node: Node, items: int) -> int:
    """A bound on the length of a list that the node makes."""
    match node:
        case ListOf() | MapOf():
            return max(1, len(node.parts), *(_length(part, items) for part in node.parts))
        case Comprehension(range=range_, body=body):
            return max(_length(range_, items), _length(body, items))
        case Call(function="?:", arguments=parts):
            return max(_length(part, items) for part in parts)
    return items


def _containers(values: Iterable[Any]) -> Iterator[list[Any] | dict[str, Any]]:
    for value in values:
        if isinstance(value, list | dict):
            yield value
            yield from _containers(value.values() if isinstance(value, dict) else value)


@cache
def _library() -> Any:
    """The CEL library, imported when the first condition runs."""
    return importlib.import_module("cel")


def _size(value: Any) -> int:
    """The size of a string in code points; the library would count its bytes."""
    return len(value)


def _in_cidr(address: str, network: str) -> bool:
    """Whether the network holds the address; an IPv4 address inside IPv6 counts as the IPv4 address it is."""
    one = ipaddress.ip_address(address)
    if isinstance(one, ipaddress.IPv6Address) and one.ipv4_mapped is not None:
        one = one.ipv4_mapped
    return one in _network(network)


@lru_cache(maxsize=1_024)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    whole = ipaddress.ip_network(text, strict=False)
    if isinstance(whole, ipaddress.IPv6Network) and whole.prefixlen >= 96:
        mapped = whole.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, whole.prefixlen - 96))
    return whole


def _calendar(method: str, instant: datetime, zone: str) -> int:
    """What `instant.getHours(zone)` and its like are, which the library knows for UTC alone."""
    local = instant.astimezone(_zone(zone))
    match method:
        case "getFullYear":
            return local.year
        case "getMonth":
            return local.month - 1
        case "getDate":
            return local.day
        case "getDayOfMonth":
            return local.day - 1
        case "getDayOfWeek":
            return local.isoweekday() % 7
        case "getDayOfYear":
            return local.timetuple().tm_yday - 1
        case "getHours":
            return local.hour
        case "getMinutes":
            return local.minute
        case "getSeconds":
            return local.second
    return local.microsecond // 1_000


def _zone(name: str) -> tzinfo:
    """A zone by its name in the IANA database, or by its offset from UTC: `+02:00`."""
    if offset := _OFFSET.fullmatch(name):
        size = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-size if offset[1] == "-" else size)
    return ZoneInfo(name)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "weft_size": _size,
    "weft_calendar": _calendar,
    "weft_in_cidr": _in_cidr,
    "weft_ipaddress": ip_address,
}
