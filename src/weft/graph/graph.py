"""A property graph over the two-level map: write, read, remove, walk, ingest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid
from weft.core.randomness import system_random
from weft.graph import layout
from weft.graph.model import Edge, EdgeRef, Node, NodeRef, Remove, id_bytes, id_text
from weft.graph.packed.packs import Packed, Packs
from weft.graph.schema import Schema
from weft.graph.traverse.plan import Planner
from weft.graph.traverse.steps import Query, from_json
from weft.graph.traverse.traversal import Serving, Traversal
from weft.graph.traverse.visibility import Visibility
from weft.graph.types import GraphType, NodeType, decode_types, encode_types
from weft.graph.updates import Update, compile_updates, mutations
from weft.graph.watch import HEARTBEAT_S, Watch, WatchEvent, watch
from weft.kv.model import ALL, Item, ItemWrite, Namespace, Put, Token, TokenSource
from weft.kv.store import KeyValueStore

if TYPE_CHECKING:
    from weft.graph.cypher.query import Rows
    from weft.graph.ingest.dead_letters import Mend
    from weft.graph.ingest.job import Job
    from weft.graph.ingest.model import DeadLetter
    from weft.graph.ingest.protocols import Progress, RelationSink, Source
    from weft.graph.ingest.report import IngestReport
    from weft.kv.sweeper import Sweeper

T = TypeVar("T")
R = TypeVar("R", NodeRef, EdgeRef)

_TYPES_RECORD = b"types"
_KEY_RECORD = b"key"
_KEY_BYTES = 32
# Each sweep reads all lists in the order of time.
_SWEEP_EVERY_S = 300.0


class Graph:
    """A graph in a key-value store, with the types that it was opened with or that the store remembers."""

    def __init__(
        self, store: KeyValueStore, types: Iterable[GraphType] = (), *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.store = store
        self.clock = clock
        self._tokens = TokenSource(clock)
        self._configure(layout.own_namespaces())
        self.schema = self._settle(_listed(types, "types"))
        self.schema.follow(self._news)
        self._packs = Packs(self.schema, clock)
        self._planner = Planner(self.schema)
        self._key = self._secret()

    @classmethod
    def open(
        cls,
        path_or_url: str | Path,
        types: Iterable[GraphType] = (),
        *,
        packed: Sequence[str] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """Open or create the graph at a path or URL (`memory:`).

        Types are remembered: later opens may leave them out, or add types and properties. `Conflict` when a
        declaration contradicts what is remembered. The edge types in `packed` are packed at once, see `pack`.
        """
        from weft import kv

        types = _listed(types, "types")
        if not Path(path_or_url).exists():
            Schema(types)  # Where types do not fit, nothing is made.
        store = kv.open(path_or_url, namespaces=layout.own_namespaces(), clock=clock)
        try:
            graph = cls(store, types, clock=clock)
            if packed:
                graph.pack(*packed)
            return graph
        except BaseException:
            store.close()
            raise

    def put(self, nodes: Iterable[Node] = (), edges: Iterable[Edge] = ()) -> None:
        """Write nodes and edges as one batch, both directions of each edge included.

        What is written replaces what was there, unless that has a later event time; a `PartialNode` replaces
        only the property groups that it names. Nothing is written when anything is refused.
        """
        self._write([*_all(nodes, Node, "nodes"), *_all(edges, Edge, "edges")])

    def delete(
        self,
        nodes: Iterable[NodeRef | tuple[str, str]] = (),
        edges: Iterable[EdgeRef | tuple[str, str, str]] = (),
        *,
        event_time_us: int | None = None,
    ) -> None:
        """Remove nodes with their edges, and edges, as of an event time (None: now), as one batch.

        What was written with a later event time stays.
        """
        refs = _refs(nodes, NodeRef, "nodes")
        if refs:
            self.schema.refresh()  # Others may have added types of edges at these nodes.
        gone: list[NodeRef | EdgeRef] = [*refs, *_refs(edges, EdgeRef, "edges")]
        for ref in refs:
            gone += self._edges_at(ref)
        self._write([Remove(ref, event_time_us) for ref in dict.fromkeys(gone)])

    def node(self, type: str, id: str) -> Node | None:  # noqa: A002
        """The node, or None when there is none."""
        self.schema.current(lambda: self.schema.node(type))
        record = id_bytes(id)
        items = self.store.get_items(layout.node_namespace(type), [record], ALL).items()
        return layout.node_from(type, record, items) if items else None

    def start(
        self,
        type: str,  # noqa: A002
        id: str | Sequence[str] | None = None,  # noqa: A002
        *,
        visibility: Visibility | None = None,
    ) -> Traversal:
        """A traversal from one node, several, or (id=None) every node of the type."""
        ids = [id] if isinstance(id, str) else None if id is None else _listed(id, "id")
        return self.traverse(Query(type, ids), visibility=visibility)

    def traverse(self, query: Query | str | bytes, *, visibility: Visibility | None = None) -> Traversal:
        """The traversal that a query describes, as data or as its JSON."""
        parsed = query if isinstance(query, Query) else from_json(query)
        serving = Serving(self._planner, self.store, self._packs, self._key, self.clock)
        return Traversal(parsed, serving, visibility)

    def query(self, text: str, /, **parameters: Any) -> Rows:
        """The rows that a query finds, in a read-only subset of openCypher; `$name` takes the parameter
        `name`. `Invalid` names the place that does not parse or does not fit the graph's types."""
        from weft.graph.cypher import query

        return self.schema.current(lambda: query.run(text, parameters, self.schema, self.store))

    def pack(self, *edge_types: str, progress: Callable[[str, int], object] | None = None) -> Packed:
        """Hold these edge types, with the nodes at their ends, in arrays of this process: hops along them
        take a fraction of the time, and answer the same. What is written later, by any process, is followed.

        Reads all of them; `progress` is told the namespace that is being read and how many of its items were.
        Types packed before are read again, so name all at once. Returns what is packed: not types that are
        `split` or `newest`, and nothing over a store that does not tell its changes; those are walked in the
        store. Needs the extra `packed`.
        """
        return self._packs.add(edge_types, self.store, progress)

    def seen_by(self, visibility: Visibility) -> GraphView:
        """The graph as one reader sees it."""
        return GraphView(self, visibility)

    def ingest(
        self,
        job: Job,
        source: Source,
        *,
        relations: RelationSink | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Run a job over a source until the source ends, from where the job's last run stopped."""
        from weft.graph.ingest.embedded import EmbeddedRunner
        from weft.graph.ingest.graph_sink import GraphSink

        runner = EmbeddedRunner(clock=self.clock)
        return runner.run(job, source, GraphSink(self.store, self.schema, relations), progress=progress)

    def backfill(
        self,
        job: Job,
        sources: Iterable[Source],
        *,
        rate_per_s: float | None = None,
        relations: RelationSink | None = None,
        progress: Progress | None = None,
    ) -> list[IngestReport]:
        """Run a job over bounded sources that hold its stream's past, at most `rate_per_s` events a second.

        The live source may be ingested before, after or at the same time: an event's time decides, so that
        nothing old undoes anything newer. There is no gap when the two overlap.
        """
        from weft.graph.ingest.embedded import EmbeddedRunner
        from weft.graph.ingest.graph_sink import GraphSink

        sources = _listed(sources, "sources")
        runner = EmbeddedRunner(clock=self.clock, rate_per_s=rate_per_s)
        sink = GraphSink(self.store, self.schema, relations)
        return [runner.run(job, source, sink, progress=progress) for source in sources]

    def watch(
        self,
        types: Iterable[str] = (),
        *,
        after: str | None = None,
        visibility: Visibility | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> Iterator[WatchEvent]:
        """Every change of nodes and edges after a cursor, each as it is now, by whichever process; endless.

        `after=None` begins now, with an event that says where that is; to resume, pass the cursor of the last
        event. `types` keeps changes of these node and edge types only. What changes several times in a row
        may be told once, and what was told may be told again: whoever stores each `now`, and deletes each
        `removed`, has what the graph has. What expires is not told. An event with neither is a heartbeat: it
        comes after `heartbeat_s` without an event.

        `visibility` leaves out hidden nodes and edges with a hidden end, as it decides when they are told; a
        change of rights changes no node. `ExpiredCursor` when the changes since then are forgotten.
        """
        steps = Watch(
            self.store,
            self.schema,
            self.clock,
            types,
            after=after,
            visibility=visibility,
            heartbeat_s=heartbeat_s,
        )
        return watch(steps, self.clock)

    def dead_letters(self, job: Job | str) -> Iterator[DeadLetter]:
        """The events that a job could not take, oldest first, with the reasons."""
        from weft.graph.ingest.dead_letters import read_dead_letters

        return read_dead_letters(self.store, job if isinstance(job, str) else job.name)

    def dead_letter(self, stream: str, position: int, partition: int = 0) -> DeadLetter:
        """One of them, by its stream (`JOB/SOURCE`) and place; `NotFound` when there is none."""
        from weft.graph.ingest.dead_letters import read_dead_letter

        return read_dead_letter(self.store, stream, position, partition)

    def replay_dead_letters(
        self,
        job: Job,
        *,
        letters: Iterable[DeadLetter] | None = None,
        mend: Mend | None = None,
        relations: RelationSink | None = None,
    ) -> IngestReport:
        """Pass a job's dead letters (all, unless `letters` picks some) through the job as it is now.

        An event keeps its stream, offset and time, and so its place among all others. What passes becomes
        part of the graph in the batch that makes its letter disappear; the rest stays with its new reason.
        `mend` may correct an event first, also one that the source could not decode (clear its `error`).
        """
        from weft.graph.ingest.dead_letters import replay
        from weft.graph.ingest.graph_sink import GraphSink

        chosen = self.dead_letters(job) if letters is None else letters
        return replay(chosen, job, GraphSink(self.store, self.schema, relations), self.clock, mend)

    def sweep(self) -> int:
        """Reclaim what types with `newest` no longer need, and hold their caps; then what has expired or was
        deleted long ago, of all types. How many items that were."""
        return sum(self._sweep_rounds())

    def sweeper(self) -> Sweeper:
        """A thread that sweeps every few minutes as long as it is entered: `with graph.sweeper(): ...`."""
        from weft.kv.sweeper import Sweeper

        return Sweeper(self._sweep_rounds, interval_s=_SWEEP_EVERY_S, clock=self.clock)

    def _sweep_rounds(self) -> Iterator[int]:
        from weft.graph.sweep import sweep_newest
        from weft.kv.sweeper import rounds

        yield from sweep_newest(self.store, self.schema, self.clock.now_us())
        yield from rounds(self.store)

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _write(self, outputs: Sequence[Node | Edge | Remove]) -> None:
        token = self._tokens.new()
        updates = self.schema.current(lambda: self._compiled(outputs, token))
        if updates:
            self.store.mutate(
                [one for update in updates for one in mutations(update, self.schema, token.instant_us)]
            )

    def _compiled(self, outputs: Sequence[Node | Edge | Remove], token: Token) -> list[Update]:
        now_us = self.clock.now_us()
        updates: list[Update] = []
        for number, output in enumerate(outputs):
            nonce = token.nonce[:12] + number.to_bytes(4, "big")
            updates += compile_updates(output, self.schema, now_us, nonce)
        return updates

    def _edges_at(self, ref: NodeRef) -> Iterator[EdgeRef]:
        self.schema.node(ref.type)
        here = id_bytes(ref.id)
        for edge in self.schema.edges.values():
            if edge.source == ref.type:
                for there in self._neighbours(layout.out_namespace(edge.name), here):
                    yield EdgeRef(edge.name, ref.id, there)
            if edge.target == ref.type:
                for there in self._neighbours(layout.in_namespace(edge.name), here):
                    yield EdgeRef(edge.name, there, ref.id)

    def _neighbours(self, namespace: str, record: bytes) -> Iterator[str]:
        after = None
        while True:
            page = self.store.get_items(namespace, [record], ALL, after=after)
            yield from (id_text(item.key) for item in page.items())
            after = page.next
            if after is None:
                return

    def _settle(self, declared: list[GraphType]) -> Schema:
        known = self._known_types()
        schema = _schema_of(known).extended(declared)
        self._configure(layout.type_namespaces(schema))
        encoded = {_type_key(kind): encode_types([kind]) for kind in schema.types()}
        before = {item.key: item for item in known}
        changed = [key for key, value in encoded.items() if key not in before or before[key].value != value]
        if changed:
            before_us = max(
                (before[key].version.event_time_us for key in changed if key in before), default=0
            )
            self.store.mutate(
                [
                    Put(
                        namespace=layout.META,
                        record=_TYPES_RECORD,
                        items=[ItemWrite(key, encoded[key]) for key in changed],
                        event_time_us=max(self.clock.now_us(), before_us + 1),
                        token=self._tokens.new(),
                    )
                ]
            )
        self._types_seen = encoded
        return schema

    def _secret(self) -> bytes:
        """What signs the tokens of pages: a secret of the graph, made when it is first opened."""
        known = self.store.get_items(layout.META, [_KEY_RECORD], ALL).items()
        if not known:
            self.store.put_items(layout.META, _KEY_RECORD, {b"": system_random().randbytes(_KEY_BYTES)})
            known = self.store.get_items(layout.META, [_KEY_RECORD], ALL).items()
        return known[0].value

    def _known_types(self) -> list[Item]:
        return self.store.get_items(layout.META, [_TYPES_RECORD], ALL).items()

    def _news(self) -> Schema | None:
        """The remembered types, if another process has added to them."""
        known = self._known_types()
        seen = {item.key: item.value for item in known}
        if seen == self._types_seen:
            return None
        self._types_seen = seen
        return _schema_of(known)

    def _configure(self, namespaces: Iterable[Namespace]) -> None:
        """Create them, or bring their retention up to date, at once; what else is configured stays."""
        known = {one.name: one for one in self.store.namespaces()}
        wanted = []
        for one in namespaces:
            before = known.get(one.name, one)
            log_bytes = max(before.changes_bytes, one.changes_bytes)
            wanted.append(msgspec.structs.replace(before, ttl_s=one.ttl_s, changes_bytes=log_bytes))
        changed = [one for one in wanted if one != known.get(one.name)]
        if changed:
            self.store.configure(*changed)


class GraphView:
    """A graph through the eyes of one reader: what is hidden does not exist here."""

    def __init__(self, graph: Graph, visibility: Visibility) -> None:
        self._graph = graph
        self._visibility = visibility

    def node(self, type: str, id: str) -> Node | None:  # noqa: A002
        """The node, or None when there is none to be seen."""
        found = self._graph.node(type, id)
        return found if found and self._visibility.visible([found.ref])[0] is True else None

    def start(self, type: str, id: str | Sequence[str] | None = None) -> Traversal:  # noqa: A002
        """As `Graph.start`."""
        return self._graph.start(type, id, visibility=self._visibility)

    def traverse(self, query: Query | str | bytes) -> Traversal:
        """As `Graph.traverse`."""
        return self._graph.traverse(query, visibility=self._visibility)

    def watch(
        self, types: Iterable[str] = (), *, after: str | None = None, heartbeat_s: float = HEARTBEAT_S
    ) -> Iterator[WatchEvent]:
        """As `Graph.watch`."""
        return self._graph.watch(types, after=after, visibility=self._visibility, heartbeat_s=heartbeat_s)

    def query(self, text: str, /, **parameters: Any) -> Rows:
        """As `Graph.query`."""
        from weft.graph.cypher import query

        schema, store = self._graph.schema, self._graph.store
        return schema.current(lambda: query.run(text, parameters, schema, store, self._visibility))


def _listed(things: Iterable[T], what: str) -> list[T]:
    if isinstance(things, str) or not isinstance(things, Iterable):
        raise Invalid(f"`{what}` takes a list, not `{things!r:.80}`", hint=f"write {what}=[...]")
    return list(things)


def _refs(refs: Iterable[tuple[str, ...]], kind: type[R], what: str) -> list[R]:
    found = _listed(refs, what)
    for ref in found:
        if not isinstance(ref, tuple | list) or len(ref) != len(kind._fields):
            raise Invalid(f"`{what}` takes {kind.__name__}(...), not `{ref!r:.80}`")
    return [kind(*ref) for ref in found]


def _all(things: Iterable[object], kind: type, what: str) -> list[Node | Edge]:
    found = _listed(things, what)
    for thing in found:
        if not isinstance(thing, kind):
            raise Invalid(f"`{what}` takes {kind.__name__}(...), not `{thing!r:.80}`")
    return found  # type: ignore[return-value]


def _type_key(kind: GraphType) -> bytes:
    """Each type is remembered for itself, so that processes which add some at the same instant lose none."""
    return f"{'node' if isinstance(kind, NodeType) else 'edge'}/{kind.name}".encode()


def _schema_of(known: Iterable[Item]) -> Schema:
    return Schema(kind for item in known for kind in decode_types(item.value))
