"""WITH and RETURN: columns, groups, DISTINCT, ORDER BY, SKIP and LIMIT."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.graph.cypher.compile import Bound, Compiled, Compiler, Row, Scope
from weft.graph.cypher.functions import AGGREGATES
from weft.graph.cypher.match import Matcher
from weft.graph.cypher.plan import Step, plan_where
from weft.graph.cypher.syntax import Call, Expression, Item, Projection, Variable, parts, within
from weft.graph.cypher.values import check_size, order_key
from weft.graph.traverse.reads import Asking


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`of` is None for `count(*)`."""

    name: str
    of: Compiled | None
    distinct: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Rows with equal keys become one row: the keys, then the aggregates."""

    keys: tuple[Compiled, ...]
    aggregates: tuple[Aggregate, ...]


@dataclass(frozen=True, slots=True)
class Project:
    columns: tuple[str, ...]
    group: Group | None
    items: tuple[Compiled, ...]
    distinct: bool
    order: tuple[tuple[Compiled, bool], ...]
    over_rows: bool
    """Whether the order may ask for what the rows held before."""
    skip: int
    limit: int | None
    where: tuple[Step, ...]


def plan_projection(clause: Projection, scope: Scope, compiler: Compiler) -> tuple[Project, Scope]:
    """The plan of a WITH or RETURN after what `scope` holds, and the scope after it."""
    items = _items(clause, scope, compiler)
    aggregated = any(_aggregates(item.expression) for item in items)
    group, inner = _group(items, scope, compiler) if aggregated else (None, scope)
    columns = []
    for item in items:
        _check_mixed(item, inner, scope, compiler, aggregated)
        columns.append(compiler.compile(item.expression, inner))
    names = {item.name: _bound(item, at, scope) for at, item in enumerate(items, 1)}
    after = Scope(names, len(items) + 1)
    over_rows = not (aggregated or clause.distinct)
    ordering = _ordering(items, names, scope if over_rows else Scope({}, 1))
    order = [(compiler.compile(sort.expression, ordering), sort.descending) for sort in clause.order]
    project = Project(
        columns=tuple(item.name for item in items),
        group=group,
        items=tuple(columns),
        distinct=clause.distinct,
        order=tuple(order),
        over_rows=over_rows,
        skip=_count("SKIP", clause.skip, compiler) or 0,
        limit=_count("LIMIT", clause.limit, compiler),
        where=plan_where(clause.where, after, compiler),
    )
    return project, after


def _items(clause: Projection, scope: Scope, compiler: Compiler) -> list[Item]:
    every = [Item(Variable(name, at=clause.at), name, at=clause.at) for name in sorted(scope.names)]
    if clause.star and not every:
        raise compiler.error("`*` stands for nothing here", "name a node or an edge", clause.at)
    items = [*(every if clause.star else []), *clause.items]
    seen = set()
    for item in items:
        if item.name in seen:
            hint = "rename one with AS"
            raise compiler.error(f"two columns are named `{item.name}`", hint, item.at)
        seen.add(item.name)
    return items


def _aggregates(expression: Expression) -> list[Call]:
    return [one for one in within(expression) if isinstance(one, Call) and one.name in AGGREGATES]


def _group(items: list[Item], scope: Scope, compiler: Compiler) -> tuple[Group, Scope]:
    """How to group, and the scope of the grouped rows."""
    keys = dict.fromkeys(item.expression for item in items if not _aggregates(item.expression))
    calls = dict.fromkeys(call for item in items for call in _aggregates(item.expression))
    known = {expression: at for at, expression in enumerate([*keys, *calls], 1)}
    group = Group(
        tuple(compiler.compile(key, scope) for key in keys),
        tuple(_plan_aggregate(call, scope, compiler) for call in calls),
    )
    # What is no key of its own has no one value in a group.
    names = {key.name: scope.names[key.name] for key in keys if isinstance(key, Variable)}
    slots = {name: Bound(known[Variable(name)], old.kind, old.types) for name, old in names.items()}
    return group, Scope(slots, len(known) + 1, known)


def _plan_aggregate(call: Call, scope: Scope, compiler: Compiler) -> Aggregate:
    if (call.name, call.arguments) == ("count", ()):
        return Aggregate("count", None, False)
    if len(call.arguments) != 1:
        raise compiler.error(f"`{call.name}` takes one value", "", call.at, len(call.name))
    return Aggregate(call.name, compiler.compile(call.arguments[0], scope), call.distinct)


def _check_mixed(item: Item, inner: Scope, scope: Scope, compiler: Compiler, aggregated: bool) -> None:
    """A name beside an aggregate has to be a column itself."""
    if aggregated:
        for name in _loose(item.expression, inner):
            if name.name in scope.names and name.name not in inner.names:
                raise compiler.error(
                    f"`{name.name}` beside an aggregate has many values",
                    "make it a column of its own, or aggregate it in a WITH before",
                    name.at,
                    len(name.name),
                )


def _loose(expression: Expression, scope: Scope) -> Iterable[Variable]:
    if expression in scope.known:
        return
    if isinstance(expression, Variable):
        yield expression
    for part in parts(expression):
        yield from _loose(part, scope)


def _bound(item: Item, slot: int, scope: Scope) -> Bound:
    if isinstance(item.expression, Variable):
        old = scope.names[item.expression.name]
        return Bound(slot, old.kind, old.types)
    return Bound(slot, "value")


def _ordering(items: list[Item], names: dict[str, Bound], before: Scope) -> Scope:
    """The scope of a row from before with the new columns after it."""
    shift = before.width - 1
    new = {name: Bound(bound.slot + shift, bound.kind, bound.types) for name, bound in names.items()}
    known = {item.expression: new[item.name].slot for item in items}
    return Scope({**before.names, **new}, before.width + len(items), known)


def _count(word: str, expression: Expression | None, compiler: Compiler) -> int | None:
    if expression is None:
        return None
    value = compiler.constant(expression)
    if type(value) is not int or value < 0:
        hint = "use a whole number of at least 0"
        raise compiler.error(f"`{word}` takes a number, not `{value!r:.40}`", hint, expression.at)
    return value


def project(matcher: Matcher, plan: Project, rows: list[Row]) -> Asking[list[Row]]:
    """The rows of the new columns; their first slot is unused."""
    if plan.group is not None:
        rows = yield from _grouped(matcher, plan.group, rows)
    yield from matcher.load(plan.items, rows)
    made = [(0, *(item.get(row) for item in plan.items)) for row in rows]
    for row in made:
        for value in row:
            check_size(value)
    pairs = list(zip(rows, made, strict=True))
    if plan.distinct:
        pairs = list({tuple(map(order_key, new)): (old, new) for old, new in reversed(pairs)}.values())[::-1]
    if plan.order:
        pairs = yield from _sorted(matcher, plan, pairs)
    found = [new for _, new in pairs[plan.skip :]]
    if plan.limit is not None and len(found) > plan.limit:
        matcher.cut(f"`LIMIT` keeps {plan.limit:,} rows")
        del found[plan.limit :]
    return (yield from matcher.run(plan.where, found))


def _sorted(matcher: Matcher, plan: Project, pairs: list[tuple[Row, Row]]) -> Asking[list[tuple[Row, Row]]]:
    wide = [(old + new[1:] if plan.over_rows else new, (old, new)) for old, new in pairs]
    yield from matcher.load([by for by, _ in plan.order], [row for row, _ in wide])
    for by, descending in reversed(plan.order):
        wide.sort(key=lambda one: order_key(by.get(one[0])), reverse=descending)
    return [pair for _, pair in wide]


def _grouped(matcher: Matcher, group: Group, rows: list[Row]) -> Asking[list[Row]]:
    every = [*group.keys, *(one.of for one in group.aggregates if one.of is not None)]
    yield from matcher.load(every, rows)
    groups: dict[tuple[object, ...], tuple[Row, list[Row]]] = {}
    for row in rows:
        values = tuple(key.get(row) for key in group.keys)
        groups.setdefault(tuple(map(order_key, values)), (values, []))[1].append(row)
    if not group.keys and not groups:
        groups[()] = ((), [])
    return [
        (0, *values, *(_aggregate(one, members) for one in group.aggregates))
        for values, members in groups.values()
    ]


def _aggregate(aggregate: Aggregate, rows: list[Row]) -> object:
    if aggregate.of is None:
        return len(rows)
    values = [value for row in rows if (value := aggregate.of.get(row)) is not None]
    if aggregate.distinct:
        values = list({order_key(value): value for value in reversed(values)}.values())[::-1]
    return AGGREGATES[aggregate.name](values)
