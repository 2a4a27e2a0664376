"""The source for a file, by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from weft.core.errors import Invalid
from weft.graph.ingest.protocols import Source
from weft.graph.ingest.sources.avro import AvroSource
from weft.graph.ingest.sources.ndjson import NdjsonSource
from weft.graph.ingest.sources.packed import MsgpackSource
from weft.graph.ingest.sources.parquet import ParquetSource

_COMPRESSED: Final = (".gz", ".zst", ".bz2", ".xz")
_SOURCES: Final[dict[str, Callable[..., Source]]] = {
    ".ndjson": NdjsonSource,
    ".jsonl": NdjsonSource,
    ".json": NdjsonSource,
    ".msgpack": MsgpackSource,
    ".avro": AvroSource,
    ".parquet": ParquetSource,
}


def file_source(path: str | Path, *, time_field: str, name: str | None = None) -> Source:
    """The source that reads a file as its name says: `plays.ndjson`, `plays.avro`, `plays.json.gz`."""
    suffixes = Path(path).suffixes
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    source = _SOURCES.get(suffixes[-1] if suffixes else "")
    if source is None:
        raise Invalid(
            f"`{path}` does not say what it holds", hint=f"name it with one of {', '.join(_SOURCES)}"
        )
    return source(path, time_field=time_field, name=name)
