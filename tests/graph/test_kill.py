"""An ingest that is killed with SIGKILL and run again ends in the graph of an undisturbed run."""

from __future__ import annotations

import pytest

from weft.graph import Dedup, Edge, EdgeType, Graph, Job, Node, NodeType, Remove
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.sources import IterSource
from weft.testing.processes import child_process

PLAIN = [NodeType("n", properties={"at": int}), EdgeType("e", source="n", target="n", properties={"at": int})]
APART = [
    NodeType("n", properties={"at": int}, groups={"time": ["at"]}),
    EdgeType("e", source="n", target="n", properties={"at": int}, split=True, newest=True),
]
EVENTS = 600


WINDOW_S = 0.000_05
"""Of event time: fifty of the source's microseconds."""


def work(event):
    at = event.value
    yield Node("n", f"n{at % 50}", {"at": at})
    for other in range(4):
        yield Edge("e", f"n{at % 50}", f"n{(at * 7 + other) % 50}", {"at": at})
    if at % 9 == 0:
        yield Remove(Edge("e", f"n{at % 50}", f"n{(at * 7) % 50}").ref)


def source():
    # Late and reordered: event time runs back in every group of ten.
    return IterSource("s", range(EVENTS), time_us=lambda at: at // 10 * 10 + 10 - at % 10)


def ingest(report, path, window_s, types):
    runner = EmbeddedRunner(max_batch_events=7, max_batch_writes=20, max_window_writes=40)
    with Graph.open(path, types) as graph:
        sink = GraphSink(graph.store, graph.schema)
        job = Job("work", work, dedup=Dedup(window_s=window_s))
        runner.run(job, source(), sink, progress=lambda one: report(one.events))


def contents(path):
    with Graph.open(path) as graph:
        nodes = list(graph.start("n").nodes())
        ids = [f"n{n}" for n in range(50)]
        forward = {edge.ref: edge for edge in graph.start("n", ids).out("e").edges()}
        for walk in (
            graph.start("n", ids).in_("e"),
            graph.start("n", ids).out("e", order_by="-event_time_us", per_node=EVENTS),
            graph.start("n", ids).in_("e", order_by="-event_time_us", per_node=EVENTS),
        ):
            assert forward == {edge.ref: edge for edge in walk.edges()}
        return nodes, forward, GraphSink(graph.store, graph.schema).positions("work/s")


@pytest.mark.slow
@pytest.mark.parametrize(("window_s", "types"), [(0, PLAIN), (WINDOW_S, PLAIN), (WINDOW_S, APART)])
def test_killed_at_any_instant_and_run_again(tmp_path, window_s, types):
    ingest(lambda _: None, tmp_path / "undisturbed", 0, types)
    killed = tmp_path / "killed"
    deaths = 0
    for checkpoints in (0, 1, 5, 12):
        with child_process(ingest, killed, window_s, types) as child:
            for _ in range(checkpoints):
                child.next_report()
            child.kill()
            deaths += child.process.exitcode == -9
    assert deaths == 4
    with child_process(ingest, killed, window_s, types) as child:
        assert 0 < child.reports()[-1] < EVENTS
    assert contents(killed) == contents(tmp_path / "undisturbed")
