"""Tables of columns: a record batch per page, and a Parquet file per node and edge type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from weft.core.errors import Invalid
from weft.core.extras import require
from weft.graph.export.columns import Column, Things, columns
from weft.graph.export.files import whole_folder
from weft.graph.export.portion import Exported, Portion, Progress
from weft.graph.graph import Graph
from weft.graph.traverse.traversal import Traversal
from weft.graph.types import EdgeType, NodeType

_EXTRA: Final = "parquet"
# A row group of this many pages compresses well, and is at most some tens of megabytes in memory.
_PAGES_PER_ROW_GROUP: Final = 8


def to_arrow(
    graph: Graph, *, walks: Traversal | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """A `pyarrow.RecordBatchReader` per type, by `node_TYPE` and `edge_TYPE`; the columns are those of
    `columns.columns`, numbers with 64 bits.

    Rows are read as the reader is: memory holds one page. `Invalid` while reading where an integer needs
    more than 64 bits with its sign. Needs the extra `parquet`.
    """
    return _readers(Portion(graph, walks, progress))


def to_parquet(
    graph: Graph,
    folder: str | Path,
    *,
    walks: Traversal | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write `node_TYPE.parquet` and `edge_TYPE.parquet` for every type into a new folder, which appears once
    it is whole. `walks` exports what lies on their paths, instead of everything."""
    parquet = require("pyarrow.parquet", _EXTRA)
    arrow = require("pyarrow", _EXTRA)
    portion = Portion(graph, walks, progress)
    with whole_folder(Path(folder)) as part:
        for name, reader in _readers(portion).items():
            with parquet.ParquetWriter(part / f"{name}.parquet", reader.schema, compression="zstd") as writer:
                while pages := list(islice(reader, _PAGES_PER_ROW_GROUP)):
                    writer.write_table(arrow.Table.from_batches(pages))
    return portion.exported()


def _readers(portion: Portion) -> dict[str, Any]:
    nodes = {
        f"node_{name}": _reader(kind, portion.nodes(name)) for name, kind in portion.schema.nodes.items()
    }
    edges = {
        f"edge_{name}": _reader(kind, portion.edges(name)) for name, kind in portion.schema.edges.items()
    }
    return nodes | edges


def _reader(kind: NodeType | EdgeType, pages: Iterable[Things]) -> Any:
    arrow = require("pyarrow", _EXTRA)
    wanted = columns(kind)
    schema = arrow.schema([_field(arrow, column) for column in wanted])

    def batches() -> Iterator[Any]:
        for page in pages:
            arrays = [
                _array(arrow, kind, column, schema.field(at).type, page) for at, column in enumerate(wanted)
            ]
            yield arrow.record_batch(arrays, schema=schema)

    return arrow.RecordBatchReader.from_batches(schema, batches())


def _field(arrow: Any, column: Column) -> Any:
    types = {
        str: arrow.string(),
        int: arrow.int64(),
        float: arrow.float64(),
        bool: arrow.bool_(),
        bytes: arrow.binary(),
    }
    metadata = {"format": "json"} if column.json else None
    return arrow.field(column.name, types[column.kind], metadata=metadata)


def _array(arrow: Any, kind: NodeType | EdgeType, column: Column, type_: Any, page: Things) -> Any:
    try:
        return arrow.array(column.values(page), type_)
    except (OverflowError, arrow.ArrowInvalid) as error:
        raise Invalid(
            f"`{column.name}` of {kind.label} has an integer beyond 64 bits with a sign",
            hint="store it as text",
        ) from error
