"""Rows equal sorted lists, whatever is set, removed and put in order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weft.graph.packed.rows import Rows

NODES = 5
NAMES = [f"{number * 7 % 40:02}" for number in range(40)]

numbers = st.integers(0, len(NAMES) - 1)
nodes = st.integers(0, NODES - 1)
events = st.one_of(
    st.tuples(st.just("set"), nodes, numbers, st.integers(0, 1_000)),
    st.tuples(st.just("set"), nodes, numbers, st.integers(0, 1_000)),
    st.tuples(st.just("remove"), nodes, numbers),
    st.tuples(st.just("compact")),
)


@given(st.lists(st.tuples(nodes, numbers), unique=True, max_size=40), st.lists(events, max_size=120))
def test_rows_equal_sorted_lists(first, history):
    model = {
        node: {there: at for at, (here, there) in enumerate(first) if here == node} for node in range(NODES)
    }
    rows = Rows()
    rows.fit(NODES)
    filled = [(node, there, edge) for node in model for there, edge in ordered(model[node])]
    counts = np.array([len(model[node]) for node in model])
    columns = np.array(filled or [(0, 0, 0)][:0], np.int32).reshape(-1, 3)
    rows.fill(np.arange(NODES), counts, columns[:, 1], columns[:, 2])
    for what, *arguments in history:
        if what == "set":
            node, there, edge = arguments
            rows.set(node, there, edge, NAMES)
            model[node][there] = edge
        elif what == "remove":
            node, there = arguments
            rows.remove(node, there, NAMES)
            model[node].pop(there, None)
        else:
            rows.compact(None)
            assert rows.end == rows.total
    expected = [(node, there, edge) for node in model for there, edge in ordered(model[node])]
    here, there, edge = rows.lists(np.arange(NODES), 1_000)
    assert list(zip(here.tolist(), there.tolist(), edge.tolist(), strict=True)) == expected
    assert rows.total == len(expected)
    for node in model:
        assert [column.tolist()[:1] for column in rows.lists(np.array([node]), 1_000)[1:]] == [
            [pair[at] for pair in ordered(model[node])[:1]] for at in (0, 1)
        ]
    assert rows.lists(np.arange(NODES), len(expected) - 1) is None


def ordered(row):
    return sorted(row.items(), key=lambda pair: NAMES[pair[0]])
