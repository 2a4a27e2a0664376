"""Packed traversals equal those of the store, whatever is written, deleted and expires in between."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.graph import Edge, Graph, Node, layout
from weft.graph.packed import edges as packed_edges
from weft.graph.packed import hops as packed_hops
from weft.graph.packed import nodes as packed_nodes
from weft.graph.schema import Schema
from weft.graph.traverse import hops, walk
from weft.graph.traverse.steps import Distinct, Hop, Limit, Query
from weft.kv.model import ALL, Delete, ItemWrite, Keys, Put, Token
from weft.testing.clock import VirtualClock
from weft.testing.graph import IDS, LAYOUTS, TYPES, graphs, outputs, queries, walk_model

DAY_S = 86_400
MORTAL = [replace(kind, ttl_s=DAY_S) if kind.name in ("knows", "person") else kind for kind in TYPES]

limits = st.none() | st.none() | st.integers(1, 4)


@st.composite
def plain_queries(draw):
    """What is answered from the pack: hops from given nodes, limits, `distinct`."""
    start = here = draw(st.sampled_from(["person", "thing"]))
    steps = []
    for _ in range(draw(st.integers(1, 4))):
        ways = [("in", "likes", "person"), ("both", "likes", "person")]
        if here == "person":
            ways = [("out", "likes", "thing"), ("both", "likes", "thing")]
            ways += [(direction, "knows", "person") for direction in ("out", "in", "both")]
        direction, edge, here = draw(st.sampled_from(ways))
        steps.append(Hop(direction, edge, per_node=draw(limits), limit=draw(limits)))
        steps += draw(st.lists(st.builds(Limit, st.integers(1, 4)) | st.just(Distinct()), max_size=1))
    starts = draw(st.lists(st.sampled_from([*IDS, "nobody"]), max_size=5))
    return Query(start, starts, steps, per_node=draw(limits))


def same(graph, other, query):
    """Both graphs give the same answers for the same reasons."""
    for things in ("nodes", "edges", "count"):
        ours, theirs = (getattr(one.traverse(query), things)() for one in (graph, other))
        assert ours.reason == theirs.reason
        if things == "count":
            assert ours == theirs
        else:
            assert (ours.items, ours.next) == (theirs.items, theirs.next)


def _now(thing):
    return msgspec.structs.replace(thing, event_time_us=None)


class Pair:
    """A graph with packed types, and one that walks the same store."""

    def __init__(self, types, model, location="memory:"):
        self.clock = VirtualClock()
        self.packed = Graph.open(location, types, clock=self.clock)
        self.plain = Graph(self.packed.store, clock=self.clock)
        self.plain.put(*(map(_now, things.values()) for things in (model.nodes, model.edges)))
        self.packed.pack("knows", "likes")

    def write(self, output, late_us):
        time_us = self.clock.now_us() - late_us
        if isinstance(output, Node | Edge):
            later = msgspec.structs.replace(output, event_time_us=time_us)
            self.plain.put(*([[later], []] if isinstance(output, Node) else [[], [later]]))
        elif len(output.what) == 2:
            self.plain.delete(nodes=[output.what], event_time_us=time_us)
        else:
            self.plain.delete(edges=[output.what], event_time_us=time_us)

    def clear(self, edge, source):
        """Delete a whole list, as nothing of weft.graph does."""
        token, time_us = Token(self.clock.now_us(), bytes(16)), self.clock.now_us()
        out, back = layout.out_namespace(edge), layout.in_namespace(edge)
        here = source.encode()
        self._mutate(
            Delete(namespace=out, record=here, selection=ALL, event_time_us=time_us, token=token),
            *(
                Delete(
                    namespace=back,
                    record=one.encode(),
                    selection=Keys((here,)),
                    event_time_us=time_us,
                    token=token,
                )
                for one in IDS
            ),
        )

    def shorten(self, kind, name, ttl_s):
        """Have a node end early, as nothing of weft.graph does."""
        time_us = self.clock.now_us()
        self._mutate(
            Put(
                namespace=layout.node_namespace(kind),
                record=name.encode(),
                items=(ItemWrite(b"", b"\x80"),),
                event_time_us=time_us,
                token=Token(time_us, bytes(16)),
                record_ttl_s=ttl_s,
            )
        )

    def _mutate(self, *mutations):
        self.plain.store.mutate(mutations)


names = st.sampled_from(IDS)
late = st.sampled_from([0, 0, 0, 1, 5, DAY_S * 999_999, 3 * DAY_S * 1_000_000])
events = st.one_of(
    st.tuples(st.just("write"), outputs(), late),
    st.tuples(st.just("write"), outputs(), late),
    st.tuples(st.just("write"), outputs(), late),
    st.tuples(st.just("clear"), st.sampled_from(["knows", "likes"]), names),
    st.tuples(st.just("shorten"), st.sampled_from(["person", "thing"]), names, st.integers(1, 3)),
    st.tuples(st.just("advance"), st.sampled_from([1e-6, 1, DAY_S / 2, DAY_S])),
    st.tuples(st.just("jump"), st.sampled_from([-DAY_S, -1])),
    st.tuples(st.just("sweep")),
    st.tuples(st.just("ask"), plain_queries() | queries()),
    st.tuples(st.just("ask"), plain_queries()),
)


def happen(pair, history):
    for at, (what, *arguments) in enumerate(history):
        if what == "sweep" and any(later[0] == "jump" for later in history[at:]):
            # What a sweep took away, a clock that is set back makes live again in a pack alone.
            continue
        if what == "ask":
            same(pair.packed, pair.plain, *arguments)
        elif what in ("advance", "jump"):
            getattr(pair.clock, what)(*arguments)
        elif what == "sweep":
            pair.plain.store.sweep()
        else:
            getattr(pair, what)(*arguments)


@pytest.mark.parametrize("types", [TYPES, MORTAL], ids=["lasting", "mortal"])
@given(graphs(), st.lists(events, max_size=20), plain_queries(), st.sampled_from([0, 10_000]))
def test_packed_answers_are_those_of_the_store_at_every_moment(types, model, history, query, lost):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed_edges, "_LOST_PLACES", lost)
        patched.setattr(packed_nodes, "_GARBAGE_BYTES", lost)
        pair = Pair(types, model)
        happen(pair, history)
        same(pair.packed, pair.plain, query)
        if not any(what == "jump" for what, *_ in history):
            assert pair.packed.traverse(query).profile().packed


@settings(max_examples=25)
@given(graphs(), st.lists(events, max_size=20), plain_queries())
def test_packed_answers_are_those_of_a_store_on_disk(model, history, query):
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(MORTAL, model, folder)
        with pair.packed:
            happen(pair, history)
            same(pair.packed, pair.plain, query)


@pytest.mark.parametrize("types", [TYPES, MORTAL], ids=["lasting", "mortal"])
@given(graphs(), plain_queries(), st.integers(1, 12))
def test_a_bound_on_what_a_step_meets_cuts_alike(types, model, query, bound):
    pair = Pair(types, model)
    with pytest.MonkeyPatch.context() as patched:
        for module in (walk, hops, packed_hops):
            patched.setattr(module, "MAX_EDGES_PER_STEP", bound)
        same(pair.packed, pair.plain, query)


@given(graphs(), plain_queries())
def test_packed_answers_equal_brute_force_and_come_from_the_pack(model, query):
    graph = Graph.open("memory:", TYPES, clock=VirtualClock())
    graph.put(nodes=model.nodes.values(), edges=model.edges.values())
    graph.pack("knows", "likes")
    expected = walk_model(model, Schema(TYPES), query)
    walk = graph.traverse(query)
    assert walk.profile().packed
    assert [node.id for node in walk.nodes()] == expected.nodes
    assert list(walk.edges()) == expected.edges
    assert walk.count() == len(expected.nodes)


@pytest.mark.parametrize("types", LAYOUTS, ids=["plain", "split", "timed"])
@given(graphs(), st.lists(events, max_size=10), plain_queries())
def test_any_layout_answers_alike(types, model, history, query):
    pair = Pair(types, model)
    happen(pair, [event for event in history if event[0] in ("write", "ask")])
    same(pair.packed, pair.plain, query)
