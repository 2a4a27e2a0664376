"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from weft.core.errors import Invalid, NotFound
from weft.core.lmdb_files import DATA_FILE
from weft.core.settings import load
from weft.graph import Graph
from weft.graph.ingest.protocols import RelationSink
from weft.graph.types import GraphType

Data = Annotated[
    str | None, typer.Option(metavar="DIR", help="The graph.", show_default="graph in the data folder")
]
Permissions = Annotated[
    str | None,
    typer.Option(
        "--authz",
        metavar="DIR_OR_URL",
        help="Takes the relation tuples that jobs emit.",
        show_default="authz in the data folder, if it has a schema",
    ),
]
JobsFile = Annotated[Path, typer.Argument(metavar="JOBS.py", help="Defines jobs.", show_default=False)]
JobName = Annotated[
    str | None, typer.Option("--job", metavar="NAME", help="Which of its jobs.", show_default="the only one")
]
TimeField = Annotated[
    str | None, typer.Option("--time", metavar="FIELD", help="The field with an event's time, in files.")
]


def open_graph(data: str | None, types: Iterable[GraphType] = (), *, create: bool = False) -> Graph:
    """The graph that `--data` names, else `graph` in the data folder of the settings.

    Without `create` a folder that holds none is `NotFound`, so that no typo makes an empty graph.
    """
    place = data if data is not None else str(load().data / "graph")
    if not create and not (Path(place) / DATA_FILE).is_file():
        raise NotFound(
            f"there is no graph in `{place}`",
            hint="name one with --data, or begin one with `weft graph init TYPES.toml`",
        )
    return Graph.open(place, types)


@contextmanager
def open_relations(authz: str | None) -> Iterator[RelationSink | None]:
    """Who takes relation tuples: the store that `--authz` names, or the data folder's if it has a schema."""
    location = authz if authz is not None else str(load().data / "authz")
    if authz is None and not Path(location).is_dir():
        yield None
        return
    from weft.authz import Authz
    from weft.integrations.relations import AuthzRelations

    with Authz.open(location) as opened:
        try:
            relations = AuthzRelations(opened)
        except Invalid:
            if authz is not None:
                raise
            relations = None
        yield relations
