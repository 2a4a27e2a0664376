"""Changes of the schema: what they do, and which stored tuples they would orphan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from weft.authz.conditions import Conditions
from weft.authz.results import SchemaDifference
from weft.authz.schema.diff import OrphanQuery, diff
from weft.authz.schema.model import Schema
from weft.authz.store import Head, SchemaChange, StoredSchema, TupleStore
from weft.authz.tuples import RelationTuple
from weft.core.errors import Invalid, LimitExceeded

_MAX_ORPHANS: Final = 100
_SCANNED_TOGETHER: Final = 1_000


def build_schema_change(
    text: str, language: str, old: Schema, new: Schema, schema_revision: int
) -> SchemaChange:
    """The change from the schema in force, written at `schema_revision`, to a new one."""
    conditions = Conditions(new)
    changed = {
        condition.name
        for condition in old.conditions
        if condition.name in new.conditions_by_name
        and new.condition(condition.name).parameters != condition.parameters
    }

    def suspect(item: RelationTuple) -> bool:
        return not new.allows(item) or (item.condition is not None and item.condition.name in changed)

    def admits(item: RelationTuple) -> bool:
        try:
            if item.condition is not None and new.allows(item):
                conditions.check_stored(item.condition)
        except (Invalid, LimitExceeded):
            return False
        return new.allows(item)

    return SchemaChange(StoredSchema(text, language), suspect, admits, schema_revision)


def difference(store: TupleStore, head: Head, now_us: int, old: Schema, new: Schema) -> SchemaDifference:
    """What changes between two schemas, and the tuples at a head that the new one would orphan."""
    found = diff(old, new)
    orphans: dict[str, None] = {}
    for query in found.orphans:
        for item in _matching(store, head.revision, query):
            if not item.expired(now_us) and len(orphans) < _MAX_ORPHANS:
                orphans.setdefault(str(item))
    return SchemaDifference(tuple(map(str, found.changes)), tuple(orphans))


def _matching(store: TupleStore, revision: int, query: OrphanQuery) -> Iterator[RelationTuple]:
    after = None
    while True:
        page = store.scan(query.filter, revision, limit=_SCANNED_TOGETHER, after=after)
        yield from filter(query.matches, page.items)
        after = page.next
        if after is None:
            return
