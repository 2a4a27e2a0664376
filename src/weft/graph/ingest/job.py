"""A job: one input stream in, nodes, edges and relation tuples out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, overload

from weft.core.errors import Invalid
from weft.graph.ingest.dedup import Dedup
from weft.graph.ingest.model import Event, RelationWrite
from weft.graph.model import Edge, Node, Remove

Output = Node | Edge | Remove | RelationWrite
Transform = Callable[[Event], Iterable[Output] | None]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_NO_WINDOW: Final = Dedup()


@dataclass(frozen=True, slots=True)
class Job:
    """What happens to each event, in this order; the steps are pure, so that a run can be repeated.

    `filter` says whether the job wants it; `project` returns the part of its value that matters; `enrich`
    returns the value with facts from elsewhere; `transform` returns the outputs. Outputs without an event
    time take the event's. `dedup` says how updates to one node or edge merge before they are written.
    """

    name: str
    transform: Transform
    filter: Callable[[Event], bool] | None = None
    project: Callable[[Event], Any] | None = None
    enrich: Callable[[Event], Any] | None = None
    dedup: Dedup = _NO_WINDOW

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise Invalid(
                f"`{self.name}` cannot be the name of a job",
                hint="use at most 64 letters, digits, `_`, `.` and `-`, with a letter first",
            )
        for step in ("transform", "filter", "project", "enrich"):
            value = getattr(self, step)
            if not callable(value) and (value is not None or step == "transform"):
                raise Invalid(f"`{step}` of the job `{self.name}` is not a function")
        if not isinstance(self.dedup, Dedup):
            raise Invalid(f"`dedup` of the job `{self.name}` is not a Dedup(...)")


@overload
def job(definition: Transform | type) -> Job: ...
@overload
def job(definition: str) -> Callable[[Transform | type], Job]: ...
def job(definition: Transform | type | str) -> Job | Callable[[Transform | type], Job]:
    """Make a job of a transform function, or of a class with the steps of `Job` as methods and attributes.

    `@job` names it after the function or class, `@job("plays")` as said. The name keys the job's offsets.
    """
    if isinstance(definition, str):
        return lambda defined: _define(definition, defined)
    return _define(getattr(definition, "__name__", ""), definition)


def _define(name: str, definition: Transform | type) -> Job:
    if not isinstance(definition, type):
        return Job(name, definition)
    steps = definition()
    return Job(
        name,
        getattr(steps, "transform", None),  # type: ignore[arg-type]
        getattr(steps, "filter", None),
        getattr(steps, "project", None),
        getattr(steps, "enrich", None),
        getattr(steps, "dedup", _NO_WINDOW),
    )
