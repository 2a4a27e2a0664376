"""Types: what they accept, what they refuse and how they say it, and what a graph remembers of them."""

from __future__ import annotations

import pytest

from weft.core.errors import Conflict, Invalid, LimitExceeded
from weft.graph import Edge, EdgeType, Graph, Node, NodeType, types_from_toml
from weft.graph.schema import Schema
from weft.graph.types import decode_types, encode_types

PERSON = NodeType("person", properties={"name": str, "age": int, "score": float, "tags": list})
KNOWS = EdgeType("knows", source="person", target="person", properties={"since": int}, unknown="keep")


@pytest.fixture
def graph():
    return Graph.open("memory:", [PERSON, KNOWS])


def test_properties_come_back_as_they_were(graph):
    properties = {"name": "Ann é\0", "age": -(2**63), "score": 1.5, "tags": ["x", 1]}
    graph.put(nodes=[Node("person", "a", properties)])
    assert graph.node("person", "a").properties == properties


def test_none_means_absent_and_an_integer_will_do_for_a_float(graph):
    graph.put(nodes=[Node("person", "a", {"name": None, "score": 2})])
    properties = graph.node("person", "a").properties
    assert properties == {"score": 2.0}
    assert type(properties["score"]) is float


def test_a_type_may_keep_unknown_properties(graph):
    graph.put(edges=[Edge("knows", "a", "b", {"since": 1, "why": ["x"], "nothing": None})])
    assert graph.start("person", "a").out("knows").edges()[0].properties == {"since": 1, "why": ["x"]}


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (Node("alien", "a"), "there is no node type `alien`"),
        (Node("person", ""), "a node id is a string with at least one character"),
        (Node("person", 7), "a node id is a string with at least one character"),
        (Node("person", "\ud800"), "is not Unicode text"),
        (Node("person", "a", {"nick": "x"}), "node type `person` has no property `nick`"),
        (Node("person", "a", {"age": "old"}), "property `age` of node type `person` is an int, not `'old'`"),
        (Node("person", "a", {"age": True}), "property `age` of node type `person` is an int, not `True`"),
        (Node("person", "a", {"age": 2**64}), "cannot be stored"),
        (Node("person", "a", {"score": float("nan")}), "is not a number"),
        (Node("person", "a", {"name": "\udcff"}), "cannot be stored"),
        (Node("person", "a", {"tags": [object()]}), "cannot be stored"),
        (Node("person", "a", {}, -1), "the event time `-1` is not in microseconds since 1970"),
        (Node("person", "a", {}, 1.5), "the event time `1.5`"),
        (Node("person", "a", {}, 2**61), "event time"),
        (Edge("knows", "a", "b"), "`nodes` takes Node(...)"),
    ],
)
def test_a_bad_node_is_one_clear_error_and_nothing_is_written(graph, node, says):
    with pytest.raises(Invalid) as refused:
        graph.put(nodes=[Node("person", "good"), node])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert graph.node("person", "good") is None


def test_a_node_id_has_a_limit(graph):
    graph.put(nodes=[Node("person", "é" * 200)])
    with pytest.raises(LimitExceeded, match="401 bytes"):
        graph.put(nodes=[Node("person", "x" * 401)])


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: NodeType("Person"), "`Person` cannot be the name of a node type"),
        (lambda: NodeType("x" * 41), "cannot be the name"),
        (
            lambda: NodeType("p", properties={"a": complex}),
            "property `a` of node type `p` has the unknown kind",
        ),
        (lambda: NodeType("p", unknown="drop"), "use `keep` or `refuse`"),
        (lambda: NodeType("p", ttl_s=0), "ttl_s=`0`"),
        (lambda: Schema([PERSON, PERSON]), "node type `person` is declared twice"),
        (lambda: Schema([KNOWS]), "the source of edge type `knows` is the undeclared node type `person`"),
        (lambda: Schema(["person"]), "is not a type"),
        (lambda: types_from_toml("[node.p]\nprops = 1"), "[node.p] does not parse: Object contains unknown"),
        (lambda: types_from_toml("[node.p]\nprops = 1"), "its fields are properties, unknown, ttl_s, groups"),
        (lambda: types_from_toml("[edge.e]\nsource = 'p'"), "[edge.e] does not parse: Object missing"),
        (lambda: types_from_toml("[nodes.p]"), "the graph types have `nodes`; write [node.NAME]"),
        (lambda: types_from_toml("edge = 3"), "`edge` is not a table; write [edge.NAME]"),
        (lambda: types_from_toml("["), "the graph types do not parse"),
    ],
)
def test_a_bad_declaration_says_what_is_wrong(declare, says):
    with pytest.raises(Invalid) as refused:
        declare()
    assert says in str(refused.value)


def test_toml_and_python_declare_the_same():
    declared = types_from_toml(
        """
        [node.person]
        properties = { name = "str", age = "int", score = "float", tags = "list" }
        [edge.knows]
        source = "person"
        target = "person"
        properties = { since = "int" }
        unknown = "keep"
        """
    )
    assert declared == [PERSON, KNOWS]
    assert decode_types(encode_types([PERSON, KNOWS])) == [PERSON, KNOWS]


def test_a_graph_remembers_its_types(tmp_path):
    with Graph.open(tmp_path / "g", [PERSON, KNOWS]) as graph:
        graph.put(nodes=[Node("person", "a", {"age": 3})])
    with Graph.open(tmp_path / "g") as graph:
        assert graph.schema.types() == [PERSON, KNOWS]
        assert graph.node("person", "a").properties == {"age": 3}


def test_types_may_grow_and_change_their_retention(tmp_path):
    with Graph.open(tmp_path / "g", [PERSON, KNOWS]):
        pass
    grown = NodeType("person", properties={**PERSON.properties, "nick": str}, ttl_s=60)
    with Graph.open(tmp_path / "g", [grown, NodeType("town")]) as graph:
        graph.put(nodes=[Node("person", "a", {"nick": "x"}), Node("town", "t")])
    with Graph.open(tmp_path / "g") as graph:
        assert graph.schema.types() == [grown, NodeType("town"), KNOWS]


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (
            [NodeType("person", properties={**PERSON.properties, "age": str})],
            "property `age` of node type `person`",
        ),
        ([NodeType("person")], "property `name` of node type `person` is not declared"),
        (
            [NodeType("town"), EdgeType("knows", source="person", target="town", properties={"since": int})],
            "edge type `knows` joins `person` to `town`, but in this graph `person` to `person`",
        ),
    ],
)
def test_a_declaration_that_contradicts_stored_data_is_a_conflict(tmp_path, declared, says):
    Graph.open(tmp_path / "g", [PERSON, KNOWS]).close()
    with pytest.raises(Conflict) as refused:
        Graph.open(tmp_path / "g", declared)
    assert says in str(refused.value)
    with Graph.open(tmp_path / "g") as graph:
        assert graph.schema.types() == [PERSON, KNOWS]
