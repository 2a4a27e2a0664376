"""`weft graph ingest` and `backfill`: a job over sources that end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from weft.cli.graph.jobs import load_job
from weft.cli.graph.options import (
    Data,
    JobName,
    JobsFile,
    Permissions,
    TimeField,
    open_graph,
    open_relations,
)
from weft.cli.graph.sources import sources
from weft.cli.output import Json, emit, note
from weft.cli.progress import Advance, progress
from weft.core.errors import Invalid
from weft.graph.ingest.protocols import Progress
from weft.graph.ingest.report import IngestReport, ProgressReport

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="git:PATH, files, patterns, or -.", show_default=False),
]


def ingest(
    jobs: JobsFile,
    source: Sources,
    job: JobName = None,
    time: TimeField = None,
    data: Data = None,
    authz: Permissions = None,
    json: Json = False,
) -> None:
    """Run a job over sources, each from where its last run stopped, until they end.

    Example: weft graph ingest jobs.py plays.ndjson --time at
    """
    chosen = load_job(jobs, job)
    wanted = sources(source, time)
    reports = []
    with open_graph(data) as graph, open_relations(authz) as relations, _interruptible():
        for one in wanted:
            with progress(chosen.name, None, "events", quiet=json) as advance:
                reports.append(graph.ingest(chosen, one, relations=relations, progress=_told(advance)))
            show_report(reports[-1], json)
    _check_used(reports)


def backfill(
    jobs: JobsFile,
    source: Sources,
    rate: Annotated[float | None, typer.Option(metavar="N", help="At most N events a second.")] = None,
    job: JobName = None,
    time: TimeField = None,
    data: Data = None,
    authz: Permissions = None,
    json: Json = False,
) -> None:
    """Run a job over sources that hold its stream's past, also while the live stream is ingested.

    Example: weft graph backfill jobs.py 'past/*.parquet' --time at --rate 20000
    """
    chosen = load_job(jobs, job)
    wanted = sources(source, time)
    with (
        open_graph(data) as graph,
        open_relations(authz) as relations,
        _interruptible(),
        progress(chosen.name, None, "events", quiet=json) as advance,
    ):
        reports = graph.backfill(
            chosen, wanted, rate_per_s=rate, relations=relations, progress=_told(advance)
        )
    for report in reports:
        show_report(report, json)
    _check_used(reports)


def show_report(report: IngestReport, json: bool) -> None:
    """What a run did."""
    written = ", ".join(f"{count:,} {name}" for name, count in sorted(report.written.items())) or "nothing"
    text = f"{report.stream}: {report.events:,} events, written: {written}"
    if report.filtered:
        text += f"; {report.filtered:,} left out by the job's filter"
    if report.dead_letters:
        job = report.stream.partition("/")[0]
        text += f"; {_letters(report.dead_letters)}, see `weft graph dead-letters list {job}`"
    emit(json, report_fields(report), text)


def _check_used(reports: list[IngestReport]) -> None:
    """Such as where the field of the time is another."""
    for report in reports:
        if report.events and report.dead_letters >= report.events:
            raise Invalid(
                f"none of the {report.events:,} events of `{report.stream}` could be used",
                hint=f"see `weft graph dead-letters list {report.stream.partition('/')[0]}` for the reasons",
            )


def report_fields(report: IngestReport) -> dict[str, Any]:
    """A report for machines; nothing in it depends on the clock but `duration_s`."""
    return {
        "stream": report.stream,
        "events": report.events,
        "filtered": report.filtered,
        "dead_letters": report.dead_letters,
        "updates": report.updates,
        "relations": report.relations,
        "written": report.written,
        "duration_s": report.duration_s,
    }


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note("interrupted; what was read is written, and the same command goes on from there")
        raise


def _told(advance: Advance) -> Progress:
    def told(report: ProgressReport) -> None:
        advance(report.events, report.events, report.lag)

    return told


def _letters(number: int) -> str:
    return "1 dead letter" if number == 1 else f"{number:,} dead letters"
