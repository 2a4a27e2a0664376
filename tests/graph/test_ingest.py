"""Jobs by example: their steps, dead letters, relation tuples, progress, checkpoints."""

from __future__ import annotations

import pytest

from weft.core.errors import Invalid, Unavailable
from weft.core.limits import MAX_DEAD_LETTER_BYTES, MAX_FUTURE_SKEW_US
from weft.graph import (
    Dedup,
    Edge,
    EdgeType,
    Event,
    Graph,
    Job,
    Node,
    NodeRef,
    NodeType,
    RelationWrite,
    Remove,
    job,
)
from weft.graph.ingest import graph_sink
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.model import Offset
from weft.graph.ingest.sources import IterSource, NdjsonSource
from weft.testing.clock import START_US, VirtualClock

TYPES = [
    NodeType("account", properties={"name": str}),
    NodeType("title"),
    EdgeType("watched", source="account", target="title", properties={"device": str}),
]
PLAYS = [
    {"at": 10, "account": "a1", "title": "t1", "device": "tv", "noise": 1},
    {"at": 30, "account": "a1", "title": "t1", "device": "phone"},
    {"at": 20, "account": "a1", "title": "t1", "device": "tv"},
    {"at": 40, "account": "bot", "title": "t1", "device": "tv"},
]


@job("plays")
class Plays:
    def filter(self, event):
        return event.value["account"] != "bot"

    def project(self, event):
        return {name: event.value[name] for name in ("account", "title", "device")}

    def enrich(self, event):
        return event.value | {"name": event.value["account"].upper()}

    def transform(self, event):
        play = event.value
        yield Node("account", play["account"], {"name": play["name"]})
        yield Edge("watched", play["account"], play["title"], {"device": play["device"]})


@pytest.fixture
def graph():
    return Graph.open("memory:", TYPES)


def plays(values=None, name="plays"):
    return IterSource(name, PLAYS if values is None else values, time_us=lambda play: play["at"])


def test_a_job_filters_projects_enriches_and_transforms(graph):
    report = graph.ingest(Plays, plays())
    assert graph.node("account", "a1") == Node("account", "a1", {"name": "A1"}, 30)
    assert list(graph.start("account", "a1").out("watched").edges()) == [
        Edge("watched", "a1", "t1", {"device": "phone"}, 30)
    ]
    assert graph.node("account", "bot") is None
    assert (report.events, report.filtered, report.updates, report.dead_letters) == (4, 1, 6, 0)
    assert report.written == {"node/account": 1, "edge/watched": 1}
    assert report.stream == "plays/plays"


def test_a_function_is_a_job_too(graph):
    @job
    def titles(event):
        return [Node("title", event.value["title"])]

    @job("forget")
    def other_name(event):
        return [Remove(NodeRef("title", event.value["title"]))]

    assert (titles.name, other_name.name) == ("titles", "forget")
    graph.ingest(titles, plays(PLAYS[:1]))
    assert graph.start("title").count() == 1
    graph.ingest(other_name, plays(PLAYS[1:2]))
    assert graph.start("title").count() == 0


def test_a_transform_may_emit_nothing(graph):
    assert graph.ingest(Job("none", lambda event: None), plays()).updates == 0


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (lambda: job("")(lambda event: ()), "cannot be the name of a job"),
        (lambda: job("a/b")(lambda event: ()), "cannot be the name of a job"),
        (lambda: job(lambda event: ()), "cannot be the name of a job"),
        (lambda: job("x")(type("NoTransform", (), {})), "`transform` of the job `x` is not a function"),
        (lambda: Job("x", lambda event: (), filter="no"), "`filter` of the job `x` is not a function"),
    ],
)
def test_a_bad_job_says_what_is_wrong(define, says):
    with pytest.raises(Invalid) as refused:
        define()
    assert says in str(refused.value)


def _emitting(*outputs):
    return Job("bad", lambda event: [Node("title", "half"), *outputs])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Job("bad", lambda event: event.value["nope"]), "KeyError: 'nope'"),
        (Job("bad", lambda event: 7), "TypeError"),
        (_emitting(Node("alien", "x")), "there is no node type `alien`"),
        (_emitting(Node("title", "")), "a node id is a string"),
        (_emitting("text"), "the job emitted `'text'`"),
        (_emitting(None), "the job emitted `None`"),
        (_emitting(Node("title", "x", {}, START_US * 2)), "is not between 1970 and now"),
        (_emitting(Node("title", "x", {}, -1)), "is not between 1970 and now"),
        (_emitting(Remove("title")), "cannot be removed"),
        (_emitting(RelationWrite("junk")), "bad tuple"),
    ],
)
def test_what_a_job_cannot_take_is_a_dead_letter_and_the_stream_goes_on(bad, reason):
    class Picky:
        def check(self, write):
            raise Invalid("bad tuple")

        def write(self, writes):
            raise AssertionError

    graph = Graph.open("memory:", TYPES, clock=VirtualClock())
    report = graph.ingest(bad, plays(PLAYS[:2]), relations=Picky())
    letters = list(graph.dead_letters(bad))
    assert (report.events, report.dead_letters, len(letters)) == (2, 2, 2)
    assert reason in letters[0].reason
    assert [(one.stream, one.offset.position, one.time_us) for one in letters] == [
        ("bad/plays", 1, 10),
        ("bad/plays", 2, 30),
    ]
    assert '"title":"t1"' in letters[0].value
    assert graph.start("title").count() == 0
    assert graph.ingest(bad, plays(PLAYS[:2])).events == 0
    assert not list(graph.dead_letters("ba"))


def test_an_event_from_the_future_is_a_dead_letter():
    graph = Graph.open("memory:", TYPES, clock=VirtualClock())
    times = [START_US + MAX_FUTURE_SKEW_US, START_US + MAX_FUTURE_SKEW_US + 1, -1, "soon"]
    source = IterSource("s", times, time_us=lambda value: value)
    report = graph.ingest(Job("ok", lambda event: [Node("title", str(event.offset.position))]), source)
    assert report.dead_letters == 3
    assert [node.id for node in graph.start("title").nodes()] == ["1"]


def test_a_file_with_bad_lines_is_read_to_its_end(graph, tmp_path):
    path = tmp_path / "plays.ndjson"
    path.write_bytes(b'{"at": 1, "title": "t1"}\nnonsense \xff\n{"title": "t2"}\n{"at": 3, "title": "t3"}\n')
    titles = Job("titles", lambda event: [Node("title", event.value["title"])])
    report = graph.ingest(titles, NdjsonSource(path, time_field="at"))
    assert (report.events, report.dead_letters) == (4, 2)
    assert [node.id for node in graph.start("title").nodes()] == ["t1", "t3"]
    assert [one.offset.position for one in graph.dead_letters("titles")] == [2, 3]


def test_a_dead_letter_keeps_a_bounded_readable_piece(graph):
    @job
    def failing(event):
        raise ValueError("\udcff" * 100_000)

    graph.ingest(failing, IterSource("s", ["é" * 100_000, object()], time_us=lambda _: 1))
    big, odd = graph.dead_letters(failing)
    assert len(big.value.encode()) <= MAX_DEAD_LETTER_BYTES
    assert len(big.reason) <= MAX_DEAD_LETTER_BYTES
    assert "object object" in odd.value


class Tuples:
    def __init__(self):
        self.batches = []

    def check(self, write):
        pass

    def write(self, writes):
        self.batches.append([(one.text, one.delete) for one in writes])


def test_relation_tuples_reach_their_sink_merged_and_in_event_time(graph):
    tuples = Tuples()
    values = [(10, "t", False), (30, "t", True), (20, "t", False), (10, "u", False)]
    grants = Job("grants", lambda event: [RelationWrite(*event.value[1:])])
    source = IterSource("s", values, time_us=lambda value: value[0])
    report = graph.ingest(grants, source, relations=tuples)
    assert tuples.batches == [[("t", True), ("u", False)]]
    assert report.relations == 4
    late = IterSource("late", [(25, "t", False), (25, "u", True)], time_us=lambda value: value[0])
    graph.ingest(grants, late, relations=tuples)
    assert tuples.batches[1:] == [[("u", True)]]


def test_relation_tuples_without_a_taker_are_an_error_and_nothing_is_committed(graph):
    grants = Job("grants", lambda event: [RelationWrite("t"), Node("title", "x")])
    with pytest.raises(Invalid, match="pass `relations=`"):
        graph.ingest(grants, plays())
    assert graph.start("title").count() == 0
    assert graph.ingest(grants, plays(), relations=Tuples()).events == 4


def test_a_source_that_fails_ends_the_run_and_keeps_what_is_committed(graph):
    class Breaking(IterSource):
        def events(self, after):
            for event in super().events(after):
                if event.offset.position == 3 and not after:
                    raise Unavailable("the line is down")
                yield event

    source = Breaking("s", PLAYS, time_us=lambda play: play["at"])
    sink = GraphSink(graph.store, graph.schema)
    with pytest.raises(Unavailable, match="the line is down"):
        EmbeddedRunner(max_batch_events=1).run(Plays, source, sink)
    assert sink.positions("plays/s") == {0: Offset(2)}
    assert graph.ingest(Plays, source).events == 2


def test_a_pause_of_the_source_is_a_checkpoint(graph):
    seen = []

    class Pausing:
        name = "s"

        def pending(self, after):
            return None

        def events(self, after):
            yield Event(Offset(1), 1, {"title": "t1"})
            yield None
            seen.append(graph.start("title").count())
            yield Event(Offset(2, "mark"), 1, {"title": "t2"}, partition=7)
            yield None
            seen.append(graph.start("title").count())

    titles = Job("titles", lambda event: [Node("title", event.value["title"])])
    report = graph.ingest(titles, Pausing())
    assert (seen, report.batches) == ([1, 2], 2)
    assert GraphSink(graph.store, graph.schema).positions("titles/s") == {0: Offset(1), 7: Offset(2, "mark")}


def test_progress_tells_events_rate_and_lag(graph):
    clock = VirtualClock()
    reports = []
    sink = GraphSink(graph.store, graph.schema)

    @job
    def slow(event):
        clock.sleep(0.5)

    EmbeddedRunner(clock=clock).run(slow, plays(), sink, progress=reports.append)
    assert [(one.events, one.rate_per_s, one.lag) for one in reports[:4]] == [
        (1, 2.0, 3),
        (2, 2.0, 2),
        (3, 2.0, 1),
        (4, 2.0, 0),
    ]
    assert reports[0].event_time_us == 10


def test_a_batch_over_the_stores_limit_goes_in_parts_with_the_offset_last(graph, monkeypatch):
    monkeypatch.setattr(graph_sink, "MAX_MUTATIONS_PER_BATCH", 5)
    parts = []

    class Watching:
        def __getattr__(self, name):
            return getattr(graph.store, name)

        def mutate(self, mutations):
            parts.append([one.namespace for one in mutations])
            graph.store.mutate(mutations)

    many = Job("many", lambda event: [Edge("watched", "a", f"t{n}") for n in range(6)])
    EmbeddedRunner().run(many, plays(PLAYS[:1]), GraphSink(Watching(), graph.schema))
    edge = ["out/watched", "in/watched"]
    assert parts == [edge * 2, edge * 2, [*edge, *edge, "graph/offsets"]]
    assert graph.start("account", "a").out("watched").count() == 6


def test_a_source_may_have_any_name(graph):
    names = ["é" * 2_000, "é" * 2_000 + "x", "\udcff", "a b\0"]
    titles = Job("titles", lambda event: [Node("title", event.value["title"])])
    assert [graph.ingest(titles, plays(name=name)).events for name in names * 2] == [4] * 4 + [0] * 4


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            lambda graph: graph.ingest(lambda event: [], IterSource("s", [])),
            "is no job; put @job from weft.graph",
        ),
        (lambda graph: graph.ingest(Plays, "plays.ndjson"), "`'plays.ndjson'` is no source; make one"),
        (lambda graph: graph.backfill(Plays, IterSource("s", [])), "`sources` takes a list"),
        (lambda graph: Dedup(window_s="1m"), "window_s=`1m` is not a time"),
    ],
)
def test_what_is_no_job_source_or_window_is_one_clear_error(graph, run, says):
    with pytest.raises(Invalid) as refused:
        run(graph)
    assert says in str(refused.value)
