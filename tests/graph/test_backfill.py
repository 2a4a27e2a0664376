"""A past from files and a live tail: no gap, no regression, whichever runs when."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import Invalid
from weft.graph import Dedup, Graph, Job
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.sources import IterSource
from weft.testing.clock import VirtualClock
from weft.testing.graph import TYPES, ModelGraph, outputs
from weft.testing.ingest import Crash, Mortal, contents


class Stopped(Exception):
    """A run is interrupted here."""


class Slices:
    """A source that is interrupted after so many events, to give another run its turn."""

    def __init__(self, source, turns):
        self.name = source.name
        self._source = source
        self._turns = turns

    def pending(self, after):
        return None

    def events(self, after):
        left = self._turns.pop(0) if self._turns else None
        for event in self._source.events(after):
            if left == 0:
                raise Stopped
            yield event
            left = None if left is None else left - 1


def run(graph, job, source, deaths):
    """One turn; whether the source has ended."""
    sink = GraphSink(Mortal(graph.store, "mutate", deaths), graph.schema)
    try:
        EmbeddedRunner(max_batch_events=3).run(job, source, sink)
    except (Stopped, Crash):
        return False
    return True


@given(
    st.lists(st.lists(outputs(), max_size=3), max_size=20),
    st.data(),
    st.lists(st.sampled_from([None, "before", "after"]), max_size=8),
    st.sampled_from([0, 0.000_01]),
)
def test_backfill_and_live_tail_join_for_every_interleaving(groups, data, deaths, window_s):
    clock = iter(range(1, 1_000))
    history = [[msgspec.structs.replace(one, event_time_us=next(clock)) for one in group] for group in groups]
    # The files end somewhere behind the place where the live stream still begins.
    live_from = data.draw(st.integers(0, len(history)))
    files_to = data.draw(st.integers(live_from, len(history)))
    turns = st.lists(st.integers(0, 5), max_size=6)
    files = Slices(IterSource("files", history[:files_to], time_us=lambda _: 1), data.draw(turns))
    live = Slices(IterSource("live", history[live_from:], time_us=lambda _: 1), data.draw(turns))
    job = Job("j", lambda event: event.value, dedup=Dedup(window_s=window_s))
    graph = Graph.open("memory:", TYPES)
    waiting = [files, live]
    while waiting:
        source = data.draw(st.sampled_from(waiting))
        if run(graph, job, source, deaths):
            waiting.remove(source)
    model = ModelGraph(one for group in history for one in group)
    assert contents(graph) == (model.nodes, model.edges)


def test_a_backfill_keeps_to_its_rate_and_takes_its_sources_in_turn():
    clock = VirtualClock()
    graph = Graph.open("memory:", TYPES, clock=clock)
    seen = []
    job = Job("j", lambda event: seen.append((event.value, clock.monotonic_s())))
    sources = [IterSource(name, [name] * 20, time_us=lambda _: 1) for name in ("a", "b")]
    reports = graph.backfill(job, sources, rate_per_s=10)
    assert [report.events for report in reports] == [20, 20]
    assert [name for name, _ in seen] == ["a"] * 20 + ["b"] * 20
    for start, (_, at_s) in enumerate(seen[:20]):
        assert at_s == pytest.approx(start / 10)
    assert clock.monotonic_s() == pytest.approx(4)
    assert [report.events for report in graph.backfill(job, sources)] == [0, 0]


def test_a_rate_is_above_nothing():
    for rate in (0, -1, float("nan")):
        with pytest.raises(Invalid, match="is no rate"):
            Graph.open("memory:", TYPES).backfill(Job("j", lambda event: ()), [], rate_per_s=rate)
