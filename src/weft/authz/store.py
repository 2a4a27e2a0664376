"""The seam between weft.authz and storage engines: a versioned set of relation tuples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol, Self

import msgspec

from weft.authz.tuples import ObjectRef, RelationTuple, TupleFilter, User
from weft.core.errors import Conflict, Invalid

_INDEXED_ID_BYTES: Final = 400
"""LMDB's keys end at 511 bytes."""
RETENTION_S: Final = 24 * 3_600.0
"""How long history is kept, unless the store is opened with another window."""


class Head(NamedTuple):
    """The newest revision, the wall time of its commit, and the revision that its schema was written at."""

    revision: int
    wall_us: int
    schema_revision: int
    """0 when no schema has been written."""


class StoredSchema(msgspec.Struct, frozen=True):
    """A schema as it was written."""

    text: str
    language: str


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """Which of these users are in `object#relation`, by tuples of their own."""

    object: ObjectRef
    relation: str
    users: tuple[User, ...]


class Users(msgspec.Struct, frozen=True, gc=False):
    """All tuples of `object#relation`; with `usersets`, only those whose user is a userset."""

    object: ObjectRef
    relation: str
    usersets: bool = False


class Objects(msgspec.Struct, frozen=True, gc=False):
    """All tuples that name the user, in this relation of objects of this namespace."""

    user: User
    namespace: str
    relation: str


Read = Lookup | Users | Objects
Rows = list[RelationTuple]


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic change of the tuple set.

    A tuple may stand in it once. `create` refuses tuples that are there, `touch` replaces their condition and
    expiry, `delete` goes by identity (condition and expiry do not count) and takes tuples that are not there.
    """

    create: Sequence[RelationTuple] = ()
    touch: Sequence[RelationTuple] = ()
    delete: Sequence[RelationTuple] = ()
    must_exist: Sequence[TupleFilter] = ()
    must_not_exist: Sequence[TupleFilter] = ()
    idempotency_key: str | None = None
    schema_revision: int | None = None
    """The schema that the tuples were checked against; another one in force is `SchemaMoved`."""


class SchemaChange(NamedTuple):
    """A schema to put in force, and how to find the tuples that it would orphan."""

    schema: StoredSchema
    suspect: Callable[[RelationTuple], bool]
    """Whether tuples like this one must be looked at; goes by namespaces, relations, wildcard, the name of
    the condition and whether there is an expiry, never by ids, contexts or instants."""
    admits: Callable[[RelationTuple], bool]
    schema_revision: int
    """The schema that the change was worked out against; another one in force is `SchemaMoved`."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One tuple that a commit wrote (`touch`) or removed (`delete`)."""

    operation: Literal["touch", "delete"]
    item: RelationTuple


class Commit(msgspec.Struct, frozen=True):
    """What one revision changed."""

    revision: int
    wall_us: int
    changes: tuple[Change, ...]
    schema: StoredSchema | None = None
    """The schema, where the commit wrote one."""


class Page(NamedTuple):
    """Tuples in the store's own stable order; `next` resumes after them and is None at the end."""

    items: Rows
    next: bytes | None


class TupleExists(Conflict):
    """A tuple to create is already there."""

    code = "tuple_exists"


class PreconditionFailed(Conflict):
    """What had to exist does not, or the other way round."""

    code = "precondition_failed"


class IdempotencyConflict(Conflict):
    """The idempotency key was used for another write."""

    code = "idempotency_conflict"


class SchemaMoved(Conflict):
    """Another schema came into force while the write was under way."""

    code = "schema_moved"


class OrphanedTuples(Conflict):
    """The new schema does not admit tuples that are stored; `tuples` has up to 100 of them."""

    code = "orphaned_tuples"

    def __init__(self, tuples: Sequence[RelationTuple]) -> None:
        self.tuples = tuple(tuples)
        shown = ", ".join(f"`{item}`" for item in self.tuples[:10])
        more = ", …" if len(self.tuples) > 10 else ""
        super().__init__(
            f"the schema would orphan stored tuples: {shown}{more}",
            hint="delete them first, or keep admitting them",
            tuples=[str(item) for item in self.tuples],
        )


class RevisionGone(Invalid):
    """The revision is older than the retained history."""

    code = "revision_gone"


def canonical_key(item: RelationTuple) -> tuple[str, bytes, str]:
    """What exported tuples are ordered by: the object as engines index it, then the text."""
    return item.object.namespace, indexed_id(item.object.id), str(item)


def indexed_id(id_: str) -> bytes:
    """An id as engines index it: whole, or its beginning and a digest of the whole."""
    raw = id_.encode()
    if len(raw) <= _INDEXED_ID_BYTES:
        return raw
    return raw[:_INDEXED_ID_BYTES] + hashlib.blake2b(raw, digest_size=32).digest()


def require_schema(schema_revision: int | None, head: Head) -> None:
    """`SchemaMoved` when another schema is in force than the one that a caller went by."""
    if schema_revision not in (None, head.schema_revision):
        raise SchemaMoved("the schema changed while the write was under way", hint="send the write again")


def describe_precondition(where: TupleFilter, wanted: bool) -> str:
    """What a failed precondition says."""
    fields = {name: value for name in where.__struct_fields__ if (value := getattr(where, name)) is not None}
    text = ", ".join(f"{name}=`{value}`" for name, value in fields.items()) or "anything"
    return f"a tuple with {text} {'must' if wanted else 'must not'} exist"


class TupleStore(Protocol):
    """A set of relation tuples with history.

    Vocabulary. A *revision* is a number given inside the writer's critical section: revision order, commit
    order and the order in which changes become visible are one. Revision 0 is the empty store; every commit
    that changes something takes the next one. A *row* is a tuple with the revisions that created and deleted
    it; it is *live* at R when created <= R and not deleted at or before R. *History* reaches back to
    `oldest()`; the rows that were deleted later are kept.

    Promises.

    - Identity is (object, relation, user), byte-exact: case, blanks, NUL, non-ASCII and length all count.
    - A read at a revision gives the same answer for ever, or `RevisionGone` once history is collected: never
      a part of an answer. Every revision from `oldest()` to the head can be read.
    - `write` and `write_schema` are atomic, and as durable on return as the engine can make them. One that
      raises has changed nothing. What was acknowledged is seen by every later read of every process.
    - A write that changes nothing (touch of an equal tuple, delete of a missing one) takes no revision.
    - Expired tuples are returned like others: the reader compares `expires_at_us` with the instant of its
      request. To `create` and to the preconditions of a write they are absent at the store's clock. They are
      removed for good, without a commit, a retention window after they expired.

    Methods are synchronous and may be called from any thread; no snapshot is held between calls.
    """

    @property
    def waits(self) -> bool:
        """Whether calls may wait for a disk or a network."""

    @property
    def store_id(self) -> bytes:
        """8 bytes that no other store has."""

    @property
    def secret(self) -> bytes:
        """16 bytes that key the checksums of this store's zookies and cursors."""

    def head(self) -> Head:
        """The newest revision."""

    def oldest(self) -> int:
        """The oldest revision that can be read."""

    def head_at(self, revision: int) -> Head:
        """The head as it was at a revision within history."""

    def revision_at(self, wall_us: int) -> int:
        """The newest revision committed at or before a wall time, at least `oldest()`."""

    def read_schema(self, schema_revision: int) -> StoredSchema:
        """The schema that was written at exactly that revision; `NotFound` otherwise."""

    def answer(self, reads: Sequence[Read], revision: int) -> list[Rows]:
        """The rows live at `revision` that each read asks for, in one round trip and in the order asked."""

    def scan(self, where: TupleFilter, revision: int, *, limit: int, after: bytes | None = None) -> Page:
        """Up to `limit` tuples live at `revision` that match, after the `next` of the page before."""

    def export(self, revision: int, *, after: RelationTuple | None = None) -> Iterator[str]:
        """The text of all tuples live at `revision` and behind `after`, in the order of `canonical_key`,
        which is the same in every store."""

    def places(self, objects: Sequence[ObjectRef]) -> list[bytes | None]:
        """What lists are ordered by, in this store's own order, which never changes; None for an object that
        was never written. The places of one namespace's objects compare like their order."""

    def write(self, write: Write) -> Head:
        """Apply a write; the head that it left. A repeated idempotency key gives the head of the first time.

        Raises `TupleExists`, `PreconditionFailed`, `IdempotencyConflict` or `SchemaMoved`.
        """

    def write_schema(self, change: SchemaChange) -> Head:
        """Put a schema in force, unless a live tuple is not admitted: then `OrphanedTuples`.

        Writing the schema in force again takes no revision. Raises `SchemaMoved`.
        """

    def changes(self, after: int, *, limit: int = 100) -> list[Commit]:
        """Up to `limit` commits with a revision greater than `after`, in order; `RevisionGone` when some of
        them are collected."""

    def collect(self) -> int:
        """Forget history older than the retention window; how many rows were removed."""

    def close(self) -> None:
        """Release everything; later calls raise `Invalid`. Closing twice is allowed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...
