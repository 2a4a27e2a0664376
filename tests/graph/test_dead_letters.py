"""Dead letters: shown, replayed in their place, gone with what they became, kept with what still fails."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core import limits
from weft.core.errors import NotFound, Unavailable
from weft.graph import Dedup, Graph, Job, Node, NodeType
from weft.graph.ingest import dead_letters, embedded, pipeline
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.sources import IterSource, NdjsonSource
from weft.testing.graph import TYPES, ModelGraph, outputs
from weft.testing.ingest import Crash, Mortal, contents, run_until_done

PEOPLE = [NodeType("person", properties={"n": int, "s": str})]


def people(name="people"):
    return Job(name, lambda event: [Node("person", event.value["who"], {"n": event.value["n"]})])


@pytest.fixture
def graph():
    return Graph.open("memory:", PEOPLE)


def source(values):
    return IterSource("s", values, time_us=lambda value: value.get("at", 5))


def test_letters_are_listed_and_shown(graph):
    graph.ingest(people(), source([{"who": "a"}, {"who": "b", "n": 1}, {"who": "c"}]))
    assert [letter.offset.position for letter in graph.dead_letters("people")] == [1, 3]
    letter = graph.dead_letter("people/s", 3)
    assert (letter.value, letter.time_us, letter.attempts) == ('{"who":"c"}', 5, 0)
    for stream, position in (("people/s", 2), ("people/t", 3)):
        with pytest.raises(NotFound, match="has no dead letter"):
            graph.dead_letter(stream, position)


def test_a_mended_job_takes_its_letters_and_they_are_gone(graph):
    graph.ingest(people(), source([{"who": "a"}, {"who": ""}, {"who": "c", "at": 3}]))
    mended = Job("people", lambda event: [Node("person", event.value["who"], {"s": "mended"})])
    report = graph.replay_dead_letters(mended)
    assert (report.events, report.dead_letters, report.updates) == (3, 1, 2)
    assert graph.node("person", "c") == Node("person", "c", {"s": "mended"}, 3)
    (left,) = graph.dead_letters("people")
    assert (left.offset.position, left.attempts) == (2, 1)
    assert "a node id is a string" in left.reason
    assert graph.replay_dead_letters(mended).dead_letters == 1
    assert next(graph.dead_letters("people")).attempts == 2


def test_only_the_chosen_are_replayed(graph):
    graph.ingest(people(), source([{"who": "a"}, {"who": "b"}]))
    mended = Job("people", lambda event: [Node("person", event.value["who"])])
    graph.replay_dead_letters(mended, letters=[graph.dead_letter("people/s", 2)])
    assert [node.id for node in graph.start("person").nodes()] == ["b"]
    assert [letter.offset.position for letter in graph.dead_letters("people")] == [1]


def test_what_the_source_could_not_decode_can_be_mended(graph, tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"who": "a", "n": 1\n{"who": "b", "n": 2}\n')
    job = people()
    graph.ingest(job, NdjsonSource(path, time_field="at", name="s"))
    assert graph.replay_dead_letters(job).dead_letters == 2

    def mend(event):
        value = (
            event.value if isinstance(event.value, dict) else msgspec.json.decode(event.value.strip() + "}")
        )
        return msgspec.structs.replace(event, value=value, time_us=9, error="")

    assert graph.replay_dead_letters(job, mend=mend).dead_letters == 0
    assert [(node.id, node.event_time_us) for node in graph.start("person").nodes()] == [("a", 9), ("b", 9)]
    assert not list(graph.dead_letters(job))


def test_a_mend_that_fails_leaves_the_letter(graph):
    graph.ingest(people(), source([{"who": "a"}]))
    graph.replay_dead_letters(people(), mend=lambda event: event.value["nope"])
    assert "it cannot be mended: KeyError: 'nope'" in graph.dead_letter("people/s", 1).reason


def test_values_that_would_not_come_back_the_same_stay(graph, monkeypatch):
    monkeypatch.setattr(pipeline, "MAX_DEAD_LETTER_PAYLOAD_BYTES", 1_000)
    big = {"x": "y" * 1_000}
    values = [(1, 2), object(), float("nan"), big, {"fine": 1}]
    graph.ingest(people(), IterSource("s", values, time_us=lambda _: 1))
    taken = []
    report = graph.replay_dead_letters(Job("people", lambda event: taken.append(event.value)))
    assert (report.events, report.dead_letters, taken) == (5, 4, [{"fine": 1}])
    assert len(list(graph.dead_letters("people"))) == 4


def test_a_letter_is_kept_whole_and_replayed_however_long_its_line(tmp_path):
    """Numbers take more bytes as MessagePack than as text; the letter is far over a chunk of the store."""
    path = tmp_path / "events.ndjson"
    values = [1.5] * 700_000
    path.write_bytes(msgspec.json.encode({"at": 1, "who": "a", "values": values}) + b"\n")
    with Graph.open(tmp_path / "graph", PEOPLE) as graph:
        graph.ingest(people(), NdjsonSource(path, time_field="at"))
        (letter,) = graph.dead_letters("people")
        assert len(letter.payload) > 2 * path.stat().st_size > 4 * limits.CHUNK_BYTES
        taken = []
        graph.replay_dead_letters(Job("people", lambda event: taken.append(event.value["values"])))
        assert taken == [values]
        assert not list(graph.dead_letters("people"))


def test_large_letters_are_written_and_replayed_a_few_at_a_time(graph, monkeypatch):
    monkeypatch.setattr(embedded, "MAX_DEAD_BYTES", 1_000)
    monkeypatch.setattr(dead_letters, "_BYTES_PER_BATCH", 1_000)
    values = [{"who": "a", "x": "y" * 400} for _ in range(10)]
    for window_s in (0, 60):
        job = Job(f"people{window_s}", people().transform, dedup=Dedup(window_s=window_s))
        assert graph.ingest(job, source(values)).batches == 4
        assert graph.replay_dead_letters(job).batches == 4
        assert len(list(graph.dead_letters(job))) == 10


def test_unavailable_is_no_dead_letter_but_ends_the_run_before_the_event(graph):
    down = [True]

    def transform(event):
        if down[0] and event.offset.position == 2:
            raise Unavailable("the table is away")
        return [Node("person", event.value["who"])]

    job = Job("people", transform)
    with pytest.raises(Unavailable, match="the table is away"):
        graph.ingest(job, source([{"who": "a"}, {"who": "b"}]))
    assert [node.id for node in graph.start("person").nodes()] == ["a"]
    down.clear()
    down.append(False)
    assert graph.ingest(job, source([{"who": "a"}, {"who": "b"}])).events == 1


@given(
    st.lists(st.tuples(st.lists(outputs(), max_size=3), st.booleans()), max_size=15),
    st.lists(st.sampled_from([None, "before", "after"]), max_size=8),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([0, 0.000_01]),
)
def test_with_their_letters_replayed_all_events_end_as_the_reference(groups, deaths, batch, some, window_s):
    clock = iter(range(1, 1_000))
    written = [
        ([msgspec.structs.replace(one, event_time_us=next(clock)) for one in group], bad)
        for group, bad in groups
    ]
    graph = Graph.open("memory:", TYPES)
    events = IterSource("s", range(len(written)), time_us=lambda _: 1)

    def first(event):
        group, bad = written[event.value]
        if bad:
            raise ValueError("not yet")
        return group

    run_until_done(
        graph, Job("j", first, dedup=Dedup(window_s=window_s)), events, deaths, max_batch_events=batch
    )
    mended = Job("j", lambda event: written[event.value][0])
    sink = GraphSink(Mortal(graph.store, "mutate", deaths), graph.schema)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dead_letters, "_LETTERS_PER_BATCH", some)
        while True:
            # What is in the graph and what is a letter add up at every moment.
            before = len(list(graph.dead_letters("j")))
            try:
                dead_letters.replay(graph.dead_letters("j"), mended, sink, graph.clock, None)
                break
            except Crash:
                assert len(list(graph.dead_letters("j"))) <= before
    model = ModelGraph(one for group, _ in written for one in group)
    assert contents(graph) == (model.nodes, model.edges)
    assert not list(graph.dead_letters("j"))


def test_a_letter_goes_in_the_batch_that_writes_what_it_became(graph):
    graph.ingest(people(), source([{"who": "a"}]))
    batches = []

    class Watching:
        def __getattr__(self, name):
            return getattr(graph.store, name)

        def mutate(self, mutations):
            batches.append([one.namespace for one in mutations])
            graph.store.mutate(mutations)

    mended = Job("people", lambda event: [Node("person", event.value["who"])])
    sink = GraphSink(Watching(), graph.schema)
    dead_letters.replay(graph.dead_letters("people"), mended, sink, graph.clock, None)
    assert batches == [["node/person", "graph/dead"]]


def test_a_settled_letter_does_not_return_when_a_crashed_run_writes_it_again(graph):
    graph.ingest(people(), source([{"who": "a"}]))
    (letter,) = graph.dead_letters("people")
    graph.replay_dead_letters(Job("people", lambda event: ()))
    graph.store.mutate([dead_letters.dead_letter_mutation(letter)])
    assert not list(graph.dead_letters("people"))


def test_the_newest_reason_is_kept_whatever_it_is(graph):
    reasons = ["a much longer reason", "zz", "a"]

    def transform(event):
        raise ValueError(reasons[0])

    graph.ingest(Job("people", transform), source([{"who": "a"}]))
    for attempt in (1, 2):
        reasons.pop(0)
        graph.replay_dead_letters(Job("people", transform))
        letter = graph.dead_letter("people/s", 1)
        assert (letter.reason, letter.attempts) == (f"ValueError: {reasons[0]}", attempt)


def test_a_replayed_event_writes_under_the_token_that_it_would_have_had(graph):
    undisturbed = Graph.open("memory:", PEOPLE)
    good = Job("people", lambda event: [Node("person", event.value["who"])])
    undisturbed.ingest(good, source([{"who": "a"}]))
    graph.ingest(people(), source([{"who": "a"}]))
    graph.replay_dead_letters(good)
    first, second = (one.store.get_items("node/person", [b"a"]).items() for one in (undisturbed, graph))
    assert first == second


@pytest.mark.parametrize("time_us", ["2026-01-01T00:00:00Z", 1.5, None, 2**70, -(2**70)])
def test_a_time_that_is_none_does_not_spoil_the_letters(graph, time_us):
    graph.ingest(people(), IterSource("s", [{"who": "a", "n": 1}], time_us=lambda value: time_us))
    (letter,) = graph.dead_letters("people")
    assert letter.time_us == 0
    assert letter.reason == f"the event time `{time_us!r}` is not between 1970 and now, in microseconds"
    mended = graph.replay_dead_letters(people(), mend=lambda event: msgspec.structs.replace(event, time_us=5))
    assert (mended.written, graph.node("person", "a").event_time_us) == ({"node/person": 1}, 5)
