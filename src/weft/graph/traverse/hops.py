"""Which links a hop takes, and how it finds the newest of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from weft.core.limits import MAX_EDGES_PER_STEP
from weft.graph import layout
from weft.graph.traverse.plan import PlannedHop
from weft.graph.traverse.reads import Asking, Link, Read, Reader
from weft.kv.model import Item, Page

# A list is read again so many times deeper; all rounds together read a third more than the last one.
_DEEPER: Final = 4


def keep_of(hop: PlannedHop, *, loops: bool) -> Callable[[Link], bool] | None:
    """Which links a read of the hop takes: without loops where the other direction's list has them too."""
    test = hop.test
    if test is None:
        return None if loops else lambda link: link.here != link.there
    return lambda link: test(edge_facts(link.item)) and (loops or link.here != link.there)


def edge_facts(item: Item) -> dict[str, Any]:
    """What conditions and orders may ask of an edge; those that ask for properties have read them."""
    properties = layout.properties_of(item) if item.value else {}
    return properties | {"event_time_us": item.version.event_time_us}


def newest_links(reader: Reader, nodes: list[bytes], hop: PlannedHop) -> Asking[list[Link]]:
    """Of each node the newest links that the hop takes: as many as its bounds let pass, and one more. One
    read for all nodes; a node whose first items are stale or not taken is read again, deeper."""
    needed = min(bound for bound in (hop.per_node, hop.limit) if bound is not None) + 1
    links: list[Link] = []
    for adjacency, forward in hop.reads:
        keep = keep_of(hop, loops=forward or len(hop.reads) == 1)
        namespace = layout.newest_namespace(adjacency)
        pending, depth = nodes, needed
        done: dict[bytes, list[Link]] = {}
        while pending and not (depth > needed and reader.stop()):
            heads = _Heads(pending)
            after = None
            while True:
                page: Page = yield Read(namespace, pending, depth, after)
                found = heads.current(page, forward)
                heads.take((yield from reader.kept(found, hop.to, keep, hop.edge if hop.asks else None)))
                after = page.next
                if after is None or len(links) + heads.taken > MAX_EDGES_PER_STEP or reader.stop():
                    break
            done |= heads.links
            if after is not None:
                break
            pending = [
                node for node in pending if heads.read[node] == depth and len(heads.links[node]) < needed
            ]
            depth *= _DEEPER
        links += [link for node in nodes for link in done.get(node, ())]
    return links


class _Heads:
    """The first items of some nodes' lists, as they are read."""

    def __init__(self, nodes: list[bytes]) -> None:
        self.links: dict[bytes, list[Link]] = {node: [] for node in nodes}
        self.read = dict.fromkeys(nodes, 0)
        """How many items."""
        self.taken = 0
        self._seen: dict[bytes, set[bytes]] = {node: set() for node in nodes}

    def current(self, page: Page, forward: bool) -> list[Link]:
        """The links of a page: of each other end the first, unless that tells of a removal."""
        found = []
        for record in page.records:
            here, seen = record.record, self._seen[record.record]
            self.read[here] += len(record.items)
            for item in record.items:
                there = layout.newest_end(item.key)
                if there not in seen:
                    seen.add(there)
                    if not item.value.startswith(layout.REMOVED):
                        found.append(Link(here, there, forward, item))
        return found

    def take(self, links: list[Link]) -> None:
        self.taken += len(links)
        for link in links:
            self.links[link.here].append(link)
