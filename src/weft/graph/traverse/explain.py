"""What a traversal is going to do, before any read, and what it did: per step, reads, bytes and time."""

from __future__ import annotations

from typing import Any

import msgspec

from weft.core.clock import Clock
from weft.core.limits import MAX_EDGES_PER_STEP
from weft.graph import layout
from weft.graph.traverse.plan import Order, Plan, PlannedHop, PlannedStep, PlannedWhere
from weft.graph.traverse.reads import Ask, Read, Request, Scan
from weft.graph.traverse.steps import Limit, Query
from weft.kv.model import Page, RecordPage


class StepPlan(msgspec.Struct, frozen=True):
    """One step: which namespaces it reads (none where nothing can be left to read for, or nothing is read),
    and the most nodes or edges that it can leave. A filter may leave less; nothing is estimated from data.
    A `packed` step reads arrays of this process, unless the store has to be asked after all."""

    step: str
    reads: list[str]
    at_most: int
    packed: bool = False


class StepProfile(msgspec.Struct):
    """What one step did: calls to the store, items (or ids) and bytes of keys and values that they returned,
    nodes that visibility was asked about, and wall time. A packed step calls for no reads; its items are the
    edges that it walked or the nodes that it returned."""

    step: str
    reads: int = 0
    items: int = 0
    bytes: int = 0
    asked: int = 0
    seconds: float = 0.0


class Profile(msgspec.Struct, frozen=True):
    """A run of `nodes()`, step by step."""

    steps: list[StepProfile]
    nodes: int
    seconds: float
    complete: bool
    reason: str
    packed: bool = False


def explain(query: Query, plan: Plan, *, packed: bool) -> list[StepPlan]:
    """The steps of a plan, the start first and the properties of the answer's nodes last."""
    told = _explained(query, plan)
    return [msgspec.structs.replace(step, reads=[], packed=True) for step in told] if packed else told


def _explained(query: Query, plan: Plan) -> list[StepPlan]:
    names = step_names(query, plan)
    here = MAX_EDGES_PER_STEP if plan.ids is None else len(plan.ids)
    kind = plan.type
    told = [StepPlan(names[0], [layout.node_namespace(kind)] if plan.ids is None else [], here)]
    for name, step in zip(names[1:], plan.steps, strict=False):
        reads = _reads(step, kind) if here else []
        here = _at_most(step, here)
        if isinstance(step, PlannedHop):
            kind = step.to
        told.append(StepPlan(name, reads, here))
    told.append(StepPlan(names[-1], [layout.node_namespace(kind)] if here else [], here))
    return told


def step_names(query: Query, plan: Plan) -> list[str]:
    start = f"start {plan.type}" + ("" if plan.ids is None else f", {len(plan.ids):,} ids")
    return [start, *map(_name, plan.steps), "nodes"]


def _name(step: PlannedStep) -> str:
    match step:
        case PlannedHop():
            ways = ["out" if forward else "in" for _, forward in step.reads]
            bounds = {"per_node": step.per_node, "limit": step.limit}
            told = [f"{'both' if len(ways) > 1 else ways[0]} {step.edge.name}"]
            told += ["where …"] if step.test else []
            told += [_name(step.order)] if step.order else []
            return ", ".join(told + [f"{name} {number:,}" for name, number in bounds.items() if number])
        case PlannedWhere():
            return "where …"
        case Order():
            return f"order by {'-' if step.descending else ''}{step.by}"
        case Limit():
            return f"limit {step.limit:,}"
    return "distinct"


def _reads(step: PlannedStep, kind: str) -> list[str]:
    if isinstance(step, PlannedHop):
        lists = [namespace for namespace, _ in step.reads]
        if step.newest:
            lists = [layout.newest_namespace(namespace) for namespace in lists]
        return lists + [layout.pair_namespace(step.edge.name)] * (step.edge.split and step.asks)
    return [layout.node_namespace(kind)] if isinstance(step, PlannedWhere | Order) else []


def _at_most(step: PlannedStep, here: int) -> int:
    if isinstance(step, Limit):
        return min(here, step.limit)
    if not isinstance(step, PlannedHop):
        return here
    bounds = [MAX_EDGES_PER_STEP if here else 0]
    bounds += [here * step.per_node] if step.per_node else []
    return min(bounds + ([step.limit] if step.limit else []))


class Meter:
    """Notes what the steps of one run do."""

    def __init__(self, names: list[str], clock: Clock) -> None:
        self.steps = [StepProfile(name) for name in names]
        self._clock = clock
        self._at = 0
        self._since_s = clock.monotonic_s()

    def entered(self, number: int) -> None:
        """The time since the last call was that of the step before."""
        now_s = self._clock.monotonic_s()
        self.steps[self._at].seconds += now_s - self._since_s
        self._at, self._since_s = number, now_s

    def walked(self, items: int) -> None:
        """A packed step passed so many edges or nodes."""
        self.steps[self._at].items += items

    def profile(self, nodes: int, reason: str, *, packed: bool) -> Profile:
        """What was noted, once the last step is done."""
        self.entered(0)
        seconds = sum(step.seconds for step in self.steps)
        return Profile(self.steps, nodes, seconds, not reason, reason, packed)

    def answered(self, request: Request, reply: Any) -> None:
        step = self.steps[self._at]
        if isinstance(request, Ask):
            step.asked += len(request.nodes)
            return
        step.reads += 1
        if isinstance(request, Read):
            page: Page = reply
            found = page.items()
            step.items += len(found)
            step.bytes += sum(len(item.key) + len(item.value) for item in found)
        elif isinstance(request, Scan):
            ids: RecordPage = reply
            step.items += len(ids.records)
            step.bytes += sum(map(len, ids.records))
