"""A node with very many edges: pages, limits and lookups cost what they return, not what the node has."""

from __future__ import annotations

import pytest

from weft.graph import Edge, EdgeType, Graph, NodeType

EDGES = 25_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    types = [NodeType("n"), EdgeType("e", "n", "n", properties={"k": int})]
    with Graph.open(tmp_path_factory.mktemp("graph") / "g", types) as graph:
        graph.put(edges=[Edge("e", "hub", f"{n:06}", {"k": n % 10}) for n in range(EDGES)])
        yield graph


@pytest.mark.parametrize(
    ("bounds", "items"),
    [
        ({"per_node": 100}, 101),
        ({"limit": 100}, 101),
        ({"per_node": 100, "where": {"k": {"<": 5}}}, 10_000),
    ],
)
def test_a_bound_keeps_the_rest_unread(hub, bounds, items):
    profile = hub.start("n", "hub").out("e", **bounds).profile()
    assert [step.items for step in profile.steps] == [0, items, 0]
    assert profile.nodes == 100


@pytest.mark.parametrize("things", ["nodes", "edges"])
def test_no_page_reads_more_than_it_returns_and_one(hub, things, monkeypatch):
    read = []
    get_items = hub.store.get_items

    def counting(namespace, *arguments, **named):
        page = get_items(namespace, *arguments, **named)
        read.append(len(page.items()) if namespace == "out/e" else 0)
        return page

    monkeypatch.setattr(hub.store, "get_items", counting)
    seen, after, pages = [], None, 0
    while pages == 0 or after is not None:
        found = getattr(hub.start("n", "hub").out("e"), things)(page=4_000, after=after)
        seen += [thing.id if things == "nodes" else thing.target for thing in found]
        after, pages = found.next, pages + 1
    assert seen == [f"{n:06}" for n in range(EDGES)]
    assert pages == 7
    assert max(read) <= 4_001


def test_a_hop_stops_at_its_bound_on_memory_and_goes_on_from_there(hub, monkeypatch):
    monkeypatch.setattr("weft.graph.traverse.walk.MAX_EDGES_PER_STEP", 11_000)
    first = hub.start("n", "hub").out("e").edges()
    assert (len(first), first.reason) == (11_000, "step 1 meets more than 11,000 edges")
    second = hub.start("n", "hub").out("e").edges(after=first.next)
    assert second[0].target == "011000"
    third = hub.start("n", "hub").out("e").edges(after=second.next)
    assert (len(third), third.next, third.complete) == (3_000, None, True)
