"""A disk that fills up under a running job: one clear error, nothing half-written, then it goes on."""

from __future__ import annotations

import os

import pytest

from weft.agent.sandbox.inside import kernel
from weft.core.errors import Unavailable
from weft.graph import Edge, EdgeType, Graph, Job, Node, NodeType, Remove
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.sources import IterSource
from weft.testing.processes import child_process

TYPES = [
    NodeType("n", properties={"at": int, "text": str}),
    EdgeType("e", source="n", target="n", properties={"at": int, "text": str}, ttl_s=365 * 24 * 3_600),
]
SMALL, LARGE = "size=2m", "size=64m"
EVENTS = 6_000
BATCH_EVENTS = 150
NOW_US = 1_790_000_000_000_000


def outputs(at):
    time_us = NOW_US - at // 5 * 5 + at % 5
    text = f"{at:04} " * 20
    yield Node("n", f"n{at % 300}", {"at": at, "text": text}, time_us)
    yield Edge("e", f"n{at % 300}", f"n{at * 7 % 1_000}", {"at": at, "text": text}, time_us)
    if at % 9 == 0:
        yield Remove(Edge("e", f"n{at % 300}", f"n{(at - 300) * 7 % 1_000}").ref, time_us)


def run(graph):
    """The events that were acknowledged when the run ended, and the error that ended it."""
    acknowledged = [0]
    runner = EmbeddedRunner(max_batch_events=BATCH_EVENTS)
    source = IterSource("s", range(EVENTS), time_us=lambda at: NOW_US)
    sink = GraphSink(graph.store, graph.schema)
    try:
        runner.run(
            Job("fill", lambda event: outputs(event.value)),
            source,
            sink,
            progress=lambda one: acknowledged.append(acknowledged[0] + one.events),
        )
    except Unavailable as error:
        return acknowledged[-1], error
    return acknowledged[-1], None


def contents(graph):
    nodes = {node.ref: node for node in graph.start("n").nodes()}
    ids = [f"n{number}" for number in range(1_000)]
    forward = {edge.ref: edge for edge in graph.start("n", ids).out("e").edges()}
    assert forward == {edge.ref: edge for edge in graph.start("n", ids).in_("e").edges()}
    return nodes, forward


def reference(events):
    """All outputs of the first events, applied to a dictionary in the order of their times."""
    told = [(one.event_time_us, at, n, one) for at in range(events) for n, one in enumerate(outputs(at))]
    held = {}
    for *_, output in sorted(told, key=lambda one: one[:3]):
        if isinstance(output, Remove):
            held.pop(output.what, None)
        else:
            held[output.ref] = output
    nodes = {ref: one for ref, one in held.items() if isinstance(one, Node)}
    return nodes, {ref: one for ref, one in held.items() if isinstance(one, Edge)}


def position(graph):
    reached = GraphSink(graph.store, graph.schema).positions("fill/s")
    return reached[0].position if reached else 0


def with_small_disk(folder):
    """Give this process alone a file system of two megabytes at `folder`."""
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    kernel.mount(None, "/", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", folder, kernel.MS_NOSUID | kernel.MS_NODEV, SMALL)


def fill(report, folder, reopened):
    with_small_disk(folder)
    graph = Graph.open(f"{folder}/graph", TYPES)
    acknowledged, error = run(graph)
    report(str(error))
    again, error = run(graph)
    report((again, str(error)))
    if reopened:
        graph.close()
        graph = Graph.open(f"{folder}/graph")
    report((acknowledged, position(graph)))
    report(contents(graph) == reference(position(graph)))
    kernel.mount(None, folder, kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV, LARGE)
    _, error = run(graph)
    report((error, position(graph), contents(graph) == reference(EVENTS)))
    graph.close()


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("reopened", [False, True])
def test_a_full_disk_stops_a_job_and_space_lets_it_go_on(tmp_path, reopened):
    folder = tmp_path / "disk"
    folder.mkdir()
    with child_process(fill, str(folder), reopened) as child:
        said, repeated, (acknowledged, reached), readable, end = child.reports()
    assert said == f"the disk under `{folder}/graph` is full; free some space, then try again"
    assert repeated == (0, said)
    assert reached == acknowledged
    assert 0 < reached < EVENTS
    assert reached % BATCH_EVENTS == 0
    assert readable
    assert end == (None, EVENTS, True)
    assert not list(folder.iterdir())
