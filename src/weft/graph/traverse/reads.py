"""What walks ask of the store and of the reader, and how the answers become links, ids and nodes; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from weft.core.errors import Bug
from weft.graph import layout
from weft.graph.model import Node, NodeRef, id_text
from weft.graph.types import EdgeType
from weft.kv.model import Item, Page, RecordPage

T = TypeVar("T")
_NODES_PER_READ: Final = 10_000


class Read(NamedTuple):
    """Answered with a `Page` of the items of these records, of all or of those behind a key."""

    namespace: str
    records: Sequence[bytes]
    limit_per_record: int | None = None
    after: bytes | None = None
    behind: bytes | None = None


class Scan(NamedTuple):
    """Answered with a `RecordPage`."""

    namespace: str
    after: bytes | None = None


class Ask(NamedTuple):
    """Answered with one bool per node: may it be seen."""

    nodes: list[NodeRef]


Request = Read | Scan | Ask
Asking = Generator[Request, Any, T]


class Link(NamedTuple):
    """One edge as walked: from `here` to `there`, along its direction or against it."""

    here: bytes
    there: bytes
    forward: bool
    item: Item


def _pair(link: Link) -> bytes:
    ends = (link.here, link.there) if link.forward else (link.there, link.here)
    return layout.pair_record(*ends)


def _of_pair(link: Link, found: dict[bytes, Item]) -> Item:
    # In one moment of a store the properties are there; between two moments they may go.
    return found.get(_pair(link)) or msgspec.structs.replace(link.item, value=layout.NO_PROPERTIES)


class Reader:
    """One run's reads. Nodes are read once, and asked about once; `guarded` says that they may be hidden,
    `late` whether to stop."""

    def __init__(self, *, guarded: bool, late: Callable[[], bool] | None = None) -> None:
        self.guarded = guarded
        self._late = late
        self.stopped = False
        """Whether something was left unread because it got late."""
        self.nodes: dict[tuple[str, bytes], Node | None] = {}
        """What `load` read; None for a node without a record."""
        self._seen: dict[NodeRef, bool] = {}

    def stop(self) -> bool:
        """Whether to read no more of what there is to read."""
        self.stopped = self.stopped or (self._late is not None and self._late())
        return self.stopped

    def ids(self, scan: Scan, kind: str) -> Asking[tuple[list[bytes], bytes | None]]:
        """The visible records of one page, and where the next page starts."""
        page: RecordPage = yield scan
        return (yield from self.visible(kind, page.records)), page.next

    def links(
        self,
        read: Read,
        forward: bool,
        to: str,
        keep: Callable[[Link], bool] | None,
        whole: EdgeType | None = None,
    ) -> Asking[tuple[list[Link], bytes | None]]:
        """The links of one page that satisfy `keep` and lead to a visible node, and where the next starts;
        `keep` asks for properties if the edge type is given."""
        page: Page = yield read
        found = [
            Link(record.record, item.key, forward, item) for record in page.records for item in record.items
        ]
        return (yield from self.kept(found, to, keep, whole)), page.next

    def kept(
        self, found: list[Link], to: str, keep: Callable[[Link], bool] | None, whole: EdgeType | None
    ) -> Asking[list[Link]]:
        """Those of the links that satisfy `keep` and lead to a visible node."""
        if whole is not None:
            found = yield from self.whole(whole, found)
        if keep is not None:
            found = list(filter(keep, found))
        if self.guarded:
            visible = set((yield from self.visible(to, [link.there for link in found])))
            found = [link for link in found if link.there in visible]
        return found

    def whole(self, kind: EdgeType, links: list[Link]) -> Asking[list[Link]]:
        """The links with their properties, in one more read where the type keeps these apart; when it gets
        late, only the first of them."""
        if not kind.split:
            return links
        found: list[Link] = []
        for start in range(0, len(links), _NODES_PER_READ):
            if start and self.stop():
                break
            found += yield from self._whole(kind, links[start : start + _NODES_PER_READ])
        return found

    def _whole(self, kind: EdgeType, links: list[Link]) -> Asking[list[Link]]:
        pairs = list(dict.fromkeys(_pair(link) for link in links if not link.item.value))
        found: dict[bytes, Item] = {}
        after = None
        while pairs:
            page: Page = yield Read(layout.pair_namespace(kind.name), pairs, None, after)
            found.update((record.record, record.items[0]) for record in page.records)
            after = page.next
            if after is None:
                break
        return [link if link.item.value else link._replace(item=_of_pair(link, found)) for link in links]

    def visible(self, kind: str, ids: Sequence[bytes]) -> Asking[list[bytes]]:
        """Those of the nodes that may be seen, in their order."""
        if not self.guarded or not ids:
            return list(ids)
        refs = [NodeRef(kind, id_text(node)) for node in ids]
        unknown = list(dict.fromkeys(ref for ref in refs if ref not in self._seen))
        if unknown:
            answers: Sequence[bool] = yield Ask(unknown)
            if len(answers) != len(unknown):
                raise Bug(f"visibility answered {len(answers):,} times to {len(unknown):,} questions")
            self._seen.update(zip(unknown, answers, strict=True))
        return [node for node, ref in zip(ids, refs, strict=True) if self._seen[ref] is True]

    def load(self, kind: str, ids: Sequence[bytes]) -> Asking[None]:
        """Have these nodes in `nodes`; when it gets late, only the first of them."""
        missing = [node for node in ids if (kind, node) not in self.nodes]
        for start in range(0, len(missing), _NODES_PER_READ):
            if start and self.stop():
                break
            yield from self._load(kind, missing[start : start + _NODES_PER_READ])

    def _load(self, kind: str, missing: Sequence[bytes]) -> Asking[None]:
        items: dict[bytes, list[Item]] = {}
        after = None
        while True:
            page: Page = yield Read(layout.node_namespace(kind), missing, None, after)
            for record in page.records:
                items.setdefault(record.record, []).extend(record.items)
            after = page.next
            if after is None:
                break
        for node in missing:
            self.nodes[kind, node] = layout.node_from(kind, node, items[node]) if node in items else None
