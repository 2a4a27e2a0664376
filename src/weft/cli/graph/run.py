"""`weft graph run`: jobs over growing sources, each in a thread of its own."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import typer

from weft.cli.graph.ingest import show_report
from weft.cli.graph.jobs import load_jobs
from weft.cli.graph.options import Data, JobsFile, Permissions, TimeField, open_graph, open_relations
from weft.cli.graph.sources import Followed, sources
from weft.cli.output import Json
from weft.cli.progress import progress
from weft.core.errors import Invalid, NotFound
from weft.graph import Graph, Job
from weft.graph.ingest.protocols import Progress, RelationSink, Source
from weft.graph.ingest.report import IngestReport, ProgressReport


def run(
    jobs: JobsFile,
    streams: Annotated[
        list[str], typer.Argument(metavar="JOB=SOURCE...", help="git:PATH, a file or a pattern.")
    ],
    every: Annotated[float, typer.Option(min=0.01, help="Seconds between looks for more.")] = 0.5,
    time: TimeField = None,
    data: Data = None,
    authz: Permissions = None,
    json: Json = False,
) -> None:
    """Run jobs over sources that grow, until interrupted; the next run goes on from there.

    Example: weft graph run jobs.py plays=plays.ndjson commits=git:. --time at
    """
    stop = threading.Event()
    pairs = [(job, Followed(source, stop, every)) for job, source in _pairs(load_jobs(jobs), streams, time)]
    with ExitStack() as stack:
        graph = stack.enter_context(open_graph(data))
        stack.enter_context(graph.sweeper())
        relations = stack.enter_context(open_relations(authz))
        events: dict[str, int] = {}
        with progress("run", None, "events", quiet=json) as advance:

            def told(report: ProgressReport) -> None:
                events[report.stream] = report.events
                advance(0, sum(events.values()))

            threads = [_Running(graph, job, source, relations, told, stop) for job, source in pairs]
            try:
                _finish(threads, stop)
            finally:
                for thread in threads:
                    if thread.report is not None:
                        show_report(thread.report, json)
                for thread in threads:
                    if thread.failure is not None:
                        raise thread.failure


class _Running(threading.Thread):
    """One job on its way; when it fails, all stop."""

    def __init__(
        self,
        graph: Graph,
        job: Job,
        source: Source,
        relations: RelationSink | None,
        told: Progress,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=job.name)
        self.report: IngestReport | None = None
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self._ingest = partial(graph.ingest, job, source, relations=relations, progress=told)
        self._stop_all = stop

    def run(self) -> None:
        try:
            self.report = self._ingest()
        except BaseException as error:
            self.failure = error
            self._stop_all.set()
        finally:
            self.ended.set()


def _finish(threads: list[_Running], stop: threading.Event) -> None:
    """Run all until the last has ended; when interrupted, all end at a checkpoint."""
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.ended.wait()
    finally:
        stop.set()
        # A `join` that is interrupted takes its thread for ended (Python 3.11); a wait does not.
        for thread in threads:
            thread.ended.wait()


def _pairs(jobs: dict[str, Job], streams: list[str], time: str | None) -> list[tuple[Job, Source]]:
    pairs = []
    for stream in streams:
        name, equals, source = stream.partition("=")
        if not equals:
            raise Invalid(f"`{stream}` does not say which job reads what", hint="write JOB=SOURCE")
        if name not in jobs:
            known = ", ".join(f"`{one}`" for one in jobs)
            raise NotFound(f"there is no job `{name}`", hint=f"the file has {known}")
        if source == "-":
            raise Invalid("standard input cannot be read again", hint="pipe it to `weft graph ingest`")
        pairs += [(jobs[name], one) for one in sources([source], time)]
    return pairs
