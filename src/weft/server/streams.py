"""Answers line by line: newline-delimited JSON, for whoever accepts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from threading import Event
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from weft.core.errors import WeftError
from weft.server.wire import answer, encoded, texts_of

NDJSON: Final = "application/x-ndjson"
_LINES_PER_CHUNK: Final = 500


def wants_lines(accept: str) -> bool:
    """Whether an `Accept` header asks for lines."""
    return NDJSON in (one.partition(";")[0].strip().lower() for one in accept.split(","))


def answer_items(items: Iterable[Any], end: dict[str, Any], *, lines: bool) -> Response:
    """`{"items": …}` with the fields of `end`; or a line `{"item": …}` each, and `end` as the last."""
    if not lines:
        return answer({"items": list(items), **end})
    return StreamingResponse(_chunks(items, end), media_type=NDJSON)


class Lines(StreamingResponse):
    """A line of JSON for each thing that there is to tell."""

    media_type = NDJSON


def answer_events(poll: Callable[[], Iterable[Any]], pause_s: float, stopping: Event) -> Response:
    """What `poll` tells until `stopping`, after a pause where that was nothing; at last what went wrong."""
    return Lines(_told(poll, pause_s, stopping))


async def _told(poll: Callable[[], Iterable[Any]], pause_s: float, stopping: Event) -> AsyncIterator[bytes]:
    try:
        while not stopping.is_set():
            if lines := await run_in_threadpool(_lines, poll):
                yield lines
            else:
                await asyncio.sleep(pause_s)
    except WeftError as error:
        yield encoded(texts_of(error)) + b"\n"


def _lines(poll: Callable[[], Iterable[Any]]) -> bytes:
    return b"".join(encoded(event) + b"\n" for event in poll())


def _chunks(items: Iterable[Any], end: dict[str, Any]) -> Iterator[bytes]:
    chunk = []
    for item in items:
        chunk.append(encoded({"item": item}))
        if len(chunk) == _LINES_PER_CHUNK:
            yield b"\n".join(chunk) + b"\n"
            chunk = []
    yield b"\n".join([*chunk, encoded(end)]) + b"\n"
