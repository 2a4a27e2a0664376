"""What is packed follows every writer, says what it is, and steps aside where only the store can tell."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import msgspec
import pytest

from weft.core.errors import Invalid, MissingExtra
from weft.graph import Edge, EdgeType, Graph, Node, NodeType
from weft.graph.packed import edges as packed_edges
from weft.graph.packed import hops as packed_hops
from weft.graph.packed import nodes as packed_nodes
from weft.graph.packed.pack import Pack
from weft.graph.traverse import walk
from weft.kv import Capability
from weft.kv.wrappers.wrapper import StoreWrapper
from weft.testing.clock import VirtualClock
from weft.testing.processes import child_process

PERSON = NodeType("person", properties={"age": int})
FOLLOWS = EdgeType("follows", "person", "person", properties={"n": int})
OTHER = EdgeType("knows", "person", "person")
TYPES = [PERSON, FOLLOWS, OTHER]


class Counted:
    """Counts how often everything is read."""

    def __init__(self, monkeypatch):
        self.reads = 0
        read = Pack._read

        def counting(*arguments):
            self.reads += 1
            return read(*arguments)

        monkeypatch.setattr(Pack, "_read", counting)


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


def graph_of(types=TYPES, location="memory:", clock=None, edges=3):
    graph = Graph.open(location, types, clock=clock or VirtualClock())
    graph.put(
        nodes=[Node("person", f"p{n}", {"age": n}) for n in range(edges + 1)],
        edges=[Edge("follows", f"p{n}", f"p{n + 1}", {"n": n}) for n in range(edges)],
    )
    return graph


def followed(graph, who="p0"):
    return [edge.target for edge in graph.start("person", who).out("follows").edges()]


def is_packed(steps):
    return steps.profile().packed


def test_what_is_written_is_followed_and_not_read_again(counted):
    graph = graph_of()
    graph.pack("follows")
    for n in range(20):
        graph.put(edges=[Edge("follows", "p0", f"q{n:02}")])
        assert followed(graph) == ["p1", *(f"q{m:02}" for m in range(n + 1))]
    graph.delete(edges=[("follows", "p0", "p1")])
    graph.delete(nodes=[("person", "q03")])
    assert followed(graph) == [f"q{m:02}" for m in range(20) if m != 3]
    graph.put(nodes=[Node("person", "q04", {"age": 44})])
    assert graph.start("person", "p0").out("follows").nodes()[3] == Node(
        "person", "q04", {"age": 44}, graph.clock.now_us()
    )
    assert is_packed(graph.start("person", "p0").out("follows"))
    assert counted.reads == 1


def _write_elsewhere(report, path, number):
    with Graph.open(path) as graph:
        for n in range(number):
            graph.put(edges=[Edge("follows", "p0", f"r{n}", {"n": n})])
            report(n)
        graph.delete(edges=[("follows", "p0", "p1")])
        report("done")


def test_other_processes_are_followed(tmp_path, counted):
    with Graph.open(tmp_path, TYPES) as graph:
        graph.put(edges=[Edge("follows", "p0", "p1")])
        graph.pack("follows")
        with child_process(_write_elsewhere, str(tmp_path), 3) as child:
            for n in range(3):
                assert child.next_report() == n
                assert set(followed(graph)) >= {f"r{m}" for m in range(n + 1)}
            assert child.next_report() == "done"
        assert followed(graph) == ["r0", "r1", "r2"]
        assert is_packed(graph.start("person", "p0").out("follows"))
        assert counted.reads == 1


def test_readers_of_any_thread_see_their_own_moment(tmp_path):
    with Graph.open(tmp_path, TYPES) as graph:
        graph.put(edges=[Edge("follows", "p0", "p1")])
        graph.pack("follows")
        plain = Graph(graph.store)
        wrong, done = [], threading.Event()

        def read():
            while not done.is_set():
                with graph.store.snapshot():
                    if followed(graph) != followed(plain):
                        wrong.append(graph.store.generation())
                followed(graph)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for n in range(60):
            graph.put(edges=[Edge("follows", "p0", f"q{n % 7}", {"n": n})])
            graph.delete(edges=[("follows", "p0", f"q{(n + 3) % 7}")])
        done.set()
        for reader in readers:
            reader.join()
        assert not wrong
        assert followed(graph) == followed(plain)


def test_a_moment_before_that_of_the_pack_is_walked_in_the_store(tmp_path):
    with Graph.open(tmp_path, TYPES) as graph:
        graph.put(edges=[Edge("follows", "p0", "p1")])
        graph.pack("follows")
        with graph.store.snapshot():
            later = threading.Thread(
                target=lambda: (graph.put(edges=[Edge("follows", "p0", "p2")]), followed(graph))
            )
            later.start()
            later.join()
            assert followed(graph) == ["p1"]
            assert not is_packed(graph.start("person", "p0").out("follows"))
        assert followed(graph) == ["p1", "p2"]
        assert is_packed(graph.start("person", "p0").out("follows"))


def _forgetful(graph):
    graph.store.configure(
        *(msgspec.structs.replace(one, changes_bytes=60) for one in graph.store.namespaces())
    )


def test_what_the_store_forgot_is_read_again(counted):
    graph = graph_of()
    _forgetful(graph)
    graph.pack("follows")
    for n in range(20):
        graph.put(edges=[Edge("follows", "p0", f"q{n:02}")])
    expected = ["p1", *(f"q{n:02}" for n in range(20))]
    assert followed(graph) == expected
    assert counted.reads == 2
    assert is_packed(graph.start("person", "p0").out("follows"))
    assert followed(graph) == expected
    assert counted.reads == 2


def test_one_thread_reads_again_and_the_others_walk_the_store(monkeypatch):
    graph = graph_of()
    _forgetful(graph)
    graph.pack("follows")
    for n in range(20):
        graph.put(edges=[Edge("follows", "p0", f"q{n:02}")])
    answers = []

    def read(*arguments):
        for _ in range(3):
            other = threading.Thread(target=lambda: answers.append(len(followed(graph))))
            other.start()
            other.join()
        return original(*arguments)

    original = Pack.read
    monkeypatch.setattr(Pack, "read", read)
    assert len(followed(graph)) == 21
    assert answers == [21] * 3


def test_what_is_written_while_everything_is_read_is_not_missed(monkeypatch):
    graph = graph_of()
    read = Pack._read

    def interrupted(pack, store, clock, progress):
        def writing(namespace, items):
            graph.put(edges=[Edge("follows", "p0", f"q{items}")], nodes=[Node("person", "p0", {"age": 90})])

        read(pack, store, clock, writing)

    monkeypatch.setattr(Pack, "_read", interrupted)
    graph.pack("follows")
    assert followed(graph) == followed(Graph(graph.store))
    assert len(followed(graph)) > 1


def test_a_store_that_forgets_while_everything_is_read_is_read_at_one_moment(monkeypatch):
    graph = graph_of()
    _forgetful(graph)
    read, tries = Pack._read, []

    def interrupted(pack, store, clock, progress):
        tries.append(1)

        def writing(namespace, items):
            for n in range(20):
                graph.put(edges=[Edge("follows", "p0", f"q{n}")])

        read(pack, store, clock, writing if len(tries) == 1 else progress)

    monkeypatch.setattr(Pack, "_read", interrupted)
    graph.pack("follows")
    assert len(tries) == 2
    assert followed(graph) == followed(Graph(graph.store))
    assert is_packed(graph.start("person", "p0").out("follows"))


class Silent(StoreWrapper):
    """A store that does not tell its changes."""

    telling = False

    @property
    def capabilities(self):
        return self._inner.capabilities - (set() if self.telling else {Capability.CHANGES})


def test_without_changes_everything_is_walked_in_the_store():
    graph = graph_of()
    graph.store = Silent(graph.store)
    assert not graph.pack("follows").edges
    assert followed(graph) == ["p1"]
    graph.store.telling = True
    assert graph.pack("follows").edges == {"follows": 3}
    graph.store.telling = False
    graph.put(edges=[Edge("follows", "p0", "p2")])
    assert followed(graph) == ["p1", "p2"]
    assert not is_packed(graph.start("person", "p0").out("follows"))


def test_plans_and_profiles_tell_the_form():
    graph = graph_of()
    steps = graph.start("person", "p0").out("follows").out("follows")
    assert [(step.packed, step.reads) for step in steps.explain()] == [
        (False, []),
        (False, ["out/follows"]),
        (False, ["out/follows"]),
        (False, ["node/person"]),
    ]
    assert not steps.profile().packed
    graph.pack("follows")
    assert [(step.packed, step.reads) for step in steps.explain()] == [(True, [])] * 4
    profile = steps.profile()
    assert profile.packed
    assert [(step.step, step.reads, step.items) for step in profile.steps] == [
        ("start person, 1 ids", 0, 0),
        ("out follows", 0, 1),
        ("out follows", 0, 1),
        ("nodes", 0, 1),
    ]
    assert (profile.nodes, profile.complete) == (1, True)


@pytest.mark.parametrize(
    "build",
    [
        lambda g: g.start("person").out("follows"),
        lambda g: g.start("person", "p0"),
        lambda g: g.start("person", "p0").out("knows"),
        lambda g: g.start("person", "p0").out("follows", where={"n": 0}),
        lambda g: g.start("person", "p0").out("follows", order_by="n"),
        lambda g: g.start("person", "p0").out("follows").where({"age": 1}),
        lambda g: g.start("person", "p0").out("follows").order_by("age"),
        lambda g: g.start("person", ["p0", "p1"]).limit(1).out("follows"),
        lambda g: g.start("person", "p0").out("follows").within(10),
    ],
)
def test_what_the_pack_does_not_answer_is_told_and_answered(build):
    graph = graph_of()
    graph.pack("follows")
    steps = build(graph)
    assert not any(step.packed for step in steps.explain())
    assert not is_packed(steps)
    assert list(steps.nodes()) == list(build(Graph(graph.store)).nodes())


def test_with_a_readers_eyes_the_store_is_walked():
    class Everything:
        def visible(self, nodes):
            return [True for _ in nodes]

    graph = graph_of()
    graph.pack("follows")
    steps = graph.seen_by(Everything()).start("person", "p0").out("follows")
    assert not any(step.packed for step in steps.explain())
    assert [node.id for node in steps.nodes()] == followed(graph)


def test_the_clock_ends_what_expires_and_a_clock_set_back_asks_the_store():
    clock = VirtualClock()
    graph = graph_of([replace(PERSON, ttl_s=20), replace(FOLLOWS, ttl_s=10), OTHER], clock=clock)
    graph.pack("follows")
    steps = graph.start("person", "p0").out("follows")
    assert steps.nodes()[0].properties == {"age": 1}
    clock.advance(9.999_999)
    assert is_packed(steps)
    assert steps.count() == 1
    clock.advance(0.000_001)
    assert is_packed(steps)
    assert steps.count() == 0
    graph.put(edges=[Edge("follows", "p0", "p1")])
    clock.advance(9.999_999)
    assert steps.nodes()[0].properties == {"age": 1}
    clock.advance(0.000_001)
    graph.put(edges=[Edge("follows", "p0", "p1")])
    assert steps.nodes()[0] == Node("person", "p1")
    assert is_packed(steps)
    clock.jump(-1)
    assert not is_packed(steps)
    assert list(steps.nodes()) == list(
        Graph(graph.store, clock=clock).start("person", "p0").out("follows").nodes()
    )


def test_writing_the_same_again_and_again_takes_no_more_memory(monkeypatch):
    monkeypatch.setattr(packed_edges, "_LOST_PLACES", 100)
    monkeypatch.setattr(packed_nodes, "_GARBAGE_BYTES", 1_000)
    graph = graph_of(edges=50)
    sizes = []
    graph.pack("follows")
    for round_ in range(30):
        graph.put(
            nodes=[Node("person", f"p{n}", {"age": n}) for n in range(50)],
            edges=[Edge("follows", f"p{n}", f"p{n + 1}", {"n": round_}) for n in range(50)],
        )
        graph.delete(edges=[("follows", f"p{n}", f"p{n + 1}") for n in range(0, 50, 2)])
        assert graph.start("person", "p1").out("follows").edges()[0].properties == {"n": round_}
        packed = graph._packs.packed()
        sizes.append(packed.edge_bytes + packed.node_bytes)
    assert max(sizes) < 2 * sizes[0]
    assert graph._packs.packed().edges == {"follows": 25}


def test_what_has_expired_takes_no_memory_for_long(monkeypatch):
    monkeypatch.setattr(packed_edges, "_LOST_PLACES", 100)
    monkeypatch.setattr(packed_nodes, "_GARBAGE_BYTES", 100)
    clock = VirtualClock()
    graph = graph_of([replace(PERSON, ttl_s=10), replace(FOLLOWS, ttl_s=10), OTHER], clock=clock)
    graph.pack("follows")
    for round_ in range(20):
        clock.advance(10)
        graph.put(nodes=[Node("person", f"{round_} {n}", {"age": 1 << 40}) for n in range(100)])
        graph.put(edges=[Edge("follows", "p0", f"{round_} {n}") for n in range(100)])
        graph.put(edges=[Edge("follows", f"{round_} {n}", "p0") for n in range(100)])
        assert len(followed(graph)) == 100
    assert graph._packs.packed().edges["follows"] < 1_000
    assert len(graph._packs.pack.nodes["person"].facts.data) < 10_000


def test_a_long_list_grows_in_the_order_of_ids():
    graph = graph_of()
    graph.pack("follows")
    for n in range(300):
        graph.put(edges=[Edge("follows", "hub", f"{n * 7919 % 300:03}", {"n": n})])
        if n % 50 == 0:
            assert followed(graph, "hub") == sorted(f"{m * 7919 % 300:03}" for m in range(n + 1))
    assert followed(graph, "hub") == [f"{n:03}" for n in range(300)]
    assert is_packed(graph.start("person", "hub").out("follows"))


def test_an_edge_from_a_node_to_itself_is_walked_once():
    graph = graph_of(edges=0)
    graph.put(edges=[Edge("follows", "a", "a"), Edge("follows", "a", "b"), Edge("follows", "b", "a")])
    graph.pack("follows")
    around = graph.start("person", "a").both("follows", per_node=3)
    assert is_packed(around)
    found = around.edges()
    assert ([edge.ref[1:] for edge in found], found.reason) == ([("a", "a"), ("a", "b"), ("b", "a")], "")


def test_more_edges_of_one_node_than_a_step_may_meet_are_paged_by_the_store(monkeypatch):
    for module in (walk, packed_hops):
        monkeypatch.setattr(module, "MAX_EDGES_PER_STEP", 3)
    graph = graph_of()
    graph.put(edges=[Edge("follows", "hub", f"q{n}") for n in range(5)])
    graph.pack("follows")
    first = graph.start("person", "hub").out("follows").edges()
    assert (len(first), first.reason) == (3, "step 1 meets more than 3 edges")
    rest = graph.start("person", "hub").out("follows").edges(page=9, after=first.next)
    assert [edge.target for edge in [*first, *rest]] == [f"q{n}" for n in range(5)]


@pytest.mark.parametrize("ttl_s", [None, 10])
def test_of_more_edges_than_a_step_may_meet_the_first_are_walked(monkeypatch, ttl_s):
    for module in (walk, packed_hops):
        monkeypatch.setattr(module, "MAX_EDGES_PER_STEP", 3)
    graph = graph_of([PERSON, replace(FOLLOWS, ttl_s=ttl_s)], edges=0)
    graph.put(edges=[Edge("follows", who, f"q{n}") for who in ("a", "b", "c") for n in range(2)])
    graph.pack("follows")
    steps = graph.start("person", ["a", "b", "c"]).out("follows")
    assert is_packed(steps) == (ttl_s is None)
    assert [edge.ref[1:] for edge in steps.edges()] == [("a", "q0"), ("a", "q1"), ("b", "q0")]
    assert (steps.count(), steps.count().reason) == (2, "step 1 meets more than 3 edges")
    for bounded in (
        graph.start("person", ["a", "b", "c"]).out("follows", limit=3),
        graph.start("person", ["a", "b", "c"]).out("follows", per_node=1),
        graph.start("person", ["a", "b", "c"]).both("follows"),
    ):
        assert not is_packed(bounded)


def test_opening_packed_tells_progress_and_what_there_is(tmp_path):
    graph_of(location=tmp_path).close()
    with Graph.open(tmp_path, packed=["follows"]) as graph:
        assert is_packed(graph.start("person", "p0").out("follows"))
        told = []
        packed = graph.pack("knows", progress=lambda namespace, items: told.append((namespace, items)))
        assert told == [("node/person", 4), ("out/follows", 3), ("out/knows", 0)]
        assert packed.edges == {"follows": 3, "knows": 0}
        assert packed.nodes == {"person": 4}
        assert packed.edge_bytes > 0
        assert packed.node_bytes > 0
        with pytest.raises(Invalid, match="there is no edge type `likes`"):
            graph.pack("likes")


def test_a_missing_numpy_is_named_with_what_brings_it(monkeypatch):
    graph = graph_of()
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtra) as missing:
        graph.pack("follows")
    assert str(missing.value) == "`numpy` is not installed; install it with: pip install 'weft[packed]'"
    assert followed(graph) == ["p1"]


def test_numpy_is_imported_only_to_pack():
    probe = (
        "import sys; from weft.graph import *;"
        "graph = Graph.open('memory:', [NodeType('a'), EdgeType('e', 'a', 'a')]);"
        "graph.start('a', 'x').out('e').nodes(); print('numpy' in sys.modules);"
        "graph.pack('e'); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue\n"
