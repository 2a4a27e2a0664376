"""The front door: every question about permissions, and every change to them."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Self

from weft.authz.questions import Questions
from weft.authz.results import Decision, SchemaDifference, SchemaVersion, WatchEvent
from weft.authz.schema import Language, parse_schema
from weft.authz.schema.model import Schema
from weft.authz.schema_change import build_schema_change, difference
from weft.authz.serving.settings import Serving
from weft.authz.store import RETENTION_S, SchemaMoved, TupleStore
from weft.authz.transfer import Imported, import_lines
from weft.authz.tuples import ObjectRef, TupleFilter, User, parse_tuple
from weft.authz.watch import HEARTBEAT_S, watch
from weft.authz.writes import TupleText, build_write, listed
from weft.authz.zookie import LATEST, Consistency, Zookie
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.limits import MAX_DEPTH, MAX_WRITES_PER_REQUEST
from weft.core.telemetry import SILENT, Recorder

_RACES: Final = 10
"""How often a write is worked out again because the schema changed under it."""
_COLLECT_EVERY_S: Final = 600.0


class Authz(Questions):
    """Permissions over one tuple store.

    Every call takes texts (`doc:1`, `user:ann`, `group:eng#member`) or their parsed forms, and raises kinds
    of `weft.core.errors`: `Invalid` and `NotFound` for what the caller can mend, `LimitExceeded`, `Conflict`.
    Questions take `at`: None (a recent revision, quantized to `window_s`), a zookie (at least as fresh),
    `EXACT(zookie)` or `LATEST`; and all answers of one call come from one snapshot.

    `max_depth` bounds the tuples on a path from the object to the user; deeper is `LimitExceeded`. `serving`
    says which layers stand before the store; answers do not depend on it.
    """

    def __init__(
        self,
        store: TupleStore,
        *,
        clock: Clock = SYSTEM_CLOCK,
        window_s: float = 0.0,
        max_depth: int = MAX_DEPTH,
        max_writes: int = MAX_WRITES_PER_REQUEST,
        serving: Serving = Serving(),  # noqa: B008
        telemetry: Recorder = SILENT,
    ) -> None:
        super().__init__(
            store,
            clock=clock,
            window_s=window_s,
            max_depth=max_depth,
            serving=serving,
            telemetry=telemetry,
        )
        self._max_writes = max_writes
        self._collected_s = -math.inf

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str],
        *,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        retention_s: float = RETENTION_S,
        window_s: float = 0.0,
        max_depth: int = MAX_DEPTH,
        max_writes: int = MAX_WRITES_PER_REQUEST,
        serving: Serving = Serving(),  # noqa: B008
        telemetry: Recorder = SILENT,
    ) -> Self:
        """Open `memory:` or a directory, which is created when missing.

        History is kept for `retention_s`, and `serving` switches layers off that answer faster; the other
        options are those of the class.
        """
        from weft.authz.stores import open_store

        store = open_store(url, clock=clock, rng=rng, retention_s=retention_s)
        return cls(
            store,
            clock=clock,
            window_s=window_s,
            max_depth=max_depth,
            max_writes=max_writes,
            serving=serving,
            telemetry=telemetry,
        )

    @property
    def waits(self) -> bool:
        """Whether calls may wait for a disk or a network."""
        return self._store.waits

    def close(self) -> None:
        """Release the store; later calls raise `Invalid`."""
        if self._leopard is not None:
            self._leopard.close()
        if self._mirror is not None:
            self._mirror.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # schema

    def write_schema(self, text: str, language: Language = "zed") -> Zookie:
        """Put a schema in force.

        `SchemaError` with line, column and hint where the text is wrong; `OrphanedTuples` with the stored
        tuples that it would no longer admit.
        """
        new = parse_schema(text, language)
        for _ in range(_RACES):
            before = self._store.head().schema_revision
            old = self._plan_of(before).schema if before else Schema()
            try:
                return self._moments.zookie(
                    self._store.write_schema(build_schema_change(text, language, old, new, before))
                )
            except SchemaMoved as error:
                moved = error
        raise moved

    def read_schema(self, at: Consistency = None) -> SchemaVersion:
        """The schema in force, as it was written."""
        head = self._moments.head(at)
        stored = self._store.read_schema(self._plan(head).revision)
        return SchemaVersion(stored.text, stored.language, self._moments.zookie(head))

    def diff_schema(self, text: str, language: Language = "zed") -> SchemaDifference:
        """What writing the schema would change, and up to 100 stored tuples that it would orphan."""
        head = self._store.head()
        old = self._plan_of(head.schema_revision).schema if head.schema_revision else Schema()
        return difference(self._store, head, self._clock.now_us(), old, parse_schema(text, language))

    # writes

    def write(
        self,
        *,
        create: Iterable[TupleText] = (),
        touch: Iterable[TupleText] = (),
        delete: Iterable[TupleText] = (),
        must_exist: Iterable[TupleText | TupleFilter] = (),
        must_not_exist: Iterable[TupleText | TupleFilter] = (),
        idempotency_key: str | None = None,
    ) -> Zookie:
        """Change tuples, all or nothing; durable on return. The zookie names the moment from which they hold.

        `create` refuses tuples that exist (`TupleExists`), `touch` writes them whether or not they do,
        `delete` takes missing ones. `must_exist` and `must_not_exist` are checked in the same instant
        (`PreconditionFailed`). A write repeated under its idempotency key does nothing and returns the zookie
        of the first time.
        """
        created, touched, deleted = listed("create", create), listed("touch", touch), listed("delete", delete)
        present, absent = listed("must_exist", must_exist), listed("must_not_exist", must_not_exist)
        for _ in range(_RACES):
            plan = self._plan(self._store.head())
            write = build_write(
                plan,
                create=created,
                touch=touched,
                delete=deleted,
                must_exist=present,
                must_not_exist=absent,
                idempotency_key=idempotency_key,
                limit=self._max_writes,
            )
            try:
                head = self._store.write(write)
                self._collect_sometimes()
                return self._moments.zookie(head)
            except SchemaMoved as error:
                moved = error
        raise moved

    def content_change_check(
        self,
        object: str | ObjectRef,  # noqa: A002
        relation: str,
        user: str | User,
        *,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> Decision:
        """Check at the newest revision, for content that is about to be saved.

        Store the decision's zookie with the content, and send it with later checks of that content: then no
        check applies an access list that is older than the content (Zanzibar, section 2.4.4).
        """
        return self.check(
            object, relation, user, at=LATEST, context=context, contextual_tuples=contextual_tuples
        )

    # streams

    def watch(
        self,
        after: Zookie | str | Literal["earliest"] | None = None,
        *,
        namespaces: Iterable[str] = (),
        heartbeat_s: float = HEARTBEAT_S,
    ) -> Iterator[WatchEvent]:
        """Every change after a zookie, in commit order, each once; endless.

        None starts now, `earliest` at the beginning of history. `namespaces` keeps changes of tuples on
        objects of these only. An event without changes is a heartbeat: it comes after `heartbeat_s` without
        an event. To resume, pass the zookie of the last event. `ExpiredZookie` when history is gone by then,
        `NotFound` for a namespace that the schema does not have.
        """
        newest = self._store.head()
        wanted = frozenset(listed("namespaces", namespaces))
        for namespace in wanted:
            self._plan(newest).schema.namespace(namespace)
        if after is None:
            start = newest.revision
        elif after == "earliest":
            start = self._store.oldest()
        else:
            start = self._moments.revision(after, newest)
        return watch(self._store, self._moments, self._clock, start, wanted, heartbeat_s)

    def export_tuples(self, *, at: Consistency = None, after: str | None = None) -> Iterator[str]:
        """All tuples at one moment as text, one a line without its end, in an order that depends on nothing
        but the tuples. `after` resumes behind a line; `at=EXACT(zookie)` does so at the same moment."""
        revision = self._moments.head(at).revision
        return self._store.export(revision, after=None if after is None else parse_tuple(after))

    def import_tuples(self, lines: Iterable[str]) -> Imported:
        """Touch the tuples of many lines, in commits of some thousands; empty lines are skipped.

        Importing again changes nothing, so a broken import is resumed by repeating it. An error names its
        line, and what stands before that line's commit stays written.
        """
        return import_lines(self._store, self._moments, self._plan, lines)

    def collect(self) -> int:
        """Forget history that is older than the retention window; how many rows that removed. Writes do so
        by themselves: the first of a process, and then every ten minutes."""
        self._collected_s = self._clock.monotonic_s()
        return self._store.collect()

    def _collect_sometimes(self) -> None:
        if self._clock.monotonic_s() - self._collected_s > _COLLECT_EVERY_S:
            self.collect()
