"""Side inputs: rows by key, refreshed by the clock, looked up at an event's time."""

from __future__ import annotations

import sqlite3

import pytest

from weft.core.errors import Unavailable
from weft.graph import Graph, Job, Node, NodeType
from weft.graph.ingest import side_input
from weft.graph.ingest.side_input import SideInput
from weft.graph.ingest.sources import IterSource
from weft.testing.clock import VirtualClock


def test_rows_are_found_by_key_and_the_last_of_one_key_counts():
    table = SideInput(lambda: [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}, {"id": 1, "n": "c"}], key="id")
    assert table.get(1) == {"id": 1, "n": "c"}
    assert table.get(2)["n"] == "b"
    assert table.get(3) is None


def test_it_is_loaded_when_first_needed_and_again_after_its_interval():
    clock, loads = VirtualClock(), []

    def load():
        loads.append(clock.monotonic_s())
        return [{"id": 1, "n": len(loads)}]

    table = SideInput(load, key="id", refresh_s=60, clock=clock)
    assert loads == []
    assert [table.get(1)["n"], table.get(1)["n"]] == [1, 1]
    clock.advance(59)
    assert table.get(1)["n"] == 1
    clock.advance(1)
    assert table.get(1)["n"] == 2
    assert loads == [0, 60]


def test_a_table_that_cannot_be_refreshed_stays_and_says_why():
    clock = VirtualClock()
    tables = iter([[{"id": 1}], [{"nope": 1}], [{"id": 2}]])
    table = SideInput(lambda: next(tables), key="id", refresh_s=1, clock=clock)
    assert table.get(1)
    clock.advance(1)
    assert table.get(1)
    assert "row 1 has no `id`" in str(table.failure)
    clock.advance(1)
    assert (table.get(1), table.get(2), table.failure) == (None, {"id": 2}, None)


def test_with_since_an_event_sees_what_held_at_its_time():
    rows = [{"id": 1, "from": 30, "n": "late"}, {"id": 1, "from": 10, "n": "early"}]
    table = SideInput(lambda: rows, key="id", since="from")
    seen = [(table.get(1, at) or {}).get("n") for at in (9, 10, 29, 30, 99)]
    assert seen == [None, "early", "early", "late", "late"]
    assert table.get(1)["n"] == "late"


@pytest.mark.parametrize("name", ["t.ndjson", "t.json"])
def test_a_file_is_a_table(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'{"id": "a", "n": 1}\n{"id": "b", "n": 2}\n')
    assert SideInput.from_file(path, key="id").get("b") == {"id": "b", "n": 2}
    path.write_bytes(b'{"id": "a"}\nnonsense\n')
    with pytest.raises(Unavailable, match=r"record 2 of .* is no row"):
        SideInput.from_file(path, key="id").get("a")


def test_a_query_is_a_table(tmp_path):
    database = tmp_path / "t.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("create table titles (id, name)")
        connection.execute("insert into titles values ('t1', 'Dune'), ('t2', 'Heat')")
    connection.close()
    table = SideInput.from_sql(lambda: sqlite3.connect(database), "select id, name from titles", key="id")
    assert table.get("t2") == {"id": "t2", "name": "Heat"}
    missing = SideInput.from_sql(lambda: sqlite3.connect(database), "select 1 from nowhere", key="id")
    with pytest.raises(Unavailable, match="no such table"):
        missing.get("t1")


def test_a_table_too_large_for_memory_is_refused(monkeypatch):
    monkeypatch.setattr(side_input, "MAX_SIDE_INPUT_ROWS", 2)
    with pytest.raises(Unavailable, match="the limit is 2"):
        SideInput(lambda: [{"id": n} for n in range(3)], key="id").get(1)


def test_a_job_enriches_and_a_missing_table_ends_the_run_with_nothing_lost():
    graph = Graph.open("memory:", [NodeType("title", properties={"name": str})])
    loads = iter([OSError("no such host"), [{"id": "t1", "name": "Dune"}]])

    def load():
        found = next(loads)
        if isinstance(found, Exception):
            raise found
        return found

    names = SideInput(load, key="id")
    job = Job(
        "titles",
        lambda event: [Node("title", event.value["id"], {"name": event.value.get("name")})],
        enrich=lambda event: {**event.value, **(names.get(event.value["id"], event.time_us) or {})},
    )
    source = IterSource("s", [{"id": "t1"}, {"id": "t2"}], time_us=lambda _: 1)
    with pytest.raises(Unavailable, match="no such host"):
        graph.ingest(job, source)
    assert graph.ingest(job, source).events == 2
    assert graph.node("title", "t1").properties == {"name": "Dune"}
    assert graph.node("title", "t2").properties == {}
    assert not list(graph.dead_letters(job))
