"""Traversals equal brute force, for every query, graph, page size and reader."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from weft.graph import Edge, Graph, Node, NodeRef, job
from weft.graph.ingest.sources import IterSource
from weft.graph.schema import Schema
from weft.graph.traverse.steps import Query, from_json, to_json
from weft.testing.graph import IDS, LAYOUTS, TYPES, graphs, queries, walk_model

SCHEMA = Schema(TYPES)


class Blind:
    def __init__(self, hidden):
        self.hidden = hidden
        self.asked = []

    def visible(self, nodes):
        self.asked += nodes
        return [node not in self.hidden for node in nodes]


layouts = st.sampled_from(LAYOUTS)


@job
def replay(event):
    return event.value


def _stored(model, types=TYPES):
    """All that was ever written, and not only what holds."""
    graph = Graph.open("memory:", types)
    graph.ingest(replay, IterSource("s", [[one] for one in model.outputs], time_us=lambda _: 1))
    return graph


hidden_sets = st.none() | st.sets(
    st.builds(NodeRef, st.sampled_from(["person", "thing"]), st.sampled_from(IDS)), max_size=4
)


@given(graphs(), queries(), hidden_sets, layouts)
def test_every_answer_equals_brute_force(model, query, hidden, types):
    graph = _stored(model, types)
    reader = None if hidden is None else Blind(hidden)
    expected = walk_model(model, SCHEMA, query, lambda ref: ref not in (hidden or ()))
    walk = graph.traverse(query, visibility=reader)

    nodes = walk.nodes()
    assert [node.id for node in nodes] == expected.nodes
    for node in nodes:
        known = model.nodes.get(node.ref)
        assert node == (known or Node(node.type, node.id))
    assert walk.count() == len(expected.nodes)
    groups = {group.key.id: group.count for group in walk.count_by()}
    assert groups == Counter(one.nodes[-1] for one in expected.walks)
    paths = walk.paths()
    assert Counter((tuple(node.id for node in path.nodes), repr(path.edges)) for path in paths) == Counter(
        (one.nodes, repr(list(one.edges))) for one in expected.walks
    )
    if reader is not None:
        assert max(Counter(reader.asked).values(), default=0) <= 4  # once in each of the four runs


@given(graphs(), queries(), layouts)
def test_edges_are_those_of_the_last_hop(model, query, types):
    expected = walk_model(model, SCHEMA, query)
    walk = _stored(model, types).traverse(query)
    assert list(walk.edges()) == expected.edges
    if expected.steps:
        numbers = [edge.properties["n"] for edge in expected.edges if "n" in edge.properties]
        assert walk.summary("n", of="edges").sum == (sum(numbers) if numbers else None)


@given(queries())
def test_a_query_survives_json(query):
    assert from_json(to_json(query)) == query


@given(graphs(), queries(), layouts)
def test_complete_means_that_no_limit_changed_the_answer(model, query, types):
    graph = _stored(model, types)
    unlimited = Query(
        query.type,
        query.ids,
        [
            msgspec.structs.replace(step, limit=None, per_node=None) if hasattr(step, "per_node") else step
            for step in query.steps
            if not (hasattr(step, "limit") and not hasattr(step, "per_node"))
        ],
        query.as_of_us,
    )
    if graph.traverse(query).nodes().complete:
        assert walk_model(model, SCHEMA, query).nodes == walk_model(model, SCHEMA, unlimited).nodes


@given(graphs())
def test_both_directions_hold_the_same_edges(model):
    graph = _stored(model)
    forward = {edge.ref: edge for edge in graph.start("person", IDS).out("knows").edges()}
    backward = {edge.ref: edge for edge in graph.start("person", IDS).in_("knows").edges()}
    assert forward == backward == {ref: e for ref, e in model.edges.items() if ref.type == "knows"}
    assert all(isinstance(edge, Edge) for edge in forward.values())
