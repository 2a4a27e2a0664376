"""Numbers of objects, users, relations and namespaces, as a caller's texts name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from weft.authz.mirror.rows import NAMESPACE_SHIFT, SERIAL_MASK, USERSET_SHIFT
from weft.authz.tuples import WILDCARD, ObjectRef, User, parse_object, parse_user

if TYPE_CHECKING:
    from weft.authz.stores.lmdb_numbered import NumberedStore

_MAX_TEXTS: Final = 500_000
"""Of objects and of users, and as many again that were not asked for lately: some 130 bytes each."""
_MAX_UNKNOWN: Final = 10_000


class Texts(dict[str, int]):
    """Numbers by text, and those that were there before it was last emptied. Always the same object."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._before: dict[str, int] = {}

    def recall(self, text: str) -> int | None:
        """The number of a text that is not in the dict but was there before."""
        number = self._before.get(text)
        if number is not None:
            self.keep(text, number)
        return number

    def keep(self, text: str, number: int) -> None:
        if len(self) >= self._most:
            self._before = dict(self)
            self.clear()
        self[text] = number

    def forget(self) -> None:
        self.clear()
        self._before = {}


class Numbers:
    """Texts to numbers and back. A number never changes, so what was found is kept.

    `object_texts[text]` and `user_texts[text]` are the quick way in: one dict get on the caller's own text.
    What is not there is asked for with `object_` or `user`.
    """

    def __init__(self, store: NumberedStore, most: int = _MAX_TEXTS) -> None:
        self._store = store
        self.object_texts = Texts(most)
        self.user_texts = Texts(most)
        self._names: dict[str, int] = {"": 0}
        self._names_of: dict[int, str] = {0: ""}
        self._unknown: tuple[int, set[str]] = (-1, set())
        """Texts without a number, as of a commit of the store."""

    def object_(self, text: str | ObjectRef) -> int | None:
        """The number of an object; None when nothing was ever written of it. `Invalid` for another text."""
        key = text if isinstance(text, str) else str(text)
        number = self.object_texts.get(key)
        if number is None:
            ref = parse_object(text) if isinstance(text, str) else text
            if ref.id == WILDCARD:
                return None
            number = self.object_texts.recall(key)
            if number is None and (number := self._find(ref.namespace, ref.id)) is not None:
                self.object_texts.keep(key, number)
        return number

    def user(self, text: str | User) -> int | None:
        """The number of a user, wildcard or userset; None when nothing was ever written of its object or
        relation. `Invalid` for another text."""
        key = text if isinstance(text, str) else str(text)
        number = self.user_texts.get(key)
        if number is None:
            whom = parse_user(text) if isinstance(text, str) else text
            number = self.user_texts.recall(key)
            if number is None and (number := self._find_user(whom)) is not None:
                self.user_texts.keep(key, number)
        return number

    def namespace(self, name: str) -> int | None:
        """The number of a namespace's name; None when nothing was ever written with it."""
        return self._name(name)

    def relation(self, name: str) -> int | None:
        """The number of a relation's name, 0 for no relation; None when nothing was ever written with it."""
        return self._name(name)

    def name(self, number: int) -> str:
        """The name of a namespace, relation or condition."""
        if number not in self._names_of:
            for known, name in self._store.names().items():
                self._names_of[known] = name
                self._names[name] = known
        return self._names_of[number]

    def text(self, number: int) -> str:
        """The text of an object, wildcard or userset."""
        relation, id_ = number >> USERSET_SHIFT, self.id_of(number)
        namespace = self.name((number >> NAMESPACE_SHIFT) & 0xFFFF)
        return str(User(namespace, id_, self.name(relation)))

    def id_of(self, number: int) -> str:
        """The id of an object, or of a userset's object; `*` for a wildcard."""
        return self._store.id_of(number & ((1 << USERSET_SHIFT) - 1)) if number & SERIAL_MASK else "*"

    def ids_of(self, numbers: Sequence[int]) -> list[str]:
        """The ids of distinct objects, read together."""
        return self._store.ids_of(numbers)

    def forget(self) -> None:
        """The store may have become another one."""
        for texts in (self.object_texts, self.user_texts):
            texts.forget()
        self._names, self._names_of = {"": 0}, {0: ""}
        self._unknown = -1, set()

    def _name(self, name: str) -> int | None:
        number = self._names.get(name)
        if number is None and (number := self._store.name(name)) is not None:
            self._names[name] = number
            self._names_of[number] = name
        return number

    def _find_user(self, user: User) -> int | None:
        relation = self._name(user.relation)
        number = self._find(user.namespace, user.id)
        if relation is None or number is None:
            return None
        return relation << USERSET_SHIFT | number

    def _find(self, namespace: str, id_: str) -> int | None:
        """Ask the store, unless it had no answer at the very same commit."""
        commit = self._store.last_commit()
        at, unknown = self._unknown
        if at != commit or len(unknown) >= _MAX_UNKNOWN:
            self._unknown = at, unknown = commit, set()
        text = f"{namespace}:{id_}"
        if text in unknown:
            return None
        number = self._store.object(namespace, id_)
        if number is None:
            unknown.add(text)
        return number
