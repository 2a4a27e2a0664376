"""Explain: why a check came out as it did, read off the cells that decided it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.authz.evaluate import ALL, ANY, NOT, Cell, Question, Value
from weft.authz.plan import Plan, Rule, Tuples
from weft.authz.results import Decision
from weft.authz.schema.model import Exclusion, Intersection, Union
from weft.authz.tuples import RelationTuple, User


class Reason(msgspec.Struct, frozen=True):
    """One step of the reasoning, and the steps below it that it rests on."""

    text: str
    verdict: str
    """`allowed`, `denied`, `conditional` or `loop` (an exclusion that depends on itself)."""
    children: tuple[Reason, ...] = ()

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The reason as an indented outline."""
        yield f"{'  ' * depth}{self.verdict}: {self.text}"
        for child in self.children:
            yield from child.lines(depth + 1)


class Explanation(msgspec.Struct, frozen=True):
    """A decision with its reasons: the shortest path where allowed, else everything that was tried."""

    decision: Decision
    reason: Reason
    would_allow: tuple[str, ...] = ()
    """Tuples, each of which alone would have turned a denial into an allowance; the nearest first."""
    loop: tuple[str, ...] = ()
    """The relations that an exclusion depends on itself through; it denies."""

    def __str__(self) -> str:
        lines = list(self.reason.lines())
        if self.loop:
            lines.append("an exclusion depends on itself: " + " -> ".join(self.loop))
        if self.would_allow:
            lines.append("any one of these would allow it: " + ", ".join(self.would_allow))
        return "\n".join(lines)


class Explainer:
    """The reasons behind the decided cells of one traced evaluation."""

    def __init__(self, root: Cell) -> None:
        self._root = root
        self._told: set[Cell] = set()
        self._sizes = _proof_sizes(root)

    def reason(self) -> Reason:
        """The reasons for the root's value; what stands in several places is reasoned in the first."""
        self._told.clear()
        return self._reason(self._root)

    def loop(self) -> tuple[str, ...]:
        """The relations of a cycle that nothing decides, first and last the same; else empty."""
        path: list[Cell] = []
        cell: Cell | None = self._root if self._root.value == frozenset() else None
        while cell is not None and cell not in path:
            path.append(cell)
            cell = next((child for child in cell.children if child.value == frozenset()), None)
        if cell is None:
            return ()
        around = [*path[path.index(cell) :], cell]
        return tuple(_userset(step.question) for step in around if step.question)

    def _reason(self, cell: Cell) -> Reason:
        parts = () if cell in self._told else self._parts(cell)
        if cell.question is None and cell.via is None and cell.op == ANY and len(parts) == 1:
            return parts[0]
        return Reason(_text(cell), _verdict(cell.value), tuple(parts))

    def _parts(self, cell: Cell) -> tuple[Reason, ...]:
        self._told.add(cell)
        chosen = [child for child in cell.children if self._matters(cell, child)]
        if cell.op == (ANY if cell.value is True else ALL) and isinstance(cell.value, bool):
            chosen = sorted(chosen, key=lambda child: self._sizes.get(child, 0))[:1]
        reasons = [self._reason(child) for child in chosen]
        flat: list[Reason] = []
        for child, reason in zip(chosen, reasons, strict=True):
            plain = child.question is None and child.via is None and child.op == cell.op
            flat.extend(reason.children if plain and reason.children else [reason])
        return tuple(flat)

    def _matters(self, cell: Cell, child: Cell) -> bool:
        if child.value is None:
            return False
        if cell.op == NOT:
            return True
        if isinstance(cell.value, bool):
            return child.value is cell.value
        return isinstance(child.value, frozenset)


def suggestions(plan: Plan, root: Cell, limit: int) -> list[str]:
    """Tuples that are not there and would be looked at, nearest first; they are yet to be tried."""
    found: dict[str, None] = {}
    seen = {root}
    level = [root]
    while level and len(found) < limit:
        below: list[Cell] = []
        for cell in level:
            if cell.question is not None and cell.value is not True:
                for text in _would_be_read(plan, cell.question):
                    found.setdefault(text)
            fresh = [child for child in cell.children if child not in seen]
            seen.update(fresh)
            below.extend(fresh)
        level = below
    return list(found)[:limit]


def _would_be_read(plan: Plan, question: Question) -> Iterator[str]:
    user, object_, relation = question
    for leaf in _leaves(plan.rule(object_.namespace, relation, user)):
        if leaf.named:
            yield str(RelationTuple(object_, relation, User(user.namespace, user.id, user.relation)))


def _leaves(rule: Rule) -> Iterator[Tuples]:
    match rule:
        case Tuples():
            yield rule
        case Union(children) | Intersection(children):
            for child in children:
                yield from _leaves(child)
        case Exclusion(base):
            yield from _leaves(base)


def _proof_sizes(root: Cell) -> dict[Cell, int]:
    """How many steps the shortest proof of each true cell takes; cycles prove nothing."""
    cells = {root: None}
    for cell in cells_below(root):
        cells.setdefault(cell)
    sizes: dict[Cell, int] = {}
    grew = True
    while grew:
        grew = False
        for cell in cells:
            size = _proof_size(cell, sizes)
            if size is not None and size < sizes.get(cell, size + 1):
                sizes[cell] = size
                grew = True
    return sizes


def _proof_size(cell: Cell, sizes: dict[Cell, int]) -> int | None:
    if cell.value is not True:
        return None
    if cell.op == NOT or not cell.children:
        return 1
    known = [sizes[child] for child in cell.children if child in sizes]
    if cell.op == ANY:
        return 1 + min(known) if known else None
    return 1 + max(known) if len(known) == len(cell.children) else None


def cells_below(root: Cell) -> list[Cell]:
    """All cells that the root rests on, itself among them."""
    found = {root: None}
    todo = [root]
    while todo:
        for child in todo.pop().children:
            if child not in found:
                found[child] = None
                todo.append(child)
    return list(found)


def _text(cell: Cell) -> str:
    if cell.via is not None:
        return f"by `{cell.via}`"
    if cell.question is not None:
        return f"`{cell.question[0]}` in `{_userset(cell.question)}`"
    return {ANY: "any of", ALL: "all of", NOT: "not"}[cell.op]


def _userset(question: Question | None) -> str:
    return f"{question[1]}#{question[2]}" if question else ""


def _verdict(value: Value | None) -> str:
    if isinstance(value, bool):
        return "allowed" if value else "denied"
    if not value:
        return "loop"
    return "conditional on " + ", ".join(f"`{name}`" for name in sorted(value))
