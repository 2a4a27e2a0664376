"""How the LMDB store lays tuples out: numbers for names and objects, keys in both directions, row values.

    names     name -> number (2 bytes), and back
    objects   namespace, id -> object number (8 bytes: the namespace's number, then a serial), and back
    forward   object, relation, user relation, user object -> row
    reverse   user object, user relation, relation, object -> row
    dead      direction, key, deleted revision -> row; for the retention window
    log       revision -> what the commit changed
    times     wall time -> revision
    schemas   revision -> schema
    shapes    kinds of tuple -> how many are live
    expiries  expiry, forward key; to remove what expired
    writes    idempotency keys, and the times they were used at
    meta      identity, counters, and the state that changes with each commit

The user relation stands before the user's object, so that usersets (relation > 0) are one range of a row set.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from weft.authz.store import Head, indexed_id
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, TupleCondition, User
from weft.core.codec import pack_u64, unpack_u64
from weft.core.errors import Corrupt, LimitExceeded

Transaction = Any
"""A transaction of lmdb's; its own types do not know that buffers are off."""
DATABASES: Final = (
    "names",
    "objects",
    "forward",
    "reverse",
    "dead",
    "log",
    "times",
    "schemas",
    "shapes",
    "expiries",
    "writes",
    "meta",
)
FORWARD: Final = b"F"
REVERSE: Final = b"R"
KEY_BYTES: Final = 20
NO_RELATION: Final = b"\x00\x00"
PLAIN: Final = bytes(8)
"""The tail of a row without condition and expiry. A tail is what a row holds after its created revision: the
expiry plus one in eight bytes, zero when there is none; then the number of the condition and its context."""
_STATE: Final = struct.Struct(">5Q")
WILDCARD_SERIAL: Final = bytes(6)
"""In every namespace; objects count from 1."""
_MAX_NAMES: Final = 0xFFFF
_MAX_CACHED: Final = 200_000
"""Objects: some 70 MB both ways."""


class State(NamedTuple):
    """What every commit rewrites, as one value."""

    revision: int
    wall_us: int
    schema_revision: int
    oldest: int
    last_death: int
    """The newest revision that ended a row: from there on, the live rows are the whole truth."""

    @property
    def head(self) -> Head:
        return Head(self.revision, self.wall_us, self.schema_revision)

    def pack(self) -> bytes:
        return _STATE.pack(*self)


def read_state(txn: Transaction, meta: Any) -> State:
    data = txn.get(b"state", db=meta)
    if data is None or len(data) != _STATE.size:
        raise Corrupt("the tuple store has no state", hint="restore it from a backup")
    return State._make(_STATE.unpack(data))


def reversed_key(key: bytes) -> bytes:
    """The reverse key of a forward key."""
    return key[12:20] + key[10:12] + key[8:10] + key[:8]


def forward_key(key: bytes) -> bytes:
    """The forward key of a reverse key."""
    return key[12:20] + key[10:12] + key[8:10] + key[:8]


class Interner:
    """Numbers of names and objects, read through one transaction.

    Numbers are given once and for ever, so whatever was committed is kept in `committed`; what a write
    transaction finds or gives is kept in `fresh`, which may join the other once that is committed.
    """

    def __init__(
        self, txn: Transaction, databases: dict[str, Any], committed: Cache, fresh: Cache | None = None
    ) -> None:
        self._txn = txn
        self._names = databases["names"]
        self._objects = databases["objects"]
        self._meta = databases["meta"]
        self._committed = committed
        self._cache = committed if fresh is None else fresh
        self._serials: dict[bytes, int] = {}

    def name(self, name: str) -> bytes | None:
        """The number of a name, or None when it was never written; the empty name is zero."""
        number = self._cache.names.get(name) or self._committed.names.get(name)
        if number is None:
            number = self._txn.get(b"n" + name.encode(), db=self._names)
            if number is not None:
                self._cache.keep_name(name, number)
        return number

    def object(self, ref: ObjectRef) -> bytes | None:
        """The number of an object, or None when it was never written."""
        text = f"{ref.namespace}:{ref.id}"
        number = self._cache.objects.get(text) or self._committed.objects.get(text)
        if number is None and (prefix := self.name(ref.namespace)) is not None:
            number = self._txn.get(b"i" + prefix + indexed_id(ref.id), db=self._objects)
            if number is not None:
                self._cache.keep_objects({text: number})
        return number

    def name_of(self, number: bytes) -> str:
        name = self._cache.names_of.get(number)
        if name is None:
            name = self._required(b"#" + number, self._names).decode()
            self._cache.keep_name(name, number)
        return name

    def object_of(self, number: bytes) -> ObjectRef:
        found = self._cache.objects_of.get(number)
        if found is None:
            text = self._required(b"#" + number, self._objects).decode()
            found = ObjectRef(self.name_of(number[:2]), text)
            self._cache.keep_object_of(number, found)
        return found

    def user_of(self, number: bytes) -> User:
        """The user that a forward key ends with."""
        ref = self.object_of(number[2:])
        return User(ref.namespace, ref.id, self.name_of(number[:2]))

    def new_name(self, name: str) -> bytes:
        """The number of a name, given now if it has none."""
        number = self.name(name)
        if number is not None:
            return number
        serial = self._count(b"names", _MAX_NAMES, "distinct names of namespaces, relations and conditions")
        number = (serial + 1).to_bytes(2, "big")
        self._txn.put(b"n" + name.encode(), number, db=self._names)
        self._txn.put(b"#" + number, name.encode(), db=self._names)
        self._cache.keep_name(name, number)
        return number

    def new_objects(self, texts: Iterable[str]) -> dict[str, bytes]:
        """The numbers of objects, given now where they have none; in the order of the index, so that what is
        imported in order is put in order. An object is named by its namespace, a colon and its bare id."""
        fresh, committed = self._cache.objects, self._committed.objects
        numbers: dict[str, bytes] = {}
        unknown: dict[bytes, str] = {}
        prefixes: dict[str, bytes] = {}
        for text in texts:
            if number := fresh.get(text) or committed.get(text):
                numbers[text] = number
                continue
            namespace, _, id_ = text.partition(":")
            prefix = prefixes.get(namespace)
            if prefix is None:
                prefix = prefixes[namespace] = b"i" + self.new_name(namespace)
            unknown[prefix + indexed_id(id_)] = text
        if unknown:
            found = self._found_or_given(unknown)
            numbers.update(found)
            self._cache.keep_objects(found)
        return numbers

    def _found_or_given(self, unknown: dict[bytes, str]) -> dict[str, bytes]:
        keys = sorted(unknown)
        with self._txn.cursor(db=self._objects) as cursor:
            found = dict(cursor.getmulti(keys))
            missing = [key for key in keys if key not in found] if found else keys
            if missing:
                given = dict(zip(missing, self._next_numbers(missing, unknown), strict=True))
                cursor.putmulti(given.items())
                cursor.putmulti(
                    (b"#" + number, unknown[key].partition(":")[2].encode()) for key, number in given.items()
                )
                found.update(given)
        return {unknown[key]: number for key, number in found.items()}

    def key(self, item: RelationTuple) -> bytes | None:
        """The forward key of a tuple, or None when some part of it was never written."""
        number, name = self.object(item.object), self.name(item.relation)
        return None if number is None or name is None else self.key_of(number + name, item.user)

    def key_of(self, prefix: bytes, user: User) -> bytes | None:
        """The forward key of a user behind the numbers of an object and a relation."""
        number, name = self.object(user.object), self.name(user.relation)
        return None if number is None or name is None else prefix + name + number

    def new_rows(self, items: Sequence[RelationTuple]) -> list[tuple[bytes, bytes]]:
        """Tuples as forward keys and tails, with numbers for all their parts."""
        # Texts where pairs would do: they remember their hash, and no collector follows them.
        objects = [f"{item.object.namespace}:{item.object.id}" for item in items]
        users = [f"{item.user.namespace}:{item.user.id}" for item in items]
        between = [f"{item.relation}#{item.user.relation}" for item in items]
        numbers = self.new_objects({*objects, *users})
        names = {pair: b"".join(map(self.new_name, pair.split("#"))) for pair in set(between)}
        keys = [
            numbers[object_] + names[pair] + numbers[user]
            for object_, pair, user in zip(objects, between, users, strict=True)
        ]
        return [
            (key, PLAIN if item.condition is None and item.expires_at_us is None else self._tail(item))
            for key, item in zip(keys, items, strict=True)
        ]

    def _tail(self, item: RelationTuple) -> bytes:
        tail = pack_u64(0 if item.expires_at_us is None else item.expires_at_us + 1)
        if item.condition is not None:
            tail += self.new_name(item.condition.name) + item.condition.context.encode()
        return tail

    def item(self, key: bytes, tail: bytes) -> RelationTuple:
        """The tuple that a row holds."""
        expiry = unpack_u64(tail)
        condition = TupleCondition(self.name_of(tail[8:10]), tail[10:].decode()) if len(tail) > 8 else None
        return RelationTuple(
            self.object_of(key[:8]),
            self.name_of(key[8:10]),
            self.user_of(key[10:20]),
            condition,
            expiry - 1 if expiry else None,
        )

    def _next_numbers(self, keys: list[bytes], texts: dict[bytes, str]) -> Iterator[bytes]:
        """Fresh numbers for the objects at sorted index keys."""
        for prefix, group in groupby(keys, key=lambda key: key[1:3]):
            named = list(group)
            wildcard = b"i" + prefix + WILDCARD.encode()
            what = f"objects of namespace `{texts[named[0]].partition(':')[0]}`"
            serial = self._count(b"objects" + prefix, 2**48 - 1, what, len(named) - (wildcard in named))
            for key in named:
                if key == wildcard:
                    yield prefix + WILDCARD_SERIAL
                else:
                    serial += 1
                    yield prefix + serial.to_bytes(6, "big")

    def _required(self, key: bytes, database: Any) -> bytes:
        data = self._txn.get(key, db=database)
        if data is None:
            raise Corrupt(f"number `{key[1:].hex()}` has no text", hint="restore the store from a backup")
        return bytes(data)

    def _count(self, counter: bytes, limit: int, what: str, number: int = 1) -> int:
        """Give so many numbers more; the last one that was given before."""
        serial = self._serials.get(counter)
        if serial is None:
            data = self._txn.get(counter, db=self._meta)
            serial = unpack_u64(data) if data else 0
        if serial + number > limit:
            message = f"the store has {serial:,} {what} already"
            raise LimitExceeded(message, hint="use another store", limit=limit)
        self._serials[counter] = serial + number
        return serial

    def put_serials(self) -> None:
        """Write down how far numbers were given; in the transaction of the texts that they stand for."""
        for counter, serial in self._serials.items():
            self._txn.put(counter, pack_u64(serial), db=self._meta)
        self._serials.clear()


class Cache:
    """Committed numbers, both ways; emptied when it grows past its bound."""

    def __init__(self) -> None:
        self.names: dict[str, bytes] = {"": NO_RELATION}
        self.names_of: dict[bytes, str] = {NO_RELATION: ""}
        self.objects: dict[str, bytes] = {}
        self.objects_of: dict[bytes, ObjectRef] = {}

    def keep_name(self, name: str, number: bytes) -> None:
        self.names[name] = number
        self.names_of[number] = name

    def join(self, fresh: Cache) -> None:
        """Keep what another cache found, too."""
        if len(self.objects) + len(fresh.objects) > _MAX_CACHED:
            self.objects = {}
        self.names |= fresh.names
        self.names_of |= fresh.names_of
        self.objects |= fresh.objects

    def keep_objects(self, numbers: dict[str, bytes]) -> None:
        if len(self.objects) + len(numbers) > _MAX_CACHED:
            self.objects.clear()
        self.objects.update(numbers)

    def keep_object_of(self, number: bytes, ref: ObjectRef) -> None:
        if len(self.objects_of) >= _MAX_CACHED:
            self.objects_of.clear()
        self.objects_of[number] = ref
