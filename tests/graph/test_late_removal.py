"""A removal that is written long after its event hides late events for as long as a fresh one does."""

from __future__ import annotations

import pytest

from weft.core.limits import MAX_LATENESS_US
from weft.graph import Edge, EdgeRef, EdgeType, Graph, Node, NodeRef, NodeType, Remove, job
from weft.graph.ingest.sources import IterSource
from weft.testing.clock import START_US, VirtualClock

DAY_S = 24 * 3_600
REMOVED_US = START_US - 30 * DAY_S * 1_000_000
LATE = [[Edge("e", "a", "b", {"at": 1}, REMOVED_US - 1), Node("n", "a", {"at": 1}, REMOVED_US - 1)]]
REMOVALS = [[Remove(EdgeRef("e", "a", "b")), Remove(NodeRef("n", "a"))]]


@job
def replay(event):
    return event.value


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture(params=["memory", "lmdb"])
def graph(request, tmp_path, clock):
    types = [
        NodeType("n", properties={"at": int}),
        EdgeType("e", source="n", target="n", properties={"at": int}),
    ]
    where = "memory:" if request.param == "memory" else tmp_path / "graph"
    with Graph.open(where, types, clock=clock) as graph:
        yield graph


def ingest(graph, name, groups, time_us=REMOVED_US):
    return graph.ingest(replay, IterSource(name, groups, time_us=lambda _: time_us))


def shown(graph):
    return list(graph.start("n", "a").out("e").edges()), graph.node("n", "a")


def sweep(graph):
    total = 0
    while reclaimed := graph.store.sweep():
        total += reclaimed
    return total


def stored(graph):
    return sum(graph.store.stats(name).stored_items for name in ("out/e", "in/e", "node/n"))


def test_it_hides_what_arrives_within_the_lateness_after_it_was_written(graph, clock):
    ingest(graph, "backfill", REMOVALS)
    for late in ("at once", "after days"):
        sweep(graph)
        ingest(graph, late, LATE)
        assert shown(graph) == ([], None)
        clock.advance(6 * DAY_S)
    clock.advance(MAX_LATENESS_US / 1e6)
    assert sweep(graph) == 3
    assert stored(graph) == 0


def test_a_crashed_run_that_repeats_it_changes_nothing_that_is_seen(graph, clock):
    """Also not that a later event at the same instant wins, whenever the removal is written again."""
    both = [*REMOVALS, [Edge("e", "a", "b", {"at": 2})]]
    ingest(graph, "backfill", both)
    first = shown(graph)
    assert [edge.properties for edge in first[0]] == [{"at": 2}]
    clock.advance(3 * DAY_S)
    graph.store.delete("graph/offsets", b"replay/backfill", event_time_us=START_US)
    assert ingest(graph, "backfill", REMOVALS).updates == 2
    assert shown(graph) == first
