"""Answers line by line: newline-delimited JSON, for whoever accepts it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from weft.server.wire import answer, encoded

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


def _chunks(items: Iterable[Any], end: dict[str, Any]) -> Iterator[bytes]:
    chunk = []
    for item in items:
        chunk.append(encoded({"item": item}))
        if len(chunk) == _LINES_PER_CHUNK:
            yield b"\n".join(chunk) + b"\n"
            chunk = []
    yield b"\n".join([*chunk, encoded(end)]) + b"\n"
