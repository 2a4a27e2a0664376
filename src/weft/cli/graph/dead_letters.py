"""`weft graph dead-letters`: what a job could not take, and another try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from weft.cli.graph.ingest import report_fields
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
from weft.cli.graph.output import when
from weft.cli.output import Json, emit, print_table, say
from weft.core.errors import Invalid
from weft.graph.ingest.model import DeadLetter, Event
from weft.graph.ingest.sources.event_time import event_at

app = typer.Typer(no_args_is_help=True, add_completion=False)

Job = Annotated[str, typer.Argument(metavar="JOB", help="A job's name.", show_default=False)]


@app.callback()
def _dead_letters() -> None:
    """Events that a job could not take: they wait beside the graph until they are replayed."""


@app.command("list")
def list_(job: Job, data: Data = None, json: Json = False) -> None:
    """List a job's dead letters, in the order of their streams.

    Example: weft graph dead-letters list plays
    """
    with open_graph(data) as graph:
        if json:
            for letter in graph.dead_letters(job):
                emit(True, _fields(letter), "")
            return
        rows = [
            (one.stream, f"{one.partition}:{one.offset.position}", str(one.attempts), one.reason)
            for one in graph.dead_letters(job)
        ]
    print_table(("stream", "place", "tries", "reason"), rows)


@app.command("show")
def show(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="As listed.", show_default=False)],
    place: Annotated[str, typer.Argument(metavar="PLACE", help="As listed, like 0:17.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Show a dead letter with its value.

    Example: weft graph dead-letters show plays/ndjson:/logs/plays.ndjson 0:17
    """
    partition, _, position = place.rpartition(":")
    if not (position.isdecimal() and (partition or "0").isdecimal()):
        raise Invalid(f"`{place}` is no place", hint="write PARTITION:POSITION, as listed")
    with open_graph(data) as graph:
        letter = graph.dead_letter(stream, int(position), int(partition or 0))
    if json:
        emit(True, _fields(letter), "")
        return
    say(f"{letter.stream} at {letter.partition}:{letter.offset.position}, {when(letter.time_us)}")
    say(letter.reason)
    say(letter.value)


@app.command("replay")
def replay(
    jobs: JobsFile,
    job: JobName = None,
    time: TimeField = None,
    data: Data = None,
    authz: Permissions = None,
    json: Json = False,
) -> None:
    """Pass a job's dead letters through the job as it is now; what passes disappears from the list.

    With --time also those that had no time, as under another name of the field. Exits with 1 where some are
    left.

    Example: weft graph dead-letters replay jobs.py
    """
    chosen = load_job(jobs, job)
    with open_graph(data) as graph, open_relations(authz) as relations:
        mend = None if time is None else _timed(time)
        report = graph.replay_dead_letters(chosen, mend=mend, relations=relations)
    passed = report.events - report.dead_letters
    emit(json, report_fields(report), f"{passed:,} passed, {report.dead_letters:,} are left")
    raise typer.Exit(1 if report.dead_letters else 0)


def _timed(field: str) -> Callable[[Event], Event]:
    def mend(event: Event) -> Event:
        return (
            event_at(event.offset, event.value, field)
            if event.error and isinstance(event.value, dict)
            else event
        )

    return mend


def _fields(letter: DeadLetter) -> dict[str, object]:
    return {
        "stream": letter.stream,
        "partition": letter.partition,
        "position": letter.offset.position,
        "time_us": letter.time_us,
        "reason": letter.reason,
        "value": letter.value,
        "attempts": letter.attempts,
    }
