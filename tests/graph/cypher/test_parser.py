"""Whatever the text, it parses or is refused by name and place, quickly."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import Invalid, LimitExceeded
from weft.graph import EdgeType, Graph, NodeType
from weft.graph.cypher.errors import QueryError
from weft.graph.cypher.parser import parse
from weft.graph.cypher.tokens import tokenize
from weft.testing.graph_cypher_queries import cypher_queries

PIECES = [
    "MATCH",
    "OPTIONAL",
    "WHERE",
    "WITH",
    "RETURN",
    "ORDER",
    "BY",
    "SKIP",
    "LIMIT",
    "AS",
    "DISTINCT",
    "AND",
    "OR",
    "NOT",
    "IN",
    "STARTS",
    "IS",
    "NULL",
    "CASE",
    "CALL\n(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "-",
    "=",
    "<>",
    "<=",
    "..",
    ".",
    ",",
    ":",
    ";",
    "|",
    "*",
    "+",
    "/",
    "%",
    "^",
    "$id",
    "$",
    "`",
    "'",
    '"',
    "\\",
    "//",
    "/*",
    "*/",
    "n",
    "r",
    "1",
    "2.5",
    "1e999",
    "0x",
    "..",
    "'x'",
    "n.id",
    "count(*)\nexists(",
    "(n)-[:a]->()",
    "[:a*1..3]",
    "=~",
    "é",
    "\x00",
    "�",
]


@pytest.fixture(scope="module")
def graph():
    return Graph.open(
        "memory:",
        [
            NodeType("account", properties={"name": str, "age": int}),
            NodeType("title", properties={"year": int}),
            EdgeType("watched", source="account", target="title", properties={"device": str}),
            EdgeType("follows", source="account", target="account"),
        ],
    )


def _only_refuses(text):
    with suppress(Invalid, LimitExceeded):
        parse(text)


@given(st.text())
def test_any_text(text):
    _only_refuses(text)
    _only_refuses(f"MATCH (n) WHERE {text} RETURN n")


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_pieces(pieces):
    _only_refuses(" ".join(pieces))
    _only_refuses("".join(pieces))


@given(cypher_queries(), st.data())
def test_a_changed_query(query, data):
    tokens = [token.text for token in tokenize(query.text)]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        end = data.draw(st.integers(at, min(at + 2, len(tokens))))
        tokens[at:end] = data.draw(st.lists(st.sampled_from([*PIECES, *tokens]), max_size=2))
        tokens = tokens or [""]
    text = " ".join(tokens)
    _only_refuses(text)
    graph = Graph.open("memory:", [NodeType("person"), EdgeType("knows", source="person", target="person")])
    try:
        graph.query(text, **query.parameters)
    except (Invalid, LimitExceeded) as refused:
        assert refused.message.isprintable()  # noqa: PT017


@pytest.mark.parametrize("depth", [30, 33, 5_000])
@pytest.mark.parametrize(
    ("opening", "inner", "closing"),
    [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("NOT ", "true", ""),
        ("- ", "n.age", ""),
        ("+ ", "1", ""),
        ("abs(", "1", ")"),
        ("(1 + 2 * 3 ^ (NOT -", "n.age", "))"),
        ("(n.age = 1 OR n.age IN [1, - abs(", "1", ")])"),
        ("", "n", ".age"),
    ],
)
def test_nesting_has_a_bound(graph, opening, inner, closing, depth):
    text = f"MATCH (n:account) RETURN {opening * depth}{inner}{closing * depth} AS x"
    if depth > 32:
        with pytest.raises(LimitExceeded):
            graph.query(text)
    else:
        _only_refuses(text)
        try:
            graph.query(text)
        except LimitExceeded:
            assert opening.count("(") + opening.count("[") > 1


@pytest.mark.parametrize(
    "text",
    [
        "RETURN " + " + ".join(["1"] * 4_000),
        "RETURN " + " OR ".join(["true"] * 2_000),
        "RETURN " + ", ".join(f"{n} AS c{n}" for n in range(1_000)),
        "MATCH (n:account) WHERE " + " AND ".join(["n.age > 1"] * 1_200) + " RETURN n",
        "MATCH (n:account) WHERE n.age IN [" + ", ".join(["1"] * 5_000) + "] RETURN n",
    ],
)
def test_long_queries_are_no_deep_queries(graph, text):
    graph.query(text)


@pytest.mark.parametrize(
    "text",
    [
        "RETURN '" + "x" * 70_000 + "'",
        "MATCH " + ", ".join(["()"] * 65) + " RETURN 1",
        "MATCH (n:account) " * 64 + "RETURN 1",
        "WITH [1, 2] AS l" + " WITH l + l AS l" * 40 + " RETURN l",
        "WITH [1, 2] AS l" + " WITH [l, l] AS l" * 40 + " RETURN l",
        "WITH 'ab' AS s" + " WITH s + s AS s" * 40 + " RETURN s",
    ],
)
def test_size_has_a_bound(graph, text):
    with pytest.raises(LimitExceeded):
        graph.query(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 ^ 2", 19.0),
        ("2 ^ 3 ^ 2", 64.0),
        ("-2 ^ 2", 4.0),
        ("7 - 2 - 1", 4),
        ("7 / 2 * 2", 6),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7.0 / 2", 3.5),
        ("1 / 0", None),
        ("9223372036854775807 + 1", None),
        ("1e308 * 10", None),
        ("'a' + 1", None),
        ("[1] + 2 + [3]", [1, 2, 3]),
        ("0xff", 255),
        (".5e1", 5.0),
        ("NOT true OR true", True),
        ("true OR false AND false", True),
        ("true XOR true OR true", True),
        ("NOT 1 = 2", True),
        ("1 < 2 < 3", True),
        ("1 < 2 > 3", False),
        ("null = null", None),
        ("null <> 1", None),
        ("1 = '1'", False),
        ("1 < '2'", None),
        ("1 = 1.0", True),
        ("true = 1", False),
        ("[1, null] = [1, 2]", None),
        ("[1, null] = [2, 2]", False),
        ("[] = [null]", False),
        ("null AND false", False),
        ("null OR true", True),
        ("null XOR true", None),
        ("NOT null", None),
        ("1 IN [2, null]", None),
        ("1 IN [1, null]", True),
        ("null IN []", False),
        ("1 IN null", None),
        ("true IN [1]", False),
        ("'abc' STARTS WITH 'ab' AND 'abc' ENDS WITH 'bc'", True),
        ("'abc' CONTAINS null", None),
        ("null IS NULL", True),
        ("1 IS NOT NULL", True),
        ("coalesce(null, 2, 3)", 2),
        ("size('äö')", 2),
        ("size([1, [2, 3]])", 2),
        ("abs(-3)", 3),
        ("toUpper('aß')", "ASS"),
        ("head([])", None),
        ("last([1, 2])", 2),
        (r"'it\'s \u00e9 \n'", "it's é \n"),
        ('"a\'b"', "a'b"),
        ("$p.x", 1),
        ("$`a b`", 2),
        ("/* one */ 1 // two", 1),
        ("count(*)", 1),
        ("sum(null)", 0),
        ("avg(null)", None),
        ("collect(null)", []),
    ],
)
def test_values(graph, text, value):
    (row,) = graph.query(f"RETURN {text}\n AS `the value`", **{"p": {"x": 1}, "a b": 2})
    assert row == {"the value": value}
    assert type(row["the value"]) is type(value)


GOLDEN = [
    ("CREATE (n)", "1:1", "`CREATE` is not part of this language", "Graph.put"),
    ("MATCH (n) SET n.x = 1", "1:11", "`SET` is not part of this language", "Graph.put"),
    ("MATCH (n)\nDETACH DELETE n", "2:1", "`DETACH` is not part of this language", "Graph.delete"),
    ("MERGE (n) RETURN n", "1:1", "`MERGE` is not part of this language", "only read"),
    ("CALL { RETURN 1 }", "1:1", "`CALL` is not part of this language", "second query"),
    ("UNWIND [1] AS x RETURN x", "1:1", "`UNWIND` is not part of this language", "n.id IN $ids"),
    ("RETURN 1 UNION RETURN 2", "1:10", "`UNION` is not part of this language", "both queries"),
    ("RETURN CASE WHEN true THEN 1 END", "1:8", "`CASE` is not part of this language", "in Python"),
    ("MATCH (n) WHERE EXISTS { (n)--() } RETURN n", "1:17", "the subquery `EXISTS {`", "pattern itself"),
    ("MATCH (n) WHERE n.name =~ 'a.*' RETURN n", "1:24", "regular expressions", "CONTAINS"),
    ("RETURN [x IN [1] | x]", "1:18", "a list comprehension", "in Python"),
    ("RETURN [1][0]", "1:11", "indexing", "head(...)"),
    ("RETURN {a: 1}", "1:8", "a map", "columns"),
    ("MATCH p = shortestPath((a)-[*]->(b)) RETURN p", "1:11", "`shortestPath`", "length(p)"),
    ("MATCH (a)-[*]->(b) RETURN a", "1:12", "a variable length has an upper bound", "`*1..3`"),
    ("MATCH (a)-[*0..2]->(b) RETURN a", "1:12", "a variable length starts at 1", "second query"),
    ("MATCH (a)-[*3..2]->(b) RETURN a", "1:12", "the variable length `3..2` cannot be", "at most 64"),
    ("MATCH (n:account:title) RETURN n", "1:17", "a node or edge has one type", "`:a|b`"),
    ("MATCH (n $p) RETURN n", "1:10", "a parameter cannot be all properties", "`{id: $id}`"),
    ("MATCH (n:acount) RETURN n", "1:10", "there is no node type `acount`", "did you mean `account`?"),
    ("MATCH ()-[:wached]-() RETURN 1", "1:12", "there is no edge type `wached`", "did you mean `watched`?"),
    ("MATCH (n:account) RETURN n.nmae", "1:28", "has no property `nmae`", "did you mean `name`?"),
    ("MATCH (n:account {nmae: 1}) RETURN n", "1:25", "has no property `nmae`", "did you mean `name`?"),
    ("MATCH (person) RETURN preson", "1:23", "nothing here is named `preson`", "did you mean `person`?"),
    ("MATCH (n) RETURN siz(n)", "1:18", "there is no function `siz`", "did you mean `size`?"),
    ("MATCH (n) WHERE n.id = $idd RETURN n", "1:24", "the parameter `$idd` was not given", "`id`"),
    ("MATCH (n) RETURN type(n)", "1:18", "`type` does not take this", "labels(n)"),
    ("MATCH (n) WHERE count(n) > 1 RETURN n", "1:17", "counts over rows", "WITH or RETURN"),
    ("MATCH (n) RETURN n.id + count(*)", "1:18", "`n` beside an aggregate", "column of its own"),
    ("MATCH (n) RETURN n, n", "1:21", "two columns are named `n`", "AS"),
    ("MATCH (n) WITH n.id RETURN 1", "1:16", "this column has no name", "`AS name`"),
    ("MATCH (n)-[n]-() RETURN 1", "1:10", "`n` is already taken", "another name"),
    ("MATCH ()-[r]-() MATCH ()-[r]-() RETURN 1", "1:25", "`r` is already taken", "another name"),
    ("MATCH (n) WITH 1 AS n MATCH (n) RETURN n", "1:29", "`n` is not a node", "MATCH"),
    (
        "MATCH (n:title)-[:watched]->() RETURN n",
        "1:16",
        "no such path can exist",
        "from `account` to `title`",
    ),
    ("MATCH (n) RETURN n LIMIT -1", "1:26", "`LIMIT` takes a number, not `-1`", "at least 0"),
    ("MATCH (n) RETURN n LIMIT n.age", "1:26", "nothing here is named `n`", ""),
    ("MATCH (n) RETURN", "1:17", "expected an expression, found the end", ""),
    ("MATCH (n) RETURN n n", "1:20", "expected the end of the query, found `n`", ""),
    ("MATCH (match) RETURN 1", "1:8", "expected the name of a node, found `match`", "backticks"),
    ("MATCH n RETURN n", "1:7", "expected a node, as in `(n)`, found `n`", ""),
    ("RETURN 'abc", "1:8", "this string never ends", "close it"),
    ("RETURN 1 /* abc", "1:10", "this comment never ends", "close it"),
    ("RETURN 'a\\q'", "1:10", "is not an escape", "\\n"),
    ("RETURN 99999999999999999999", "1:8", "does not fit into 64 bits", "smaller"),
    ("RETURN #", "1:8", "unexpected `#`", "remove"),
    ("RETURN (:account)-->()", "1:8", "a pattern is not a value", "WHERE"),
    ("MATCH (n) WHERE (n)-[r]-() RETURN n", "1:17", "nothing here is named `r`", ""),
    ("MATCH (n)-[r*1..2]-() RETURN r.device", "1:32", "a list of edges has no properties", "pattern"),
    ("MATCH (n)", "1:10", "expected MATCH, WITH or RETURN, found the end", ""),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), GOLDEN, ids=[one[0] for one in GOLDEN])
def test_what_is_refused_says_where_why_and_what_instead(graph, text, place, message, hint):
    with pytest.raises(QueryError) as refused:
        graph.query(text, id="a")
    error = refused.value
    assert f"{error.line}:{error.column}" == place
    assert message in error.message
    assert hint in error.hint


def test_a_caret_stands_under_the_place(graph):
    with pytest.raises(QueryError) as refused:
        graph.query("MATCH (n:account)\nRETURN n.nmae")
    assert refused.value.excerpt == "2 | RETURN n.nmae\n  |          ^^^^"
    assert str(refused.value) == (
        "line 2, column 10: node type `account` has no property `nmae`; did you mean `name`?"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1 << 63, object(), {1: 2}, {1}])
def test_parameters_are_values(graph, value):
    with pytest.raises(Invalid, match="the parameter `p` is"):
        graph.query("RETURN $p", p=value)
