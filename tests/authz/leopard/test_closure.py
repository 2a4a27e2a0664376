"""Long walks of added and removed edges: sets are right, or dirty and too large."""

from __future__ import annotations

import pytest
from pyroaring import BitMap

from weft.authz.leopard.closure import Closure
from weft.core.randomness import derived_random

NODES = range(7)
STEPS = 5_000


def reached(edges: set[tuple[int, int]], start: int) -> set[int]:
    found = {start}
    while more := {child for parent, child in edges if parent in found} - found:
        found |= more
    return found


@pytest.mark.parametrize("at_once", [0, 4, 100])
def test_sets_are_right_or_dirty_and_too_large(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.authz.leopard.closure._AT_ONCE", at_once)
    rng = derived_random(at_once, "closure")
    closure, edges = Closure(), set()
    asked = exact = 0
    for step in range(STEPS):
        edge = rng.choice(NODES), rng.choice(NODES)
        if edge in edges or rng.random() < len(edges) / 20:
            edge = edge if edge in edges else rng.choice(sorted(edges))
            edges.discard(edge)
            closure.remove(*edge)
        else:
            edges.add(edge)
            closure.add(*edge)
        if rng.random() < 0.05:
            closure.repair()
            assert not closure.dirty_below
            assert not closure.dirty_above
        turned = {(child, parent) for parent, child in edges}
        for sets, dirty, graph in (
            (closure.below_of, closure.dirty_below, edges),
            (closure.above_of, closure.dirty_above, turned),
        ):
            for node in NODES:
                found, expected = set(sets(node)), reached(graph, node)
                assert found >= expected, (step, node)
                assert found == expected or node in dirty, (step, node)
                asked += 1
                exact += node not in dirty
    assert exact / asked > (0.2, 0.25, 0.99)[(0, 4, 100).index(at_once)], exact / asked


def test_loading_all_edges_at_once_gives_what_adding_them_gives() -> None:
    rng = derived_random(1, "load")
    for size in range(1, 40):
        edges = [(rng.randrange(20), rng.randrange(20)) for _ in range(size)]
        loaded, grown = Closure(), Closure()
        loaded.load(edges)
        for edge in edges:
            grown.add(*edge)
        for node in range(20):
            assert loaded.below_of(node) == grown.below_of(node) == BitMap(reached(set(edges), node))
            assert loaded.above_of(node) == grown.above_of(node)


def test_a_copy_goes_its_own_way() -> None:
    closure = Closure()
    closure.load([(1, 2), (2, 3)])
    copy = closure.copy()
    copy.remove(2, 3)
    copy.add(3, 4)
    assert set(closure.below_of(1)) == {1, 2, 3}
    assert set(copy.below_of(1)) == {1, 2}
    assert set(closure.above_of(4)) == {4}
