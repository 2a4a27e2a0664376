"""Summaries, plans and profiles by example."""

from __future__ import annotations

import pytest

from weft.core.errors import Conflict, Invalid
from weft.graph import Edge, EdgeType, Graph, Node, NodeType
from weft.graph.traverse.steps import Hop, Query, Where
from weft.testing.clock import VirtualClock


@pytest.fixture
def graph():
    types = [
        NodeType("n", properties={"k": int, "s": str, "b": bool}),
        EdgeType("e", "n", "n", properties={"w": float}),
        EdgeType("d", "n", "n", properties={"valid_from_us": int}),
    ]
    graph = Graph.open("memory:", types, clock=VirtualClock())
    graph.put(
        nodes=[
            Node("n", "b", {"k": 1, "s": "x", "b": True}),
            Node("n", "c", {"k": 2, "s": "y"}),
            Node("n", "d"),
        ],
        edges=[Edge("e", "a", there, {"w": 0.5 + at}) for at, there in enumerate("bcd")]
        + [Edge("e", "z", "b", {"w": 8.0}), Edge("d", "a", "b", {"valid_from_us": 5})],
    )
    return graph


def test_a_summary_is_of_those_that_have_the_property(graph):
    walk = graph.start("n", ["a", "z"]).out("e")
    numbers = walk.summary("k")
    assert (numbers.count, numbers.min, numbers.max, numbers.sum, numbers.avg) == (2, 1, 2, 3, 1.5)
    weights = walk.summary("w", of="edges")
    assert (weights.count, weights.sum, weights.avg, weights.complete) == (4, 12.5, 3.125, True)
    texts = walk.summary("s")
    assert (texts.min, texts.max, texts.sum, texts.avg) == ("x", "y", None, None)
    assert walk.summary("b").sum is None
    nothing = graph.start("n", "d").out("e").summary("k")
    assert (nothing.count, nothing.min, nothing.sum, nothing.avg) == (0, None, None, None)
    cut = graph.start("n", "a").out("e", limit=1).summary("k")
    assert (cut.count, cut.complete, cut.reason) == (1, False, "step 1 walks 1 edges")


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda s: s.out("e").summary("w"), "node type `n` has no property `w`"),
        (lambda s: s.out("e").summary("k", of="edges"), "edge type `e` has no property `k`"),
        (lambda s: s.summary("w", of="edges"), "there are no `edges` to summarize"),
        (lambda s: s.summary("k", of="paths"), "there are no `paths` to summarize"),
    ],
)
def test_what_cannot_be_summarized_is_refused_before_any_read(graph, ask, says):
    graph.store.close()
    with pytest.raises(Invalid, match=says):
        ask(graph.start("n", "a"))


def test_an_explanation_reads_nothing_and_bounds_each_step(graph):
    graph.store.close()
    walk = graph.start("n", ["a", "z"]).out("e", per_node=3, where={"w": 1.0}).distinct()
    walk = walk.both("e", limit=100).where({"k": 1}).limit(2)
    assert [(step.step, step.reads, step.at_most) for step in walk.explain()] == [
        ("start n, 2 ids", [], 2),
        ("out e, where …, per_node 3", ["out/e"], 6),
        ("distinct", [], 6),
        ("both e, limit 100", ["out/e", "in/e"], 100),
        ("where …", ["node/n"], 100),
        ("limit 2", [], 2),
        ("nodes", ["node/n"], 2),
    ]
    assert [step.reads for step in graph.start("n", []).out("e").explain()] == [[], [], []]


def test_a_profile_adds_up(graph):
    profile = graph.start("n", "a").out("e").where({"k": {">": 0}}).out("e").profile()
    assert [(step.step, step.reads, step.items) for step in profile.steps] == [
        ("start n, 1 ids", 0, 0),
        ("out e", 1, 3),
        ("where …", 1, 3),
        ("out e", 1, 0),
        ("nodes", 0, 0),
    ]
    assert profile.steps[1].bytes == sum(len("b") + len(b"\x81\xa1w\xcb") + 8 for _ in "bcd")
    assert (profile.nodes, profile.complete) == (0, True)


def test_validity_begins_with_its_first_instant(graph):
    walk = graph.start("n", "a").out("d")
    assert [len(walk.as_of(us).nodes()) for us in (4, 5)] == [0, 1]


class Ticking(VirtualClock):
    def monotonic_s(self):
        self.advance(1)
        return super().monotonic_s()


@pytest.mark.parametrize("steps", [[Hop("out", "e"), Where({"k": 1})], [Hop("out", "e"), Hop("out", "e")]])
def test_what_was_cut_before_the_last_part_has_no_next(graph, steps):
    graph.clock = Ticking()
    cuts = [graph.traverse(Query("n", ["a"], steps, within_s=ticks + 0.5)).nodes() for ticks in range(6)]
    assert {(cut.complete, cut.next) for cut in cuts} == {(False, None), (True, None)}


def test_a_key_is_bound_to_the_node_that_it_is_of(graph):
    """The only node before the last step is another one when the next page is asked for."""
    walk = graph.start("n", ["b", "a"]).order_by("-k").limit(1).out("e")
    graph.put(edges=[Edge("e", "b", "c"), Edge("e", "b", "d")])
    token = walk.edges(page=1).next
    graph.put(nodes=[Node("n", "a", {"k": 9})])
    with pytest.raises(Conflict, match="has changed since"):
        walk.edges(page=1, after=token)


def test_a_profile_would_count_what_is_hidden(graph):
    class Nobody:
        def visible(self, nodes):
            return [False for _ in nodes]

    with pytest.raises(Invalid, match="counts what is hidden"):
        graph.start("n", "a", visibility=Nobody()).out("e").profile()
