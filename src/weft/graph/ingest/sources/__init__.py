"""Where events come from: an iterator, a file of JSON lines, a git repository."""

from weft.graph.ingest.sources.git import GitSource
from weft.graph.ingest.sources.git_log import Change, Commit
from weft.graph.ingest.sources.iterator import IterSource
from weft.graph.ingest.sources.ndjson import NdjsonSource

__all__ = ["Change", "Commit", "GitSource", "IterSource", "NdjsonSource"]
