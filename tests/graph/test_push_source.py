"""The push source: acknowledged means durable, refused means it can be pushed again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from weft.core.errors import Invalid, LimitExceeded, Unavailable
from weft.graph import Graph, Job, Node, NodeType
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.sources import PushSource, push
from weft.testing.ingest import Crash, Mortal
from weft.testing.processes import child_process

TYPES = [NodeType("person", properties={"n": int})]
people = Job("people", lambda event: [Node("person", event.value["who"], {"n": event.value["n"]})])


@pytest.fixture
def graph():
    return Graph.open("memory:", TYPES)


@pytest.fixture
def source():
    return PushSource("door", time_field="at")


@contextmanager
def running(graph, source, deaths=()):
    """A run in a thread of its own, stopped when the block ends; gives its future."""
    sink = GraphSink(Mortal(graph.store, "mutate", list(deaths)), graph.schema)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(EmbeddedRunner().run, people, source, sink)
        try:
            yield future
        finally:
            source.stop()


def person(who, n=1, at=5):
    return {"who": who, "n": n, "at": at}


def test_what_is_acknowledged_is_in_the_graph(graph, source):
    with running(graph, source) as run:
        for n in range(20):
            assert source.push([person(f"p{n}"), person("same", n, n)]) == 2
            assert graph.node("person", f"p{n}") is not None
            assert graph.node("person", "same").properties == {"n": n}
        source.stop()
        assert run.result().events == 40


def test_many_threads_share_checkpoints_and_lose_nothing(graph, source):
    with running(graph, source) as run, ThreadPoolExecutor(8) as pushers:
        done = list(pushers.map(lambda n: source.push([person(f"p{n}")]), range(200)))
        assert graph.start("person").count() == 200
        source.stop()
        assert (sum(done), run.result().events) == (200, 200)


def test_offsets_go_on_where_the_last_run_stopped(graph, source):
    with running(graph, source):
        source.push([person("a"), person("b")])
    again = PushSource("door", time_field="at")
    with running(graph, again):
        again.push([person("c")])
    assert GraphSink(graph.store, graph.schema).positions("people/door")[0].position == 3


@pytest.mark.parametrize(("death", "kept"), [("before", 0), ("after", 1)])
def test_a_push_whose_write_fails_is_refused_and_pushing_again_is_harmless(graph, source, death, kept):
    with running(graph, source, [death]) as run:
        with pytest.raises(Unavailable, match="push them again"):
            source.push([person("a")])
        assert isinstance(run.exception(), Crash)
    assert graph.start("person").count() == kept
    again = PushSource("door", time_field="at")
    with running(graph, again):
        again.push([person("a")])
    assert graph.node("person", "a") == Node("person", "a", {"n": 1}, 5)


def test_without_a_run_a_push_times_out_and_leaves_nothing_behind(graph, source):
    with pytest.raises(Unavailable, match="not known to be durable"):
        source.push([person("a")], timeout_s=0)
    with running(graph, source) as run:
        source.push([person("b")])
        source.stop()
        assert run.result().events == 1


def test_what_waits_is_bounded(source, monkeypatch):
    monkeypatch.setattr(push, "MAX_WAITING_EVENTS", 3)
    with pytest.raises(LimitExceeded, match="a push has 4 events, the limit is 3"):
        source.push([person("a")] * 4)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(source.push, [person("a")] * 2)
        while source.pending({}) < 2:
            pass
        with pytest.raises(Unavailable, match="too many events waiting"):
            source.push([person("b")] * 2, timeout_s=0)
        graph = Graph.open("memory:", TYPES)
        with running(graph, source):
            assert first.result() == 2


def test_stopping_takes_what_waits_and_refuses_what_comes(graph, source):
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(source.push, [person("a")])
        while not source.pending({}):
            pass
        source.stop()
        with pytest.raises(Unavailable, match="takes no more events"):
            source.push([person("b")])
        assert graph.ingest(people, source).events == 1
        assert first.result() == 1


BODIES = [
    (b'{"who": "a", "n": 1, "at": 5}', ["a"], 0),
    (b'\n {"who": "a", "n": 1,\n "at": 5}\n', ["a"], 0),
    (b'[{"who": "a", "n": 1, "at": 5}, {"who": "b", "n": 1, "at": 5}]', ["a", "b"], 0),
    (b'{"who": "a", "n": 1, "at": 5}\n\n{"who": "b", "n": 1, "at": 5}\r\n', ["a", "b"], 0),
    (b'{"who": "a", "n": 1, "at": 5}\nnonsense\n{"who": "b", "n": 1}\n', ["a"], 2),
    (b"[]", [], 0),
]


@pytest.mark.parametrize(("body", "ids", "dead"), BODIES)
def test_bodies_are_arrays_single_events_or_lines(graph, source, body, ids, dead):
    with running(graph, source):
        assert source.push_body(body) == len(ids) + dead
    assert [node.id for node in graph.start("person").nodes()] == ids
    assert len(list(graph.dead_letters(people))) == dead


@pytest.mark.parametrize("body", [b"nonsense", b"[1, 2", b"\xff\n\xfe", b"[" * 100_000])
def test_a_body_without_any_event_is_refused(source, body):
    with pytest.raises(Invalid, match="no event in the body is JSON"):
        source.push_body(body)


def serve(report, path):
    """Push for ever, reporting what was acknowledged."""
    source = PushSource("door", time_field="at")
    with Graph.open(path, TYPES) as graph:
        threading.Thread(target=graph.ingest, args=(people, source), daemon=True).start()
        for n in range(1_000_000):
            source.push([person(f"p{n}", n)])
            report(n)


@pytest.mark.slow
def test_what_was_acknowledged_survives_sigkill(tmp_path):
    with child_process(serve, tmp_path / "graph") as child:
        for _ in range(20):
            acknowledged = child.next_report()
        child.kill()
    with Graph.open(tmp_path / "graph") as graph:
        for n in range(acknowledged + 1):
            assert graph.node("person", f"p{n}") is not None
