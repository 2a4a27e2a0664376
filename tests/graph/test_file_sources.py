"""File sources: every format, plain and compressed, read whole, resumed anywhere, damaged and replaced."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
import lzma

import fastavro
import msgpack
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from weft.core.errors import Conflict, Corrupt, Invalid, NotFound
from weft.graph import Graph, Job, Node, NodeType
from weft.graph.ingest.sources import AvroSource, MsgpackSource, ParquetSource, file_source, parquet

RECORDS = [{"at": 1_000 + n, "who": f"é{n}", "n": n} for n in range(50)]
SCHEMA = {
    "type": "record",
    "name": "Play",
    "fields": [
        {"name": "at", "type": "long"},
        {"name": "who", "type": "string"},
        {"name": "n", "type": "int"},
    ],
}
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def encode(suffix, records, folder):
    """The records as the bytes of a file, written by the format's own library."""
    if suffix == ".ndjson":
        return b"".join(json.dumps(record).encode() + b"\n" for record in records)
    if suffix == ".msgpack":
        return b"".join(msgpack.packb(record) for record in records)
    path = folder / "raw"
    if suffix == ".avro":
        with path.open("wb") as file:
            fastavro.writer(file, SCHEMA, records, sync_interval=60, sync_marker=b"0123456789abcdef")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path, row_group_size=7)
    return path.read_bytes()


FORMATS = [
    (suffix, compression)
    for suffix in (".ndjson", ".msgpack", ".avro", ".parquet")
    for compression in COMPRESS
    if (suffix, bool(compression)) != (".parquet", True)
]


@pytest.fixture(params=FORMATS, ids="".join)
def written(request, tmp_path):
    """A file of each format, and how to write it anew with other records."""
    suffix, compression = request.param
    path = tmp_path / f"plays{suffix}{compression}"

    def write(records):
        path.write_bytes(COMPRESS[compression](encode(suffix, records, tmp_path)))
        return path

    return write


def read(path, after=None):
    source = file_source(path, time_field="at", name="s")
    return list(source.events({0: after} if after else {}))


def test_every_format_gives_the_same_events_with_positions_and_times(written):
    events = read(written(RECORDS))
    assert [event.value for event in events] == RECORDS
    assert [event.time_us for event in events] == [record["at"] for record in RECORDS]
    assert [event.offset.position for event in events] == list(range(1, 51))
    assert not any(event.error for event in events)


def test_resuming_anywhere_gives_exactly_the_rest(written):
    path = written(RECORDS)
    events = read(path)
    for at in range(1, 51, 3):
        assert read(path, events[at - 1].offset) == events[at:]


def test_another_file_under_the_same_name_is_a_conflict(written):
    last = read(written(RECORDS))[-1].offset
    # The same sync marker: only what comes too short tells such an Avro file from the first.
    path = written([record | {"n": record["n"] + 1} for record in RECORDS[:-1]])
    with pytest.raises(Conflict, match="is not the file that was read before"):
        read(path, last)


def test_an_empty_stream_has_no_events(written):
    assert read(written(RECORDS[:1]))[0].offset.position == 1


def test_a_compressed_file_that_breaks_off_is_corrupt_after_what_is_whole(tmp_path):
    for suffix, compress in COMPRESS.items():
        if suffix in (".gz", ".bz2", ".xz"):
            whole = compress(
                encode(".ndjson", [{"at": n, "x": "y" * (n % 97)} for n in range(5_000)], tmp_path)
            )
            path = tmp_path / f"cut.ndjson{suffix}"
            path.write_bytes(whole[: len(whole) * 3 // 4])
            seen = []
            with pytest.raises(Corrupt, match="does not decompress"):
                seen.extend(iter(file_source(path, time_field="at").events({})))
            path.write_bytes(whole[: len(whole) // 2] + b"\0" * 500 + whole[len(whole) // 2 + 500 :])
            with pytest.raises(Corrupt, match="does not decompress"):
                read(path)


def test_a_name_that_does_not_say_what_it_holds(tmp_path):
    for name in ("plays", "plays.csv", "plays.gz"):
        with pytest.raises(Invalid, match=r"name it with one of \.ndjson"):
            file_source(tmp_path / name, time_field="at")
    with pytest.raises(NotFound, match="there is no file"):
        read(tmp_path / "none.avro")


def test_times_may_be_timestamps_of_the_format(tmp_path):
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=datetime.UTC)
    schema = {
        "type": "record",
        "name": "A",
        "fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}],
    }
    with (tmp_path / "a.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"at": at}])
    pyarrow.parquet.write_table(pyarrow.table({"at": [at]}), tmp_path / "a.parquet")
    (tmp_path / "a.msgpack").write_bytes(msgpack.packb({"at": at}, datetime=True))
    for suffix in (".avro", ".parquet", ".msgpack"):
        (event,) = read(tmp_path / f"a{suffix}")
        assert event.time_us == 1_767_323_045_678_901, suffix


def test_records_without_a_time_are_dead_letters_and_the_stream_goes_on(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"at": [1, None, 3]}), path)
    assert [event.error for event in read(path)] == [
        "",
        "it has no event time in `at`; use microseconds since 1970, or RFC 3339 text",
        "",
    ]


def test_a_row_that_python_cannot_hold_is_a_dead_letter_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS_PER_BATCH", 2)
    table = pyarrow.table({"at": [1, 2, 3, 4], "d": pyarrow.array([1, 1 << 50, 1, 1], pyarrow.duration("s"))})
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table, path)
    events = read(path)
    assert [bool(event.error) for event in events] == [False, True, False, False]
    assert [event.offset.position for event in events] == [1, 2, 3, 4]


def test_a_damaged_avro_block_costs_its_rest_and_no_more(tmp_path):
    path = tmp_path / "a.avro"
    path.write_bytes(encode(".avro", RECORDS, tmp_path))
    whole = read(path)
    data = path.read_bytes()
    at = data.index("é7".encode())
    path.write_bytes(data[:at] + b"\xff\xff" + data[at + 2 :])
    events = read(path)
    (bad,) = [event for event in events if event.error]
    assert "record 8 does not decode" in bad.error
    lost = {event.offset.position for event in whole} - {event.offset.position for event in events}
    assert lost <= set(range(8, bad.offset.position))
    assert [event.value["n"] for event in events if not event.error][-1] == 49
    assert read(path, bad.offset) == whole[bad.offset.position :]


@pytest.mark.parametrize("source", [AvroSource, ParquetSource, MsgpackSource])
def test_what_is_not_of_the_format_says_so(tmp_path, source):
    path = tmp_path / "a"
    path.write_bytes(b"\xc1 this is neither")
    with pytest.raises((Invalid, Corrupt), match="not"):
        list(source(path, time_field="at").events({}))


def test_a_file_that_is_cut_off_ends_where_it_is_whole(tmp_path):
    path = tmp_path / "a.msgpack"
    data = encode(".msgpack", RECORDS, tmp_path)
    path.write_bytes(data[:-3])
    events = read(path)
    assert len(events) == 49
    path.write_bytes(data)
    assert [event.value for event in read(path, events[-1].offset)] == RECORDS[-1:]
    cut = tmp_path / "a.avro"
    cut.write_bytes(encode(".avro", RECORDS, tmp_path)[:-3])
    with pytest.raises(Corrupt, match="damaged or still being written"):
        read(cut)


def test_values_larger_than_a_chunk_are_read_whole_and_over_the_limit_refused(tmp_path, monkeypatch):
    from weft.graph.ingest.sources import packed

    monkeypatch.setattr(packed, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(packed, "MAX_LINE_BYTES", 1_000)
    path = tmp_path / "a.msgpack"
    path.write_bytes(b"".join(msgpack.packb({"at": n, "x": "x" * n}) for n in (1, 900, 2, 300)))
    events = read(path)
    assert [event.time_us for event in events] == [1, 900, 2, 300]
    for at, event in enumerate(events, 1):
        assert read(path, event.offset) == events[at:]
    path.write_bytes(msgpack.packb({"at": 1, "x": "x" * 2_000}))
    with pytest.raises(Corrupt, match="behind byte 0"):
        read(path)


def test_a_job_takes_any_of_them(written):
    graph = Graph.open("memory:", [NodeType("person", properties={"n": int})])
    people = Job("people", lambda event: [Node("person", event.value["who"], {"n": event.value["n"]})])
    source = file_source(written(RECORDS), time_field="at")
    assert graph.ingest(people, source).events == 50
    assert graph.start("person").count() == 50
    assert graph.ingest(people, source).events == 0
