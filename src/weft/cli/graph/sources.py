"""Sources by name: `git:PATH`, files by pattern, and `-` for lines of JSON on standard input."""

from __future__ import annotations

import glob
import threading
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from weft.cli.inputs import STDIN, open_binary, read_lines
from weft.core.errors import Invalid, NotFound
from weft.core.ids import IdSource
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.protocols import Source
from weft.graph.ingest.sources import Decoded, GitSource, IterSource, file_source

_GIT: Final = "git:"
_STDIN: Final = "-"


def sources(names: list[str], time_field: str | None) -> list[Source]:
    """The sources that the names stand for, files in the order of their names."""
    return [source for name in names for source in _sources(name, time_field)]


def _sources(name: str, time_field: str | None) -> Iterator[Source]:
    if name == _STDIN:
        yield _standard_input(time_field)
        return
    if name.startswith(_GIT):
        yield GitSource(name.removeprefix(_GIT))
        return
    files = sorted(glob.glob(name, recursive=True))
    if not files:
        raise NotFound(
            f"there is no file `{name}`", hint="name a file, a pattern, git:PATH, or - for standard input"
        )
    if time_field is None:
        raise Invalid(
            f"nothing says when the events of `{name}` happened", hint="name their field with --time"
        )
    for file in files:
        yield file_source(file, time_field=time_field)


def _standard_input(time_field: str | None) -> Source:
    """Its stream is a new one each time: nothing says that the same text is piped again."""
    name = f"stdin:{IdSource().new()}"
    return Decoded(IterSource(name, _lines()), msgspec.json.decode, time_field=time_field)


def _lines() -> Iterator[str]:
    with open_binary(STDIN) as opened:
        yield from (line for line in read_lines(STDIN, opened) if line and not line.isspace())


class Followed:
    """A source that grows: read again for what is new every `every_s` seconds, until `stop` is set."""

    def __init__(self, source: Source, stop: threading.Event, every_s: float) -> None:
        self.name = source.name
        self._source = source
        self._stop = stop
        self._every_s = every_s

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        last = dict(after)
        while not self._stop.is_set():
            for event in self._source.events(last):
                if event is not None:
                    last[event.partition] = event.offset
                yield event
                if self._stop.is_set():
                    return
            yield None
            self._stop.wait(self._every_s)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return self._source.pending(after)
