"""The dedup window: what merges, when it is written, and that nothing of it shows in the graph."""

from __future__ import annotations

import functools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import Invalid
from weft.graph import Dedup, Edge, EdgeType, Graph, Job, Node, NodeRef, NodeType, Remove
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.sources import IterSource
from weft.graph.ingest.window import Window
from weft.graph.updates import Update
from weft.testing.clock import VirtualClock
from weft.testing.graph import LAYOUTS, TYPES, ModelGraph, outputs
from weft.testing.ingest import contents, run_until_done

S = 1_000_000
crashes = st.lists(st.sampled_from([None, "before", "after"]), max_size=12)


def replay(dedup):
    return Job("replay", lambda event: event.value[1], dedup=dedup)


def source(name, values):
    """Values are (event time of the stream, outputs)."""
    return IterSource(name, values, time_us=lambda value: value[0])


def _events(types):
    return st.lists(st.tuples(st.integers(0, 60), st.lists(outputs(types), max_size=4)), max_size=25)


@given(
    st.sampled_from(LAYOUTS).flatmap(lambda types: st.tuples(st.just(types), _events(types))),
    st.data(),
    crashes,
    st.sampled_from([0, 0.000_001, 0.000_01, 0.001]),
)
def test_no_window_no_crash_and_no_order_shows_in_the_graph(drawn, data, deaths, window_s):
    types, groups = drawn
    clock = iter(range(1, 10_000))
    written = [
        (time, [msgspec.structs.replace(one, event_time_us=next(clock)) for one in group])
        for time, group in groups
    ]
    delivered = data.draw(
        st.permutations(written + data.draw(st.lists(st.sampled_from(written or [(0, [])]))))
    )
    streams = data.draw(st.integers(1, 3))
    graph = Graph.open("memory:", types)
    limits = {
        "max_batch_writes": data.draw(st.integers(1, 6)),
        "max_batch_events": data.draw(st.integers(1, 6)),
        "max_window_writes": data.draw(st.integers(1, 20)),
    }
    for number in range(streams):
        stream = source(f"s{number}", delivered[number::streams])
        run_until_done(graph, replay(Dedup(window_s=window_s)), stream, deaths, **limits)
    model = ModelGraph((one for _, group in written for one in group), types)
    assert contents(graph) == (model.nodes, model.edges)


FOLDED = [
    NodeType("page", properties={"top": int, "low": float, "who": list, "last": str}),
    EdgeType("link", source="page", target="page", properties={"top": str, "who": list, "last": int}),
]
APART = [
    NodeType("page", properties=FOLDED[0].properties, groups={"best": ["top", "who"]}),
    EdgeType("link", source="page", target="page", properties=FOLDED[1].properties, split=True, newest=True),
]
MERGE = {
    "node/page": {"top": "max", "low": "min", "who": "union"},
    "edge/link": {"top": "max", "who": "union"},
}
_members = st.lists(st.sampled_from(["a", "b", 1, 1.0, True]), max_size=3)
_pages = st.builds(
    Node,
    st.just("page"),
    st.sampled_from("xy"),
    st.fixed_dictionaries(
        {},
        optional={
            "top": st.integers(0, 5),
            "low": st.sampled_from([-0.0, 0.0, 1.5]),
            "who": _members,
            "last": st.sampled_from("pqr"),
        },
    ),
)
_links = st.builds(
    Edge,
    st.just("link"),
    st.sampled_from("xy"),
    st.sampled_from("xy"),
    st.fixed_dictionaries(
        {}, optional={"top": st.sampled_from("abc"), "who": _members, "last": st.integers(0, 3)}
    ),
)


def folded(things, merge):
    """The reference: sort by event time, keep the last, fold each merged property over all."""
    ordered = sorted(things, key=lambda thing: thing.event_time_us)
    properties = dict(ordered[-1].properties)
    for name, policy in merge.items():
        values = [thing.properties[name] for thing in ordered if name in thing.properties]
        if values and policy == "union":
            encoded = {msgspec.msgpack.encode(one) for value in values for one in value}
            properties[name] = [msgspec.msgpack.decode(one) for one in sorted(encoded)]
        elif values:
            choose = max if policy == "max" else min
            properties[name] = choose(values, key=lambda value: (value, msgspec.msgpack.encode(value)))
    return properties, ordered[-1].event_time_us


def exact(properties):
    """Tells 1 from 1.0 and True, and 0.0 from -0.0."""
    return repr(sorted(properties.items()))


@given(
    st.lists(_pages | _links, max_size=25),
    st.data(),
    crashes,
    st.sampled_from([0, 0.000_005, 1]),
    st.sampled_from([FOLDED, APART]),
)
def test_merged_properties_end_as_the_fold_over_all_events(things, data, deaths, window_s, types):
    written = [msgspec.structs.replace(one, event_time_us=1 + at) for at, one in enumerate(things)]
    delivered = data.draw(st.permutations(written + written[::2]))
    streams = data.draw(st.integers(1, 3))
    graph = Graph.open("memory:", types)
    job = replay(Dedup(window_s=window_s, merge=MERGE))
    for number in range(streams):
        values = [(1, [one]) for one in delivered[number::streams]]
        run_until_done(
            graph, job, source(f"s{number}", values), deaths, max_batch_events=data.draw(st.integers(1, 5))
        )
    for ref in {one.ref for one in written}:
        same = [one for one in written if one.ref == ref]
        if isinstance(ref, NodeRef):
            found = graph.node(*ref)
            wanted, time_us = folded(same, MERGE["node/page"])
        else:
            (found,) = (one for one in graph.start("page", ref.source).out("link").edges() if one.ref == ref)
            (back,) = (one for one in graph.start("page", ref.target).in_("link").edges() if one.ref == ref)
            assert found == back
            wanted, time_us = folded(same, MERGE["edge/link"])
        assert (exact(found.properties), found.event_time_us) == (exact(wanted), time_us)


def test_what_is_merged_cannot_be_removed_in_a_stream():
    graph = Graph.open("memory:", FOLDED)
    values = [(1, [Node("page", "x", {"top": 3})]), (2, [Remove(NodeRef("page", "x"))])]
    report = graph.ingest(replay(Dedup(merge=MERGE)), source("s", values))
    assert report.dead_letters == 1
    assert "nothing of it can be removed" in next(graph.dead_letters("replay")).reason
    assert graph.node("page", "x").properties == {"top": 3}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Dedup(window_s=-1), "is not a time"),
        (lambda: Dedup(window_s=float("inf")), "is not a time"),
        (lambda: Dedup(merge={"node/page": {"top": "sum"}}), "a sum would count repeated events twice"),
        (lambda: Dedup(merge={"page": {"top": "max"}}), "`page` is no output stream"),
        (lambda: Dedup(merge={"node/book": {"top": "max"}}), "there is no node type `book`"),
        (lambda: Dedup(merge={"node/page": {"nope": "max"}}), "does not fit the property `nope`"),
        (lambda: Dedup(merge={"node/page": {"top": "union"}}), "declare it as list"),
        (lambda: Dedup(merge={"node/brief": {"n": "max"}}), "node type `brief` expires"),
        (lambda: "soon", "is not a Dedup"),
    ],
)
def test_a_policy_that_cannot_hold_says_so_before_anything_is_read(make, says):
    graph = Graph.open("memory:", [*FOLDED, NodeType("brief", properties={"n": int}, ttl_s=60)])
    with pytest.raises(Invalid) as refused:
        graph.ingest(replay(make()), source("s", [(1, [])]))
    assert says in str(refused.value)


def plays(times):
    return [(time, [Node("person", who, {"n": time})]) for time, who in times]


class Watching:
    """Notes what each write holds: node ids, and whether offsets came with them."""

    def __init__(self, store):
        self._store = store
        self.batches = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def mutate(self, mutations):
        nodes = [one.record.decode() for one in mutations if one.namespace == "node/person"]
        self.batches.append((nodes, any(one.namespace == "graph/offsets" for one in mutations)))
        self._store.mutate(mutations)


def watched(values, dedup, **limits):
    graph = Graph.open("memory:", TYPES)
    store = Watching(graph.store)
    report = EmbeddedRunner(clock=VirtualClock(), **limits).run(
        replay(dedup), source("s", values), GraphSink(store, graph.schema)
    )
    return store.batches, report


def test_a_window_ends_by_event_time_and_what_leaves_it_is_written_without_offsets():
    values = plays([(0, "a"), (5 * S, "a"), (6 * S, "b"), (30 * S, "c"), (31 * S, "a")])
    batches, report = watched(values, Dedup(window_s=10), max_batch_writes=1)
    assert batches == [(["a", "b"], False), (["c", "a"], True)]
    assert report.written == {"node/person": 4}
    assert report.write_reduction == pytest.approx(0.2)


def test_a_wider_window_writes_less():
    values = plays([(at * S, "ab"[at % 2]) for at in range(100)])
    written = [
        watched(values, Dedup(window_s=window_s), max_batch_writes=1)[1].written["node/person"]
        for window_s in (2, 10, 1_000)
    ]
    assert written == sorted(written, reverse=True)
    assert (written[-1], written[0] > 20) == (2, True)


def test_a_late_update_merges_as_well():
    values = plays([(1_000 * S, "z"), (1 * S, "a"), (3 * S, "a"), (2 * S, "a")])
    batches, _ = watched(values, Dedup(window_s=10), max_batch_writes=1)
    assert batches == [(["z", "a"], True)]


def test_a_full_window_is_a_checkpoint():
    values = plays([(1, "abcdef"[at]) for at in range(6)])
    batches, _ = watched(values, Dedup(window_s=10), max_window_writes=4)
    assert batches == [(["a", "b", "c", "d"], True), (["e", "f"], True)]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError])
def test_an_interrupted_run_keeps_what_it_has_taken(stop):
    def breaking():
        yield from plays([(1, "a"), (2, "a"), (3, "b")])
        raise stop

    graph = Graph.open("memory:", TYPES)
    store = Watching(graph.store)
    with pytest.raises(stop):
        EmbeddedRunner().run(
            replay(Dedup(window_s=10)), source("s", breaking()), GraphSink(store, graph.schema)
        )
    assert store.batches == [(["a", "b"], True)]


def test_a_failed_write_is_never_followed_by_one_that_passes_over_it():
    class Full(Watching):
        def mutate(self, mutations):
            super().mutate([])
            raise OSError("no space left")

    graph = Graph.open("memory:", TYPES)
    store = Full(graph.store)
    with pytest.raises(OSError, match="no space left"):
        EmbeddedRunner(max_batch_events=2).run(
            replay(Dedup()),
            source("s", plays([(1, "a"), (2, "b"), (3, "c")])),
            GraphSink(store, graph.schema),
        )
    assert len(store.batches) == 1


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from("abc")), max_size=40), st.integers(0, 50))
def test_whatever_leaves_a_window_together_with_its_rest_is_everything(writes, length_us):
    window = Window(length_us)
    given_out = []
    for at, (time_us, key) in enumerate(writes):
        window.advance(time_us)
        window.add(Update("t", key.encode(), None, b"", time_us, at.to_bytes(16, "big")))
        if at % 3 == 0:
            given_out += [one for updates in window.drain_due().values() for one in updates]
    given_out += [one for updates in window.drain()[0].values() for one in updates]
    assert window.size == 0
    for key in {key for _, key in writes}:
        last = max((time_us, at) for at, (time_us, one) in enumerate(writes) if one == key)
        found = functools.reduce(max, (one.order for one in given_out if one.record == key.encode()))
        assert found == (last[0], last[1].to_bytes(16, "big"))


def test_an_event_that_is_interrupted_half_way_comes_again():
    graph = Graph.open("memory:", TYPES)
    interruptions = [KeyboardInterrupt]

    def transform(event):
        yield Node("person", f"{event.value}-1")
        if event.value == "b" and interruptions:
            raise interruptions.pop()
        yield Node("person", f"{event.value}-2")

    job = Job("j", transform)
    with pytest.raises(KeyboardInterrupt):
        graph.ingest(job, IterSource("s", "abc", time_us=lambda _: 1))
    assert [node.id for node in graph.start("person").nodes()] == ["a-1", "a-2"]
    assert graph.ingest(job, IterSource("s", "abc", time_us=lambda _: 1)).events == 2
    assert graph.start("person").count() == 6
