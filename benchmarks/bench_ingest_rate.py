"""How fast does a git history become a graph and permissions?"""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path

from _report import Report, elapsed_s, medians_s, scale_from_arguments

from weft.authz import Authz
from weft.graph import Graph
from weft.graph.ingest.report import IngestReport
from weft.graph.ingest.sources import GitSource
from weft.graph.ingest.sources.git_log import LOG_ARGUMENTS
from weft.integrations.relations import AuthzRelations
from weft.integrations.repository.history import history
from weft.integrations.repository.rights import SCHEMA
from weft.integrations.repository.types import TYPES
from weft.testing.git import Repository

COMMITS = 10_000


def log_s(repository: Path) -> float:
    """What git itself takes to print what the source reads."""
    command = ["git", "-C", str(repository), "log", "--reverse", "--date-order", *LOG_ARGUMENTS]
    return elapsed_s(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))


def source_s(repository: Path, commits: int) -> float:
    def work() -> None:
        assert sum(1 for _ in GitSource(repository).events({})) == commits

    return elapsed_s(work)


def ingest(repository: Path) -> IngestReport:
    with (
        tempfile.TemporaryDirectory() as folder,
        Graph.open(f"{folder}/graph", TYPES) as graph,
        Authz.open(f"{folder}/authz") as authz,
    ):
        authz.write_schema(SCHEMA)
        report = graph.ingest(history, GitSource(repository), relations=AuthzRelations(authz))
        assert not report.dead_letters
        return report


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    commits = 1 + max(10, int(COMMITS * scale))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repository"
        repository = Repository(path)
        repository.commit({"README": "made for a benchmark\n"})
        repository.many_commits(commits - 1)
        done = ingest(path)
        floor, source, job = medians_s(
            partial(log_s, path),
            partial(source_s, path, commits),
            lambda: ingest(path).duration_s,
        )
    report.add("git log", commits / floor, "events/s")
    report.add("git source alone", commits / source, "events/s", floor="git log")
    report.add("history job, durable", commits / job, "events/s", floor="git source alone")
    report.add("its updates of the graph", done.updates / job, "updates/s")
    report.add("its writes to weft.authz", done.relations / job, "tuples/s")
    report.print()


if __name__ == "__main__":
    main()
