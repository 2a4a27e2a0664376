"""Where events come from: files, also growing ones, a git repository, an iterator, pushes; and decoding."""

from weft.graph.ingest.sources.avro import AvroSource
from weft.graph.ingest.sources.decoded import Decoded
from weft.graph.ingest.sources.files import file_source
from weft.graph.ingest.sources.git import GitSource
from weft.graph.ingest.sources.git_log import Change, Commit
from weft.graph.ingest.sources.iterator import IterSource
from weft.graph.ingest.sources.ndjson import NdjsonSource
from weft.graph.ingest.sources.packed import MsgpackSource
from weft.graph.ingest.sources.parquet import ParquetSource
from weft.graph.ingest.sources.push import PushSource

__all__ = [
    "AvroSource",
    "Change",
    "Commit",
    "Decoded",
    "GitSource",
    "IterSource",
    "MsgpackSource",
    "NdjsonSource",
    "ParquetSource",
    "PushSource",
    "file_source",
]
