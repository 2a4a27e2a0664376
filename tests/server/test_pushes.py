"""A job that fails refuses what it had, and takes what is pushed again."""

import pytest

from weft.authz import Authz
from weft.core.errors import NotFound, Unavailable
from weft.graph import Event, Graph, Job, Node, NodeType
from weft.server import pushes
from weft.server.pushes import Pushes


def test_after_a_failure_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushes, "_AGAIN_S", 0.0)
    failures = [Unavailable("the table is away"), Unavailable("still")]

    def transform(event: Event) -> list[Node]:
        if failures:
            raise failures.pop()
        return [Node("title", event.value)]

    with Graph.open("memory:", [NodeType("title")]) as graph, Authz.open("memory:") as authz:
        with Pushes(graph, authz, [Job("titles", transform)]) as running:
            for _ in range(2):
                with pytest.raises(Unavailable, match="not known to be durable"):
                    running.push("titles", b'"Dune"')
                assert graph.node("title", "Dune") is None
            assert running.push("titles", b'"Dune"') == 1
            assert graph.node("title", "Dune") is not None
            with pytest.raises(NotFound, match=r"no job `none`; it was started with `titles`"):
                running.push("none", b"{}")
        with pytest.raises(Unavailable, match="takes no more events"):
            running.push("titles", b'"Heat"')


def test_two_servers_over_one_graph_lose_no_dead_letter() -> None:
    def transform(event: Event) -> list[Node]:
        raise ValueError(event.value)

    with Graph.open("memory:", [NodeType("title")]) as graph, Authz.open("memory:") as authz:
        jobs = [Job("titles", transform)]
        with Pushes(graph, authz, jobs) as one, Pushes(graph, authz, jobs) as other:
            assert one.push("titles", b'"Dune"') == other.push("titles", b'"Heat"') == 1
        reasons = [letter.reason for letter in graph.dead_letters("titles")]
    assert sorted(reasons) == ["ValueError: Dune", "ValueError: Heat"]
