"""Sweeps at any time, in any order of arrival, end in the edges that sorting everything would leave."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.graph import Edge, EdgeRef, EdgeType, Event, Graph, Job, NodeType, Remove, job, sweep
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.model import Offset
from weft.graph.ingest.sources import IterSource
from weft.kv.model import PageLimits
from weft.testing.clock import VirtualClock
from weft.testing.ingest import run_until_done
from weft.testing.processes import child_process

CAP = 2
_KIND = {"source": "n", "target": "n", "properties": {"k": int}, "newest": True}
TYPES = [
    [NodeType("n"), EdgeType("e", **_KIND, cap=CAP)],
    [NodeType("n"), EdgeType("e", **_KIND, cap=CAP, split=True)],
    [NodeType("n"), EdgeType("e", **_KIND)],
]
IDS = ["a", "b", "é\0", "d"]
ids = st.sampled_from(IDS)
writes = st.one_of(
    st.builds(Edge, st.just("e"), ids, ids, st.fixed_dictionaries({"k": st.integers(0, 3)})),
    st.builds(Remove, st.builds(EdgeRef, st.just("e"), ids, ids)),
)


class SmallPages:
    """A store whose pages hold few items."""

    def __init__(self, store, items):
        self._store = store
        self._page = PageLimits(items=items)

    def get_items(self, *arguments, **named):
        return self._store.get_items(*arguments, **named, page=self._page)

    def scan_records(self, *arguments, **named):
        return self._store.scan_records(*arguments, **named, page=self._page)

    def __getattr__(self, name):
        return getattr(self._store, name)


@job
def replay(event):
    return event.value


def kept(outputs, cap):
    """The last write to each edge; of a node's, only those in the `cap` latest places. A removal has one."""
    last = {}
    for output in sorted(outputs, key=lambda one: one.event_time_us):
        last[output.ref if isinstance(output, Edge) else output.what] = output
    found = {}
    for source in IDS:
        places = [(ref, output) for ref, output in last.items() if ref.source == source]
        places.sort(key=lambda place: (-place[1].event_time_us, place[0].target.encode()))
        found |= {ref: output for ref, output in places[:cap] if isinstance(output, Edge)}
    return found


def everywhere(graph, ids=IDS):
    """The edges, as each of the ways to read them tells."""
    hub = graph.start("n", ids)
    by = {"order_by": "-event_time_us", "per_node": 10}
    walks = [hub.out("e"), hub.in_("e"), hub.out("e", **by), hub.in_("e", **by)]
    found = [{edge.ref: edge for edge in walk.edges()} for walk in walks]
    assert found[1:] == found[:-1]
    return found[0]


@given(
    st.sampled_from(TYPES),
    st.lists(st.lists(writes, max_size=4), max_size=15),
    st.data(),
    st.lists(st.sampled_from([None, "before", "after"]), max_size=8),
    st.sampled_from([0, 30]),
)
def test_a_sweep_shows_in_nothing_but_the_cap(types, groups, data, deaths, days):
    """`days` ago is when it happened; it is written now."""
    clock = VirtualClock()
    begin_us = clock.now_us() - days * 86_400_000_000
    times = iter(range(begin_us, begin_us + 1_000))
    written = [[msgspec.structs.replace(one, event_time_us=next(times)) for one in group] for group in groups]
    delivered = data.draw(st.permutations(written + written[::2]))
    graph = Graph.open("memory:", types, clock=clock)
    streams = data.draw(st.integers(1, 4))
    for number in range(streams):
        source = IterSource(f"s{number}", delivered[number::streams], time_us=lambda _: 1)
        run_until_done(graph, replay, source, deaths, max_batch_events=data.draw(st.integers(1, 4)))
        if data.draw(st.booleans()):
            graph.sweep()
            everywhere(graph)
    cap = types[1].cap
    outputs = [one for group in written for one in group]
    if cap is None:
        assert everywhere(graph) == kept(outputs, None)
    graph.sweep()
    assert everywhere(graph) == kept(outputs, cap)
    assert graph.sweep() == 0


class Stopping:
    """A store that dies at its n-th write."""

    def __init__(self, store, death):
        self._store = store
        self._left = death

    def __getattr__(self, name):
        return getattr(self._store, name)

    def mutate(self, mutations):
        assert len(mutations) <= 3
        self._left -= 1
        if not self._left:
            raise OSError("no space left")
        self._store.mutate(mutations)


def test_a_long_list_is_swept_in_parts_and_what_is_stale_goes_before_what_hides_it(monkeypatch):
    monkeypatch.setattr(sweep, "_MUTATIONS_PER_BATCH", 3)
    clock = VirtualClock()
    graph = Graph.open("memory:", TYPES[2], clock=clock)
    targets = [f"t{n}" for n in range(6)]
    long_ago_us = clock.now_us() - 30 * 86_400_000_000
    # A backfill: it happened long ago, but was written just now.
    removed = [Remove(EdgeRef("e", "a", there), long_ago_us + 9) for there in targets]
    graph.ingest(replay, IterSource("s", [removed], time_us=lambda _: 1))
    graph.sweep()
    for time_us in range(5):
        graph.put(edges=[Edge("e", "a", there, {}, long_ago_us + time_us) for there in targets])
    clock.advance(8 * 86_400)
    store, deaths = SmallPages(graph.store, 4), 0
    while True:
        graph.store = Stopping(store, 2)
        try:
            graph.sweep()
        except OSError:
            deaths += 1
            assert everywhere(graph, ["a", *targets]) == {}
        else:
            break
    assert deaths > 20
    assert store.stats("newest/out/e").live_items == store.stats("newest/in/e").live_items == 0


def test_what_comes_after_its_removal_was_forgotten_comes_back_with_the_next_sweep():
    clock = VirtualClock()
    graph = Graph.open("memory:", TYPES[2], clock=clock)
    refs = [EdgeRef("e", "a", f"t{n}") for n in range(3)]
    begin_us = clock.now_us()
    graph.delete(edges=refs)
    clock.advance(8 * 86_400)
    graph.sweep()
    late = [Edge(*refs[0], {"k": 1}, begin_us - 2), Edge(*refs[1], {"k": 2}, begin_us - 1)]
    graph.put(edges=[Edge(*refs[0], {"k": 0}, begin_us - 3), *late])
    graph.sweep()
    found = everywhere(graph, ["a", *(ref.target for ref in refs)])
    assert sorted(found.values(), key=lambda edge: edge.target) == late
    clock.advance(8 * 86_400)
    graph.sweep()
    assert graph.store.stats("newest/in/e").live_items == 2


def test_late_events_of_what_dropped_out_stay_out_and_nothing_is_left_in_the_end():
    clock = VirtualClock()
    graph = Graph.open("memory:", TYPES[1], clock=clock)
    now_us = clock.now_us()
    graph.put(edges=[Edge("e", "a", f"t{n}", {"k": n}, now_us + n) for n in range(5)])
    graph.sweep()
    assert [edge.target for edge in graph.start("n", "a").out("e").edges()] == ["t3", "t4"]
    graph.put(edges=[Edge("e", "a", "t1", {"k": 9}, now_us)])
    assert [edge.target for edge in graph.start("n", "a").out("e").edges()] == ["t3", "t4"]
    graph.put(edges=[Edge("e", "a", "t1", {"k": 9}, now_us + 10)])
    graph.sweep()
    assert [edge.target for edge in graph.start("n", "a").out("e").edges()] == ["t1", "t4"]
    for _ in range(3):  # Old, seen to be old for as long again, and their tombstones for as long.
        clock.advance(8 * 86_400)
        graph.sweep()
    sizes = {
        name: graph.store.stats(name).stored_items
        for name in ("out/e", "in/e", "edge/e", "newest/out/e", "newest/in/e")
    }
    assert set(sizes.values()) == {2}


EVENTS = 600


def work(event):
    """Overwrites, late by up to eleven, of few edges; every ninth is a removal."""
    at = event.value
    ref = EdgeRef("e", IDS[at % 3], IDS[at // 3 % 4])
    time_us = VirtualClock().now_us() + at // 12 * 12 + 11 - at % 12
    yield Remove(ref, time_us) if at % 9 == 0 else Edge(*ref, {"k": at}, time_us)


def ingest_half(report, path, half):
    with Graph.open(path) as graph:
        source = IterSource(f"half-{half}", range(half, EVENTS, 2), time_us=lambda _: 1)
        EmbeddedRunner(max_batch_events=25).run(
            Job("work", work), source, GraphSink(graph.store, graph.schema)
        )
    report("done")


@pytest.mark.slow
@pytest.mark.parametrize("types", TYPES[1:])
def test_two_writers_and_a_sweeper_need_not_know_of_each_other(tmp_path, types):
    with Graph.open(tmp_path / "g", types) as graph:
        with (
            child_process(ingest_half, tmp_path / "g", 0) as one,
            child_process(ingest_half, tmp_path / "g", 1) as other,
        ):
            while one.process.is_alive() or other.process.is_alive():
                graph.sweep()
            assert one.reports() == other.reports() == ["done"]
        graph.sweep()
        outputs = [output for at in range(EVENTS) for output in work(Event(Offset(at), 1, at))]
        assert everywhere(graph) == kept(outputs, types[1].cap)
