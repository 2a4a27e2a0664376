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
from weft.testing.graph import LAYOUTS, TYPES, ModelGraph, outputs
from weft.testing.ingest import Crash, Mortal, Tuples, contents, run_until_done


@job
def replay(event):
    return event.value


events = st.lists(st.lists(outputs(), max_size=5), max_size=25)
laid_out = st.sampled_from(LAYOUTS).flatmap(
    lambda types: st.tuples(st.just(types), st.lists(st.lists(outputs(types), max_size=5), max_size=25))
)
crashes = st.lists(st.sampled_from([None, "before", "after"]), max_size=12)
batches = st.integers(1, 6)


def stamped(groups):
    """The groups with an event time of its own for each output."""
    clock = iter(range(1, 10_000))
    return [[msgspec.structs.replace(one, event_time_us=next(clock)) for one in group] for group in groups]


@given(laid_out, st.data(), crashes, batches)
def test_any_interleaving_ends_as_the_reference(drawn, data, deaths, batch):
    types, groups = drawn
    written = stamped(groups)
    delivered = data.draw(st.permutations(written + data.draw(st.lists(st.sampled_from(written or [[]])))))
    streams = data.draw(st.integers(1, 3))
    graph = Graph.open("memory:", types)
    for number in range(streams):
        source = IterSource(f"s{number}", delivered[number::streams], time_us=lambda _: 1)
        run_until_done(graph, replay, source, deaths, max_batch_events=batch)
    model = ModelGraph((one for group in written for one in group), types)
    assert contents(graph) == (model.nodes, model.edges)


@given(laid_out, crashes, batches)
def test_ties_in_event_time_go_to_the_later_offset(drawn, deaths, batch):
    types, groups = drawn
    source = IterSource("s", groups, time_us=lambda group: len(group) % 3)
    graph = Graph.open("memory:", types)
    run_until_done(graph, replay, source, deaths, max_batch_events=batch)
    model = ModelGraph(
        (msgspec.structs.replace(one, event_time_us=len(group) % 3) for group in groups for one in group),
        types,
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
    source = IterSource("s", delivered, time_us=lambda _: 1)
    graph = Graph.open("memory:", TYPES)
    run_until_done(graph, replay, source, deaths, relations=tuples, max_batch_events=batch)
    assert tuples.held == {text for text, delete in dict(changes).items() if not delete}


@given(events, batches)
def test_a_second_run_finds_nothing_to_do(groups, batch):
    source = IterSource("s", stamped(groups), time_us=lambda _: 1)
    graph = Graph.open("memory:", TYPES)
    first = run_until_done(graph, replay, source, [], max_batch_events=batch)
    second = run_until_done(graph, replay, source, [], max_batch_events=batch)
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
