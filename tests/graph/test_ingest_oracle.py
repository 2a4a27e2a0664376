"""Whatever the order, repetition, batching and crashes of a stream, the graph ends as the dumb reference."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.graph import Graph, NodeRef, RelationWrite, job
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.sources import IterSource
from weft.testing.graph import IDS, TYPES, ModelGraph, outputs


class Crash(Exception):
    """The process dies here."""


class Mortal:
    """A store, or a relation sink, that dies at some of its writes: before they happen, or right after."""

    def __init__(self, inner, method, deaths):
        self._inner = inner
        self._method = method
        self._deaths = deaths

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        return self._dying(found) if name == self._method else found

    def _dying(self, write):
        def call(*arguments):
            death = self._deaths.pop(0) if self._deaths else None
            if death == "before":
                raise Crash
            write(*arguments)
            if death == "after":
                raise Crash

        return call


class Tuples:
    """Takes relation tuples; knows no event time."""

    def __init__(self):
        self.held = set()

    def check(self, write):
        assert write.text

    def write(self, writes):
        for one in writes:
            (self.held.discard if one.delete else self.held.add)(one.text)


@job
def replay(event):
    return event.value


def run_until_done(graph, source, relations, deaths, batch):
    """Run again after every crash, as a supervisor would."""
    store = Mortal(graph.store, "mutate", deaths)
    sink = GraphSink(store, graph.schema, Mortal(relations, "write", deaths))
    while True:
        try:
            return EmbeddedRunner(max_batch_events=batch).run(replay, source, sink)
        except Crash:
            continue


def contents(graph):
    nodes = {node.ref: node for kind in ("person", "thing") for node in graph.start(kind).nodes()}
    edges = {}
    for kind in ("knows", "likes"):
        forward = {edge.ref: edge for edge in graph.start("person", IDS).out(kind).edges()}
        end = "person" if kind == "knows" else "thing"
        assert forward == {edge.ref: edge for edge in graph.start(end, IDS).in_(kind).edges()}
        edges |= forward
    return nodes, edges


events = st.lists(st.lists(outputs(), max_size=5), max_size=25)
crashes = st.lists(st.sampled_from([None, "before", "after"]), max_size=12)
batches = st.integers(1, 6)


def stamped(groups):
    """The groups with an event time of its own for each output."""
    clock = iter(range(1, 10_000))
    return [[msgspec.structs.replace(one, event_time_us=next(clock)) for one in group] for group in groups]


@given(events, st.data(), crashes, batches)
def test_any_interleaving_ends_as_the_reference(groups, data, deaths, batch):
    written = stamped(groups)
    delivered = data.draw(st.permutations(written + data.draw(st.lists(st.sampled_from(written or [[]])))))
    streams = data.draw(st.integers(1, 3))
    graph = Graph.open("memory:", TYPES)
    for number in range(streams):
        source = IterSource(f"s{number}", delivered[number::streams], time_us=lambda _: 1)
        run_until_done(graph, source, Tuples(), deaths, batch)
    model = ModelGraph(one for group in written for one in group)
    assert contents(graph) == (model.nodes, model.edges)


@given(events, crashes, batches)
def test_ties_in_event_time_go_to_the_later_offset(groups, deaths, batch):
    source = IterSource("s", groups, time_us=lambda group: len(group) % 3)
    graph = Graph.open("memory:", TYPES)
    run_until_done(graph, source, Tuples(), deaths, batch)
    model = ModelGraph(
        msgspec.structs.replace(one, event_time_us=len(group) % 3) for group in groups for one in group
    )
    assert contents(graph) == (model.nodes, model.edges)


relation_writes = st.lists(
    st.tuples(st.sampled_from(["doc:1#viewer@user:a", "doc:1#viewer@user:b"]), st.booleans()), max_size=20
)


@given(relation_writes, st.data(), crashes, batches)
def test_relation_tuples_end_as_the_last_event_says(changes, data, deaths, batch):
    written = [[RelationWrite(text, delete, time)] for time, (text, delete) in enumerate(changes)]
    delivered = data.draw(st.permutations(written + written[::2]))
    tuples = Tuples()
    run_until_done(
        Graph.open("memory:", TYPES), IterSource("s", delivered, time_us=lambda _: 1), tuples, deaths, batch
    )
    assert tuples.held == {text for text, delete in dict(changes).items() if not delete}


@given(events, batches)
def test_a_second_run_finds_nothing_to_do(groups, batch):
    source = IterSource("s", stamped(groups), time_us=lambda _: 1)
    graph = Graph.open("memory:", TYPES)
    first = run_until_done(graph, source, Tuples(), [], batch)
    second = run_until_done(graph, source, Tuples(), [], batch)
    assert (first.events, second.events) == (len(groups), 0)


def test_a_deleted_tuple_never_flickers_back_when_a_crashed_batch_is_repeated_in_smaller_ones():
    log = []

    class Recording(Tuples):
        def write(self, writes):
            log.extend((one.text, one.delete) for one in writes)
            super().write(writes)

    tuples = Recording()
    graph = Graph.open("memory:", TYPES)
    source = IterSource(
        "s", [[RelationWrite("t", False, 1)], [RelationWrite("t", True, 2)]], time_us=lambda _: 1
    )
    # The first batch dies between the tuple's deletion and the commit of the offset.
    sink = GraphSink(Mortal(graph.store, "mutate", [None, "before"]), graph.schema, tuples)
    with pytest.raises(Crash):
        EmbeddedRunner().run(replay, source, sink)
    EmbeddedRunner(max_batch_events=1).run(replay, source, GraphSink(graph.store, graph.schema, tuples))
    assert ("t", False) not in log
    assert tuples.held == set()


def test_merging_saves_writes_and_says_so():
    from weft.graph import Node

    values = [[Node("person", "a", {"n": n})] for n in range(10)]
    graph = Graph.open("memory:", TYPES)
    report = graph.ingest(replay, IterSource("s", values, time_us=lambda _: 1))
    assert report.updates == 10
    assert report.written == {"node/person": 1}
    assert report.write_reduction == pytest.approx(0.9)
    assert graph.start("person").nodes()[0].ref == NodeRef("person", "a")
    assert graph.node("person", "a").properties == {"n": 9}
