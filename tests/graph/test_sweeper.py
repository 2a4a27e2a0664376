"""A graph that is served or run keeps itself swept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from weft.core.settings import load
from weft.graph import Edge, EdgeType, Graph, NodeType
from weft.server import serve as serving
from weft.testing.clock import VirtualClock

TYPES = [NodeType("n"), EdgeType("e", "n", "n", newest=True, cap=2)]


def fill(graph: Graph) -> None:
    graph.put(edges=[Edge("e", "a", f"b{number}") for number in range(9)])


def test_the_thread_does_what_a_sweep_does() -> None:
    with Graph.open("memory:", TYPES, clock=VirtualClock()) as graph:
        fill(graph)
        assert graph.sweeper().run_once() == 7
        assert len(graph.start("n", "a").out("e").edges()) == 2
        assert graph.sweep() == 0


def test_a_server_sweeps_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Graph.open(tmp_path / "graph", TYPES) as graph:
        fill(graph)
    monkeypatch.setattr("weft.graph.graph._SWEEP_EVERY_S", 0.01)
    monkeypatch.setattr(serving, "build_app", lambda authz, graph, *_: graph)
    monkeypatch.setattr(serving, "run", lambda graph, *_: wait_until_swept(graph))
    serving.serve(load(environ={}, flags={"data": tmp_path, "server": {"port": 0}}))
    assert not any(thread.name == "weft-sweeper" for thread in threading.enumerate())


def wait_until_swept(graph: Graph) -> None:
    for _ in range(2_000):
        if len(graph.start("n", "a").out("e").edges()) == 2:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nothing was swept")
