"""The NDJSON source: lines, their times, and resuming in a file that grows."""

from __future__ import annotations

import gzip

import pytest

from weft.core.errors import Conflict, Invalid, NotFound, Unavailable
from weft.graph.ingest.sources import NdjsonSource, ndjson
from weft.testing.clock import VirtualClock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.ndjson"


def read(path, after=None):
    return list(NdjsonSource(path, time_field="at").events({0: after} if after else {}))


def test_each_line_is_an_event_with_its_time(path):
    path.write_bytes(
        b'{"at": 5, "x": 1}\n\n  \n'
        b'{"at": "2026-01-02T03:04:05.678901Z"}\r\n{"at": "1970-01-01T01:00:00+01:00"}\n'
    )
    events = read(path)
    assert [event.time_us for event in events] == [5, 1_767_323_045_678_901, 0]
    assert [event.offset.position for event in events] == [1, 4, 5]
    assert events[0].value == {"at": 5, "x": 1}
    assert not any(event.error for event in events)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "no event time in `at`"),
        (b'{"at": null}', "no event time in `at`"),
        (b'{"at": true}', "no event time in `at`"),
        (b'{"at": "yesterday"}', "`at` is not a time: `yesterday`"),
    ],
)
def test_a_line_that_does_not_decode_is_an_event_with_a_reason(path, line, reason):
    path.write_bytes(line + b'\n{"at": 1}\n')
    bad, good = read(path)
    assert reason in bad.error
    assert (good.error, good.time_us) == ("", 1)


def test_resuming_anywhere_gives_the_rest_and_the_file_may_grow(path):
    path.write_bytes(b"".join(b'{"at": %d}\n' % n for n in range(5)))
    events = read(path)
    with path.open("ab") as file:
        file.write(b'{"at": 5}\n')
    everything = read(path)
    for at, event in enumerate(events, 1):
        assert read(path, event.offset) == everything[at:]


def test_a_line_still_being_written_waits_for_the_next_run(path):
    path.write_bytes(b'{"at": 1}\n{"at": ')
    (first,) = read(path)
    with path.open("ab") as file:
        file.write(b"2}\n")
    assert [event.time_us for event in read(path, first.offset)] == [2]


def test_another_file_under_the_same_name_is_noticed(path):
    path.write_bytes(b'{"at": 1}\n{"at": 2}\n')
    last = read(path)[-1]
    path.write_bytes(b'{"at": 1}\n{"at": 3}\n')
    with pytest.raises(Conflict, match="line 2 has changed"):
        read(path, last.offset)
    path.write_bytes(b"")
    with pytest.raises(Conflict, match="not the file that was read before"):
        read(path, last.offset)


def test_an_overlong_line_is_skipped_with_a_reason_and_bounded_memory(path, monkeypatch):
    monkeypatch.setattr(ndjson, "MAX_LINE_BYTES", 20)
    path.write_bytes(b'{"at": 1, "x": "' + b"y" * 100 + b'"}\n{"at": 2}\n')
    long, short = read(path)
    assert "longer than 20 bytes" in long.error
    assert short.time_us == 2
    assert read(path, long.offset) == [short]
    assert read(path, short.offset) == []


def test_what_cannot_be_read_says_so(path, tmp_path):
    with pytest.raises(NotFound, match="there is no file"):
        read(path)
    with pytest.raises(Unavailable, match="cannot be read"):
        read(tmp_path)


class Waiting(VirtualClock):
    """A clock whose sleeps are moments at which something happens to the file."""

    def __init__(self, *happenings):
        super().__init__()
        self._happenings = list(happenings)

    def sleep(self, seconds):
        super().sleep(seconds)
        self._happenings.pop(0)()


def follow(path, *happenings, after=None):
    """Events and pauses of a followed file, until what happens is over."""
    clock = Waiting(*happenings, lambda: source.stop())
    source = NdjsonSource(path, time_field="at", follow=True, clock=clock)
    return [event and event.value["at"] for event in source.events({0: after} if after else {})]


def append(path, data):
    def happen():
        with path.open("ab") as file:
            file.write(data)

    return happen


def test_a_followed_file_gives_what_is_appended_and_pauses_in_between(path):
    path.write_bytes(b'{"at": 1}\n')
    seen = follow(path, append(path, b'{"at": 2}\n{"at'), append(path, b'": 3}\n\n'), lambda: None)
    assert seen == [1, None, 2, None, 3, None, None]


def test_a_followed_file_may_begin_empty_and_be_resumed(path):
    path.write_bytes(b"")
    assert follow(path, append(path, b'{"at": 1}\n{"at": 2}\n')) == [None, 1, 2, None]
    first = read(path)[0]
    assert follow(path, append(path, b'{"at": 3}\n'), after=first.offset) == [2, None, 3, None]


def test_what_is_appended_while_it_stops_is_left_for_the_next_run(path):
    path.write_bytes(b'{"at": 1}\n')
    source = NdjsonSource(path, time_field="at", follow=True, clock=Waiting())
    events = source.events({})
    assert next(events).time_us == 1
    source.stop()
    assert list(events) == []


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (lambda path: path.write_bytes(b""), "line 2 has changed"),
        (lambda path: path.write_bytes(b'{"at": 7}\n' * 9), "line 2 has changed"),
        (lambda path: path.rename(path.with_suffix(".1")), "moved away or replaced"),
        (lambda path: (path.rename(path.with_suffix(".1")), path.write_bytes(b"")), "moved away or replaced"),
    ],
)
def test_a_followed_file_that_is_rotated_or_truncated_is_a_conflict(path, happens, says):
    path.write_bytes(b'{"at": 1}\n{"at": 2}\n')
    with pytest.raises(Conflict, match=says):
        follow(path, lambda: happens(path))


def test_what_a_rotated_file_still_got_is_read_before_the_conflict(path):
    path.write_bytes(b'{"at": 1}\n')

    def rotate():
        append(path, b'{"at": 2}\n')()
        path.rename(path.with_suffix(".1"))

    late = append(path.with_suffix(".1"), b'{"at": 3}\n')
    source = NdjsonSource(path, time_field="at", follow=True, clock=Waiting(rotate, late, lambda: None))
    events, seen = source.events({}), []
    with pytest.raises(Conflict, match="moved away"):
        seen.extend(event.time_us for event in events if event)
    assert seen == [1, 2, 3]


def test_a_compressed_file_cannot_be_followed(tmp_path):
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b"{}\n"))
    with pytest.raises(Invalid, match="cannot be followed"):
        next(NdjsonSource(path, time_field="at", follow=True).events({}))
