"""Act 1: a repository's history and code become a graph, which then answers three questions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from weft.cli.demo.screen import Screen
from weft.cli.demo.stores import Stores
from weft.graph import Graph, Group
from weft.graph.ingest.report import IngestReport
from weft.graph.ingest.sources.git import GitSource
from weft.graph.traverse.where import Where
from weft.integrations.relations import AuthzRelations
from weft.integrations.repository.code import CodeSource, code
from weft.integrations.repository.history import history

TOP = 5


class Act(msgspec.Struct, frozen=True):
    """What was read in this run, what the graph holds now, and which files most commits changed."""

    history: IngestReport
    code: IngestReport
    commits: int
    symbols: int
    busiest: list[tuple[str, int]]


def play(screen: Screen, stores: Stores, repository: Path) -> Act:
    """Ingest what is new since the last run, then walk."""
    graph = stores.graph
    before = graph.start("commit").count()
    with screen.progress("history, one event per commit ") as show:
        commits = graph.ingest(
            history,
            GitSource(repository),
            relations=AuthzRelations(stores.authz),
            progress=lambda now: show(now.events, now.events + (now.lag or 0)),
        )
    with screen.progress("code, parsed at HEAD            ") as show:
        files = graph.ingest(
            code,
            CodeSource(repository, on_parsed=show),
        )
    if before:
        screen.say(f"{before:,} commits were there from an earlier run; this one went on behind them.")
    for what, report in (("commits", commits), ("files", files)):
        if report.events:
            screen.say(
                f"{report.events:,} {what} at {report.rate_per_s:,.0f} events/s: {report.updates:,} updates, "
                f"{report.write_reduction:.0%} of them merged before writing; {report.relations:,} relation "
                f"tuples; {report.dead_letters:,} dead letters"
            )
    busiest = [(group.key.id, group.count) for group in _ranked(graph, "changed", {"exists": True})]
    if busiest:
        _answer(screen, graph, busiest[0][0])
    return Act(commits, files, graph.start("commit").count(), graph.start("symbol").count(), busiest)


def _answer(screen: Screen, graph: Graph, file: str) -> None:
    """Three traversals, each a few hops."""
    commits = graph.start("file", file).in_("changed")
    people = commits.in_("authored").count_by(top=TOP)
    screen.table(f"who changes {file}", ("person", "commits"), _rows(people))
    together = [group for group in commits.out("changed").count_by(top=TOP + 1) if group.key.id != file]
    screen.table(f"what changes together with {file}", ("file", "commits"), _rows(together[:TOP]))
    called = _ranked(graph, "calls")
    if called:
        symbol = called[0].key.id
        behind = graph.start("symbol", symbol).in_("calls").in_("calls").count()
        screen.table(
            f"what calls what, matched by name; behind the callers of {symbol} stand {behind:,} more",
            ("symbol", "callers"),
            _rows(called),
        )


def _ranked(graph: Graph, edge: str, where: Where | None = None) -> list[Group]:
    """The nodes that most edges of a type lead to."""
    reached = graph.start(graph.schema.edge(edge).source).out(edge)
    return list((reached.where(where) if where else reached).count_by(top=TOP))


def _rows(groups: Iterable[Group]) -> list[tuple[str, int]]:
    return [(group.key.id, group.count) for group in groups]
