"""Following a watch equals the graph: whatever is written, wherever it is resumed, whoever is killed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import Invalid
from weft.graph import (
    Edge,
    EdgeRef,
    EdgeType,
    ExpiredCursor,
    Graph,
    GraphView,
    Node,
    NodeRef,
    NodeType,
    PartialNode,
    Remove,
    WatchEvent,
)
from weft.graph.layout import out_namespace
from weft.graph.watch import Watch
from weft.kv import Capability
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.move import Moving
from weft.kv.wrappers.routed import RoutedStore
from weft.testing.clock import START_US, VirtualClock
from weft.testing.kv.changes import read_all
from weft.testing.processes import child_process

TYPES = (
    NodeType("person", properties={"name": "str", "seen": "int"}, groups={"hot": ["seen"]}),
    NodeType("place", properties={"n": "int"}),
    EdgeType("follows", source="person", target="person", properties={"n": "int"}),
    EdgeType("visits", source="person", target="place", properties={"n": "int"}, split=True),
)
Copy = dict[NodeRef | EdgeRef, Node | Edge]


def whole(graph: Graph) -> Copy:
    """The graph as it is, read without a watch."""
    found: list[Node | Edge] = []
    for name in graph.schema.nodes:
        found += graph.start(name).nodes()
    for edge in graph.schema.edges.values():
        for source in read_all(graph.store, out_namespace(edge.name)):
            found += graph.start(edge.source, source.decode()).out(edge.name).edges()
    return {one.ref: one for one in found}


def follow(events: Iterable[WatchEvent], copy: Copy) -> Copy:
    for event in events:
        if event.now is not None:
            copy[event.now.ref] = event.now
        elif event.removed is not None:
            copy.pop(event.removed, None)
    return copy


def steps(graph: Graph, *types: str, after: str | None = None) -> Watch:
    return Watch(graph.store, graph.schema, graph.clock, types, after=after)


def drain(watch: Watch) -> list[WatchEvent]:
    """All that there is to tell, without the heartbeats."""
    found: list[WatchEvent] = []
    for _ in range(1_000):
        events = watch.poll()
        found += (event for event in events if event.now or event.removed)
        if not events:
            return found
    raise AssertionError("a watch that never ends while nobody writes")


def told(events: Iterable[WatchEvent]) -> list[object]:
    return [event.now.ref if event.now else event.removed for event in events]


@pytest.fixture
def graph() -> Graph:
    return Graph(MemoryStore(clock=(clock := VirtualClock())), TYPES, clock=clock)


def test_tells_what_is_and_what_was_removed(graph: Graph) -> None:
    watch = steps(graph)
    (begin,) = watch.poll()
    assert (begin.now, begin.removed) == (None, None)
    ann, bob = Node("person", "ann", {"name": "Ann"}), Node("person", "bob")
    graph.put([ann, bob])
    graph.put(edges=[Edge("follows", "ann", "bob", {"n": 1}), Edge("visits", "ann", "paris", {"n": 2})])
    events = drain(watch)
    assert [type(event.now) for event in events] == [Node, Node, Edge, Edge]
    assert follow(events, {}) == whole(graph)
    assert events[0].now == msgspec.structs.replace(ann, event_time_us=START_US)
    graph.clock.advance(1)  # type: ignore[attr-defined]
    graph.delete([NodeRef("person", "ann")])
    assert [event.removed for event in drain(watch)] == [
        NodeRef("person", "ann"),
        EdgeRef("follows", "ann", "bob"),
        EdgeRef("visits", "ann", "paris"),
    ]
    assert drain(watch) == []
    assert told(drain(steps(graph, "follows", after=begin.cursor))) == [EdgeRef("follows", "ann", "bob")]


def test_what_changes_nothing_is_not_told(graph: Graph) -> None:
    graph.put([Node("place", "paris", {"n": 1})])
    watch = steps(graph)
    graph.put([Node("place", "paris", {"n": 2}, START_US - 1)])
    graph.delete([], [])
    assert drain(watch) == []


def test_waits_polls_and_beats(graph: Graph) -> None:
    clock = graph.clock
    began_s = clock.monotonic_s()
    events = graph.watch(heartbeat_s=2)
    first = next(events)
    second = next(events)
    assert (second.cursor, second.now, second.removed) == (first.cursor, None, None)
    assert clock.monotonic_s() - began_s == pytest.approx(2, abs=0.03)
    graph.put([Node("place", "paris")])
    assert next(events).now == graph.node("place", "paris")
    resumed = graph.watch(after=first.cursor, heartbeat_s=2)
    assert next(resumed).now == graph.node("place", "paris")
    assert next(resumed).now is None
    assert clock.monotonic_s() - began_s == pytest.approx(4, abs=0.06)
    for heartbeat_s in (0, -1, float("nan")):
        with pytest.raises(Invalid, match="heartbeat"):
            graph.watch(heartbeat_s=heartbeat_s)


def test_a_watch_begins_when_it_is_asked_for(graph: Graph) -> None:
    events = graph.watch()
    graph.put([Node("place", "paris")])
    assert told(itertools.islice(events, 2)) == [None, NodeRef("place", "paris")]


def test_types(graph: Graph) -> None:
    watch = steps(graph, "place", "follows")
    graph.put([Node("person", "ann"), Node("place", "paris")])
    graph.put(edges=[Edge("follows", "ann", "bob"), Edge("visits", "ann", "paris")])
    assert told(drain(watch)) == [NodeRef("place", "paris"), EdgeRef("follows", "ann", "bob")]
    with pytest.raises(Invalid, match="`likes` is no type of this graph"):
        graph.watch(["likes"])
    with pytest.raises(Invalid, match=r"write types=\['follows'\]"):
        graph.watch("follows")


def test_types_that_others_add_are_told(graph: Graph) -> None:
    watch = steps(graph)
    other = Graph(
        graph.store, [NodeType("pet"), EdgeType("keeps", source="person", target="pet")], clock=graph.clock
    )
    other.put([Node("pet", "rex")])
    other.put(edges=[Edge("keeps", "ann", "rex")])
    assert told(drain(watch)) == [NodeRef("pet", "rex"), EdgeRef("keeps", "ann", "rex")]


@pytest.mark.parametrize("cursor", ["", "nonsense", "ä", "AAAA", "gw==", "=", "k" * 500])
def test_refuses_what_is_no_cursor(graph: Graph, cursor: str) -> None:
    with pytest.raises(Invalid, match="is no cursor of a watch"):
        graph.watch(after=cursor)


def test_refuses_a_store_that_cannot_tell() -> None:
    class Forgetful(MemoryStore):
        capabilities = MemoryStore.capabilities - {Capability.CHANGES}

    graph = Graph(Forgetful(clock=(clock := VirtualClock())), TYPES, clock=clock)
    with pytest.raises(Invalid, match="does not tell its changes"):
        graph.watch()


def test_a_busy_type_does_not_hold_up_another(graph: Graph) -> None:
    watch = steps(graph)
    graph.put(edges=[Edge("follows", "ann", "bob")])
    for number in range(6):
        graph.put(Node("person", f"{number}-{n}") for n in range(300))
        graph.put(Node("person", f"{number}-{n}") for n in range(300, 600))
        if EdgeRef("follows", "ann", "bob") in told(watch.poll()):
            return
    raise AssertionError("the edge was never told")


def test_an_old_cursor_says_what_to_do(graph: Graph) -> None:
    watch = steps(graph)
    cursor = watch.poll()[0].cursor
    name = out_namespace("follows")
    small = next(one for one in graph.store.namespaces() if one.name == name)
    graph.store.configure(msgspec.structs.replace(small, changes_bytes=20))
    graph.put(edges=[Edge("follows", f"{number}", "bob") for number in range(50)])
    with pytest.raises(ExpiredCursor, match="read the graph again, then go on with that watch"):
        graph.watch(after=cursor)
    with pytest.raises(ExpiredCursor):
        drain(watch)
    assert drain(steps(graph, "person", after=cursor)) == []
    again = steps(graph)
    copy = whole(graph)
    graph.put(edges=[Edge("follows", "ann", "bob")])
    assert follow(drain(again), copy) == whole(graph)


def test_an_erased_list_expires_its_cursors(graph: Graph) -> None:
    graph.put(edges=[Edge("follows", "ann", "bob")])
    watch = steps(graph)
    graph.store.erase(out_namespace("follows"))
    with pytest.raises(ExpiredCursor):
        drain(watch)


def test_a_type_that_moves_elsewhere_is_followed_there_anew(tmp_path: Path) -> None:
    clock = VirtualClock()
    home = LmdbStore.open(tmp_path / "home", clock=clock)
    there = LmdbStore.open(tmp_path / "there", clock=clock)
    with Graph(RoutedStore(home, lambda place: there, clock=clock), TYPES, clock=clock) as graph:
        edges, nodes = steps(graph, "follows"), steps(graph, "person")
        edges.poll(), nodes.poll()
        graph.put([Node("person", "ann")], [Edge("follows", "ann", "bob")])
        Moving(home, there, out_namespace("follows"), location=str(tmp_path / "there"), clock=clock).run()
        with pytest.raises(ExpiredCursor):
            drain(edges)
        for number in range(5):
            graph.put(edges=[Edge("follows", "ann", f"{number}")])
        edges = steps(graph, "follows")
        copy = whole(graph)
        graph.put([Node("person", "bob")], [Edge("follows", "bob", "ann")])
        assert follow(drain(edges), follow(drain(nodes), copy)) == whole(graph)
        assert len(copy) == 9


class Eyes:
    """Sees all but some; asked anew for each part of a watch."""

    def __init__(self, hidden: set[NodeRef]) -> None:
        self.hidden = hidden
        self.asked = 0
        self.frozen: set[NodeRef] | None = None

    def visible(self, nodes: Sequence[NodeRef]) -> list[bool]:
        assert len(set(nodes)) == len(nodes)
        hidden = self.hidden if self.frozen is None else self.frozen
        return [node not in hidden for node in nodes]

    def now(self) -> Eyes:
        self.asked += 1
        eyes = Eyes(self.hidden)
        eyes.frozen = set(self.hidden)
        return eyes


def test_hidden_nodes_and_their_edges_are_not_told(graph: Graph) -> None:
    secret = NodeRef("person", "eve")
    eyes = Eyes({secret})
    events = graph.seen_by(eyes).watch(heartbeat_s=60)
    next(events)
    graph.put([Node("person", "eve"), Node("person", "ann")])
    graph.put(edges=[Edge("follows", "ann", "eve"), Edge("visits", "eve", "rome"), Edge("follows", "a", "b")])
    assert told(itertools.islice(events, 2)) == [NodeRef("person", "ann"), EdgeRef("follows", "a", "b")]
    graph.clock.advance(1)  # type: ignore[attr-defined]
    graph.delete([secret])
    graph.put([Node("place", "paris")])
    assert told([next(events)]) == [NodeRef("place", "paris")]
    assert told([next(events)]) == [None]
    eyes.hidden.clear()
    graph.put([Node("person", "eve")])
    assert told([next(events)]) == [secret]
    assert eyes.asked >= 4
    assert isinstance(graph.seen_by(eyes), GraphView)


ids = st.sampled_from(["ann", "bob", "eve", "ü"])
times_us = st.integers(START_US - 3, START_US)
numbers = st.integers(0, 3)
nodes = st.one_of(
    st.builds(lambda i, n, at: Node("place", i, {"n": n}, at), ids, numbers, times_us),
    st.builds(lambda i, n, at: Node("person", i, {"name": str(n)}, at), ids, numbers, times_us),
    st.builds(lambda i, n, at: PartialNode("person", i, {"seen": n}, at), ids, numbers, times_us),
)
edges = st.builds(
    lambda t, s, o, n, at: Edge(t, s, o, {"n": n}, at),
    st.sampled_from(["follows", "visits"]),
    ids,
    ids,
    numbers,
    times_us,
)
removals = st.builds(Remove, (nodes | edges).map(lambda one: one.ref), times_us)
writes = st.lists(st.lists(nodes | edges | removals, min_size=1, max_size=5), max_size=8)


@given(writes, st.data())
def test_resumed_at_any_event_it_ends_in_the_graph(batches: list[list[Node]], data: st.DataObject) -> None:
    graph = Graph(MemoryStore(clock=(clock := VirtualClock())), TYPES, clock=clock)
    watch = steps(graph)
    moments: list[tuple[str, Copy]] = [(watch.poll()[0].cursor, {})]
    copy: Copy = {}

    def keep_up(polls: int) -> None:
        for _ in range(polls):
            for event in watch.poll():
                follow([event], copy)
                moments.append((event.cursor, dict(copy)))

    for batch in batches:
        graph._write(batch)
        keep_up(data.draw(st.integers(0, 5)))
    keep_up(100)
    expected = whole(graph)
    assert copy == expected
    for cursor, before in moments:
        assert follow(drain(steps(graph, after=cursor)), dict(before)) == expected
    assert drain(steps(graph, after=moments[-1][0])) == []


def write_for_ever(report: Callable[[object], None], folder: str, seed: int) -> None:
    rng = random.Random(seed)
    with Graph.open(folder) as graph:
        for number in itertools.count():
            one, two = (f"p{rng.randrange(12)}" for _ in range(2))
            properties = {"n": number}
            graph.put([Node("place", one, properties)])
            graph.put(
                edges=[Edge("visits", two, one, properties)]
                + [Edge("follows", one, f"q{n}", properties) for n in range(number % 7 * 40)]
            )
            if number % 5 == 0:
                graph.delete([NodeRef("place", two)], [EdgeRef("follows", one, "q1")])
            report(number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_follows_another_process_that_is_killed(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with Graph.open(tmp_path, TYPES) as graph:
        events = graph.watch(heartbeat_s=0.05)
        copy: Copy = {}
        for number in range(3):
            with child_process(write_for_ever, str(tmp_path), seed * 10 + number) as child:
                for _ in range(rng.randrange(3, 12)):
                    child.next_report()
                    for event in itertools.islice(events, rng.randrange(60)):
                        follow([event], copy)
                        if rng.random() < 0.05:  # the follower dies here, and comes back
                            events = graph.watch(after=event.cursor, heartbeat_s=0.05)
                            break
                child.kill()
        for event in events:
            follow([event], copy)
            if event.now is None and event.removed is None:
                break
        found = whole(graph)
        assert copy == found
        assert len(found) > 20
