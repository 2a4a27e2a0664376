"""The offline builder: the transitive closure of a directed graph, cycles included, in one pass.

Tarjan's strongly connected components come out in an order in which whatever a component leads to comes
first (Tarjan, 1972). So each component's set is the union of sets that are finished, and nodes of one cycle
share what they reach (Nuutila, 1995).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from pyroaring import BitMap

from weft.authz.leopard.sets import Sets

Edges = Mapping[int, Collection[int]]
"""Node -> the nodes that it leads to."""


def close(nodes: Iterable[int], edges: Edges, reach: Sets) -> None:
    """Put what each of the nodes reaches, itself included, into `reach`. What lies outside `nodes` must be
    right there already."""
    within = BitMap(nodes)
    for component in components(within, edges):
        found = BitMap(component)
        for node in component:
            for target in edges.get(node, ()):
                if target not in found:
                    found |= reach.find(target) or BitMap([target])
        found.run_optimize()
        for node in component:
            reach.keep(node, found.copy())


def components(nodes: BitMap, edges: Edges) -> Iterator[list[int]]:
    """The strongly connected components of the graph between the nodes, each after all that it leads to."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    open_: list[int] = []
    done: set[int] = set()
    for root in nodes:
        if root in number:
            continue
        path = [(root, iter(edges.get(root, ())))]
        number[root] = low[root] = len(number)
        open_.append(root)
        while path:
            node, targets = path[-1]
            for target in targets:
                if target not in nodes:
                    continue
                if target not in number:
                    number[target] = low[target] = len(number)
                    open_.append(target)
                    path.append((target, iter(edges.get(target, ()))))
                    break
                if target not in done:
                    low[node] = min(low[node], number[target])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == number[node]:
                    component = [open_.pop()]
                    while component[-1] != node:
                        component.append(open_.pop())
                    done.update(component)
                    yield component
