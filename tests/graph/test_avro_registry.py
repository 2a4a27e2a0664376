"""The schema registry: ids, subjects, compatibility, and the wire format as a decoder of any source."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import Conflict, Invalid, NotFound, WeftError
from weft.graph import Graph, Job, Node, NodeType
from weft.graph.ingest.avro_registry import SchemaRegistry
from weft.graph.ingest.sources import Decoded, IterSource


def record(*fields):
    return {
        "type": "record",
        "name": "Play",
        "fields": [dict(zip(("name", "type", "default"), f, strict=False)) for f in fields],
    }


WHO, AT = ("who", "string"), ("at", "long")
OPTIONAL = ("device", "string", "tv")


@pytest.fixture
def registry(tmp_path):
    return SchemaRegistry(tmp_path / "registry")


def test_ids_are_given_once_per_schema_and_survive(registry, tmp_path):
    one = registry.register("plays", record(WHO, AT))
    two = registry.register("plays", record(WHO, AT, OPTIONAL))
    assert (one, two) == (1, 2)
    assert registry.register("plays", record(WHO, AT)) == 1
    assert registry.register("a/b é ..", record(WHO, AT)) == 1
    again = SchemaRegistry(tmp_path / "registry")
    assert again.versions("plays") == [1, 2]
    assert again.versions("a/b é ..") == [1]
    assert again.versions("other") == []
    assert again.schema(2) == record(WHO, AT, OPTIONAL)
    with pytest.raises(NotFound, match="no schema with id 9"):
        again.schema(9)


# From a schema to the next: which levels allow it.
CHANGES = [
    ("a field with a default more", record(WHO), record(WHO, OPTIONAL), {"BACKWARD", "FORWARD", "FULL"}),
    ("a field without default more", record(WHO), record(WHO, AT), {"FORWARD"}),
    ("a field without default less", record(WHO, AT), record(WHO), {"BACKWARD"}),
    ("int to long", record(("n", "int")), record(("n", "long")), {"BACKWARD"}),
    ("long to int", record(("n", "long")), record(("n", "int")), {"FORWARD"}),
    ("string to bytes", record(("n", "string")), record(("n", "bytes")), {"BACKWARD", "FORWARD", "FULL"}),
    ("string to int", record(("n", "string")), record(("n", "int")), set()),
    ("a union wider", record(("n", ["null", "int"])), record(("n", ["null", "int", "string"])), {"BACKWARD"}),
    (
        "an enum symbol more",
        record(("n", {"type": "enum", "name": "E", "symbols": ["A"]})),
        record(("n", {"type": "enum", "name": "E", "symbols": ["A", "B"]})),
        {"BACKWARD"},
    ),
    (
        "elements of an array",
        record(("n", {"type": "array", "items": "int"})),
        record(("n", {"type": "array", "items": "string"})),
        set(),
    ),
]


@pytest.mark.parametrize(
    "level",
    [
        "BACKWARD",
        "BACKWARD_TRANSITIVE",
        "FORWARD",
        "FORWARD_TRANSITIVE",
        "FULL",
        "FULL_TRANSITIVE",
        "NONE",
    ],
)
@pytest.mark.parametrize(
    ("before", "after", "allowed"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_each_level_allows_what_avros_schema_resolution_can_read(registry, level, before, after, allowed):
    registry.set_compatibility("plays", level)
    registry.register("plays", before)
    if level.removesuffix("_TRANSITIVE") in allowed | {"NONE"}:
        assert registry.check("plays", after) == []
        assert registry.register("plays", after) == 2
    else:
        assert registry.check("plays", after)
        with pytest.raises(Conflict, match=f"not {level} compatible with version 1 of `plays`"):
            registry.register("plays", after)
        assert registry.versions("plays") == [1]


# Each fits the one before it, and the third does not fit the first.
_HISTORIES = {
    "BACKWARD": [record(WHO, AT), record(WHO), record(WHO, ("at", "string", ""))],
    "FORWARD": [record(WHO, ("at", "long", 0)), record(WHO), record(WHO, ("at", "string"))],
    "FULL": [record(WHO, ("at", "long", 0)), record(WHO), record(WHO, ("at", "string", ""))],
}


@pytest.mark.parametrize("level", list(_HISTORIES))
def test_a_transitive_level_holds_a_schema_to_every_version(registry, level):
    for subject, transitive in (("last", ""), ("every", "_TRANSITIVE")):
        registry.set_compatibility(subject, level + transitive)
        for schema in _HISTORIES[level][:2]:
            registry.register(subject, schema)
    third = _HISTORIES[level][2]
    assert registry.check("last", third) == []
    assert [problem.partition(":")[0] for problem in registry.check("every", third)] == [
        "version 1 of `every`"
    ]
    with pytest.raises(Conflict, match=f"not {level}_TRANSITIVE compatible with version 1 of `every`"):
        registry.register("every", third)
    assert registry.register("last", third) == 3


def test_what_is_no_schema_or_no_level_is_refused(registry):
    for bad in ({"type": "record"}, {"type": "nope"}, 7):
        with pytest.raises(Invalid, match="it is no Avro schema"):
            registry.register("plays", bad)
    with pytest.raises(Invalid, match=r"use BACKWARD, BACKWARD_TRANSITIVE, FORWARD, .*, NONE"):
        registry.set_compatibility("plays", "SOME")


def test_the_wire_format_is_confluents(registry):
    number = registry.register("plays", record(WHO))
    assert registry.encode(number, {"who": "ann"}) == b"\0" + struct.pack(">I", 1) + b"\x06ann"
    assert registry.decoder()(b"\0\0\0\0\x01\x06ann") == {"who": "ann"}
    with pytest.raises(Invalid, match="does not fit schema 1"):
        registry.encode(number, {"who": 7})


def test_a_reader_schema_gives_all_versions_one_shape(registry):
    old = registry.register("plays", record(WHO))
    new = registry.register("plays", record(WHO, OPTIONAL))
    decode = registry.decoder(record(WHO, OPTIONAL))
    assert decode(registry.encode(old, {"who": "ann"})) == {"who": "ann", "device": "tv"}
    assert decode(registry.encode(new, {"who": "bob", "device": "phone"}))["device"] == "phone"


@given(st.binary(max_size=20) | st.binary(max_size=20).map(lambda tail: b"\0\0\0\0\x01" + tail))
def test_a_decoder_raises_nothing_but_its_errors(tmp_path_factory, data):
    registry = SchemaRegistry(tmp_path_factory.getbasetemp() / "fuzz")
    registry.register("plays", record(WHO, AT, ("more", ["null", {"type": "map", "values": "double"}])))
    with contextlib.suppress(WeftError):
        registry.decoder()(data)


def test_any_source_can_be_decoded_and_what_does_not_is_a_dead_letter(registry):
    number = registry.register("plays", record(WHO, AT))
    good = [registry.encode(number, {"who": who, "at": at}) for at, who in enumerate("abc", 1)]
    values = [good[0], b"junk", good[1][:-1], good[1], b"\0\0\0\0\x09x", good[2] + b"x", "text", good[2]]
    source = Decoded(IterSource("s", values, time_us=lambda _: 7), registry.decoder(), time_field="at")
    events = list(source.events({}))
    assert [event.time_us for event in events if not event.error] == [1, 2, 3]
    assert [event.offset.position for event in events] == list(range(1, 9))
    graph = Graph.open("memory:", [NodeType("person")])
    report = graph.ingest(Job("people", lambda event: [Node("person", event.value["who"])]), source)
    assert (report.events, report.dead_letters) == (8, 5)
    assert "Confluent's wire format" in next(graph.dead_letters("people")).reason
    assert source.pending({}) == 8
