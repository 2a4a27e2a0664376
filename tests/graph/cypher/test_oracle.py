"""Queries equal brute force, for every query, graph and reader."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby

from hypothesis import given, reject
from hypothesis import strategies as st

from weft.core.errors import Invalid
from weft.graph import Graph, NodeRef
from weft.graph.cypher.parser import parse
from weft.graph.schema import Schema
from weft.testing.graph import IDS, LAYOUTS, TYPES
from weft.testing.graph_cypher import TooMany, order, query_model
from weft.testing.graph_cypher_queries import cypher_queries, small_graphs

SCHEMA = Schema(TYPES)
hidden_sets = st.none() | st.sets(
    st.builds(NodeRef, st.sampled_from(["person", "thing"]), st.sampled_from(IDS)), max_size=4
)


class Blind:
    def __init__(self, hidden):
        self.hidden = hidden

    def visible(self, nodes):
        return [node not in self.hidden for node in nodes]


def _stored(model, types):
    graph = Graph.open("memory:", types)
    graph.put(nodes=model.nodes.values(), edges=model.edges.values())
    return graph


def _counted(rows):
    return Counter(repr([order(value) for value in row.values()]) for row in rows)


@given(small_graphs(), cypher_queries(), hidden_sets, st.sampled_from(LAYOUTS))
def test_every_answer_equals_brute_force(model, query, hidden, types):
    clauses = parse(query.text)
    reader = None if hidden is None else Blind(hidden)
    graph = _stored(model, types)
    refused = None
    try:
        expected = query_model(
            model, SCHEMA, clauses, query.parameters, lambda ref: ref not in (hidden or ())
        )
        found = (graph if reader is None else graph.seen_by(reader)).query(query.text, **query.parameters)
    except TooMany:
        reject()
    except Invalid as error:
        refused = error
    if refused is not None:
        assert "no such path can exist" in refused.message
        aggregated = re.search(r"count|sum|min|max|avg|collect", query.text)
        assert not expected.rows or aggregated or re.search("OPTIONAL|WHERE", query.text)
        return
    assert list(found.columns) == expected.columns
    whole = range(len(expected.rows))[expected.start : expected.end]
    assert len(found) == len(whole)
    assert found.complete == (expected.end is None or expected.end >= len(expected.rows))
    # Rows that the order leaves equal may come in any order, and any of them may be cut.
    for _, same in groupby(whole, key=lambda at: expected.keys[at]):
        places = list(same)
        got = _counted(found[at - expected.start] for at in places)
        able = _counted(
            row
            for row, key in zip(expected.rows, expected.keys, strict=True)
            if key == expected.keys[places[0]]
        )
        assert got <= able
