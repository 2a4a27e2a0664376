"""Permissions follow events: the relation tuples that jobs emit go to weft.authz."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from weft.authz import Authz
from weft.authz.schema import Language, parse_schema
from weft.authz.tuples import parse_tuple
from weft.core.errors import Invalid
from weft.core.limits import MAX_WRITES_PER_REQUEST
from weft.graph.ingest.model import RelationWrite


class AuthzRelations:
    """Fills `graph.ingest.protocols.RelationSink`. Touching and deleting are idempotent, so a batch that is
    written again after a crash changes nothing."""

    def __init__(self, authz: Authz) -> None:
        self._authz = authz
        version = authz.read_schema()
        self._schema = parse_schema(version.text, cast(Language, version.language))

    def check(self, write: RelationWrite) -> None:
        """Raise `Invalid` for a text that is no relation tuple, or none that the schema allows."""
        fact = parse_tuple(write.text)
        if not self._schema.allows(fact):
            raise Invalid(
                f"the schema does not allow `{write.text}`", hint="extend the schema, or mend the job"
            )

    def write(self, writes: Sequence[RelationWrite]) -> None:
        """Touch and delete, in requests of the size that weft.authz takes."""
        for start in range(0, len(writes), MAX_WRITES_PER_REQUEST):
            part = writes[start : start + MAX_WRITES_PER_REQUEST]
            self._authz.write(
                touch=[write.text for write in part if not write.delete],
                delete=[write.text for write in part if write.delete],
            )
