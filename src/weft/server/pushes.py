"""Jobs that a server runs over the events that are pushed to it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, Self

from weft.authz import Authz
from weft.core.errors import Invalid, NotFound
from weft.core.ids import IdSource
from weft.core.telemetry import logger
from weft.graph import Graph, Job
from weft.graph.ingest.sources import PushSource
from weft.integrations.relations import AuthzRelations

_AGAIN_S: Final = 1.0
"""After a failure, such as a full disk: soon enough, and without filling the log."""


class Pushes:
    """One live source and one thread per job, between `with` and its end.

    `time_field` names the field with an event's time; without it an event happens when it is pushed."""

    def __init__(
        self, graph: Graph, authz: Authz, jobs: Iterable[Job], *, time_field: str | None = None
    ) -> None:
        self._graph = graph
        self._authz = authz
        self._stopped = threading.Event()
        self._sources: dict[str, PushSource] = {}
        ids = IdSource()
        self._threads: list[threading.Thread] = []
        for job in jobs:
            # Each start is a stream of its own, so that two servers over one graph never share offsets.
            source = PushSource(f"push:{ids.new()}", time_field=time_field)
            self._sources[job.name] = source
            self._threads.append(
                threading.Thread(target=self._run, args=(job, source), name=f"push-{job.name}")
            )

    def push(self, job: str, body: bytes) -> int:
        """Hand over the body of a request; how many events, once they are durable. `NotFound` for a job that
        the server does not run, otherwise as `PushSource.push_body`."""
        source = self._sources.get(job)
        if source is None:
            known = ", ".join(f"`{name}`" for name in self._sources) or "none"
            raise NotFound(f"the server runs no job `{job}`", hint=f"it was started with {known}; see --jobs")
        return source.push_body(body)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        for source in self._sources.values():
            source.stop()
        for thread in self._threads:
            thread.join()

    def _run(self, job: Job, source: PushSource) -> None:
        """Run the job until the source is stopped; what a failure loses is refused, and pushed again."""
        while not self._stopped.is_set():
            try:
                self._graph.ingest(job, source, relations=self._relations())
            except Exception as error:
                logger("server").error("a job failed", job=job.name, error=str(error))
                self._stopped.wait(_AGAIN_S)

    def _relations(self) -> AuthzRelations | None:
        """Who takes relation tuples; nobody, until there is a schema."""
        try:
            return AuthzRelations(self._authz)
        except Invalid:
            return None
