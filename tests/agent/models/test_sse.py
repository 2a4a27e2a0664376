"""Server-sent events: the same events whatever the pieces, held to a parser that sees the whole."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.models.wire import sse
from weft.agent.models.wire.sse import EventParser, ServerEvent
from weft.core.errors import LimitExceeded


def oracle(data: bytes) -> list[ServerEvent]:
    """The standard's algorithm over the whole text, with only the last empty line forgiven."""
    lines = re.split("\r\n|\r|\n", data.decode("utf-8", "replace").removeprefix("\ufeff"))
    lines[-1] = ""  # a line that does not end does not count
    found, name, values = [], "", []
    for line in lines:
        if line == "":
            if values:
                found.append(ServerEvent(name, "\n".join(values)))
            name, values = "", []
        elif line.startswith("data:"):
            values.append(line[5:].removeprefix(" "))
        elif line == "data":
            values.append("")
        elif line.startswith("event:"):
            name = line[6:].removeprefix(" ")
        elif line == "event":
            name = ""
    return found


def parsed(pieces: list[bytes]) -> list[ServerEvent]:
    parser = EventParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


LINES = st.sampled_from(
    [
        "data: a",
        "data:b",
        "data:  c",
        "data",
        "data: grüße 🧵",
        "event: x",
        "event",
        ": comment",
        ":",
        "id: 7",
        "",
    ]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r"]))).map(
    lambda lines: "".join(line + end for line, end in lines)
)


@given(STREAMS, st.booleans(), st.lists(st.integers(0, 10_000), max_size=20))
def test_events_are_the_same_in_whatever_pieces_they_come(stream: str, mark: bool, places: list[int]) -> None:
    data = (("\ufeff" if mark else "") + stream).encode()
    assert parsed(cut(data, places)) == oracle(data)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=10))
def test_any_bytes_are_taken(data: bytes, places: list[int]) -> None:
    assert parsed(cut(data, places)) == oracle(data)


def test_byte_by_byte_with_a_character_of_four_bytes() -> None:
    data = "event: e\r\ndata: 🧵\r\ndata: two\r\n\r\n".encode()
    assert parsed([bytes([byte]) for byte in data]) == [ServerEvent("e", "🧵\ntwo")]


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_LINE_BYTES", 100)
    parser = EventParser()
    parser.feed(b"data: " + b"x" * 90)
    with pytest.raises(LimitExceeded, match="the limit is 100"):
        parser.feed(b"x" * 10)
