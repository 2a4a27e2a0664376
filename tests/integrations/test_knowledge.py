"""The graph_query tool over a real graph: what it shows, hides, refuses and tells of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weft.agent.models import ToolCall
from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.tools import Toolbox, ToolContext, standard_tools
from weft.authz import Authz
from weft.core.errors import WeftError
from weft.graph import Edge, EdgeType, Graph, Node, NodeType
from weft.integrations.knowledge import GraphKnowledge
from weft.integrations.visibility import AuthzVisibility

SCHEMA = """
definition user {}
definition file {
  relation reader: user
  permission see = reader
}
"""


@pytest.fixture
def authz(tmp_path: Path):
    with Authz.open("memory:") as opened:
        opened.write_schema(SCHEMA)
        opened.write(touch=["file:a.py#reader@user:ann", "file:b.py#reader@user:ann"])
        yield opened


@pytest.fixture
def ask(tmp_path: Path, authz: Authz):
    types = [
        NodeType("person"),
        NodeType("file", properties={"lines": int}),
        EdgeType("wrote", source="person", target="file"),
    ]
    files = ["a.py", "b.py", "c.py"]
    with Graph.open(tmp_path / "graph", types=types) as graph:
        graph.put(
            nodes=[
                Node("person", "bob"),
                *(Node("file", name, {"lines": n}) for n, name in enumerate(files)),
            ],
            edges=[Edge("wrote", "bob", name) for name in files],
        )

        def eyes() -> AuthzVisibility:
            return AuthzVisibility(authz, "user:ann", {"file": "see"}, public=["person"])

        toolbox = Toolbox(standard_tools(None, graph=GraphKnowledge(graph, eyes)))
        (tmp_path / "w").mkdir()
        with Sandbox.open(tmp_path / "w", provider=Unconfined()) as box:

            def run(query: str) -> str:
                tool, parsed = toolbox.parse(ToolCall("1", "graph_query", json.dumps({"query": query})))
                return tool.run(parsed, ToolContext(box, None, 5.0)).text

            yield run


WROTE = "MATCH (p:person {id: 'bob'})-[:wrote]->(f:file) RETURN f.id AS file, f.lines AS lines ORDER BY file"


def test_rows_hold_what_may_be_seen_at_that_moment(ask, authz: Authz) -> None:
    assert ask(WROTE) == 'file, lines  [2 rows]\n["a.py",0]\n["b.py",1]'
    authz.write(delete=["file:b.py#reader@user:ann"])
    assert ask(WROTE) == 'file, lines  [1 rows]\n["a.py",0]'


def test_nodes_are_shown_whole_and_types_are_told(ask) -> None:
    assert '"a.py"' in ask("MATCH (p:person {id: 'bob'})-[:wrote]->(f:file) RETURN f LIMIT 1")
    assert ask("").splitlines() == ["(:person)", "(:file {lines})", "(:person)-[:wrote]->(:file)"]


def test_what_would_write_or_does_not_parse_is_refused(ask) -> None:
    for query in ("CREATE (p:person {id: 'x'})", "MATCH (f:file) DETACH DELETE f", "MATCH nonsense"):
        with pytest.raises(WeftError):
            ask(query)
