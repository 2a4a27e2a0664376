"""Load all rows of a store: two passes in key order, which gives them grouped in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.rows import Kind, Maybe, RelationRows

if TYPE_CHECKING:
    from weft.authz.stores.lmdb_numbered import NumberedStore

_SLICE_ROWS: Final = 10_000
FindRows = Callable[[str, str], RelationRows]


def load_rows(store: NumberedStore, numbers: Numbers, find: FindRows) -> None:
    """Put every live row in; rows that change meanwhile may be there by half, and come again by the log."""
    for shape in store.shapes():
        rows = find(numbers.name(shape.namespace), numbers.name(shape.relation))
        rows.kinds.add(
            Kind(
                numbers.name(shape.user_namespace),
                numbers.name(shape.user_relation),
                shape.wildcard,
                numbers.name(shape.condition),
                shape.expires,
            )
        )
    names: dict[int, str] = {}
    after = b""
    while pairs := store.rows("forward", after, _SLICE_ROWS):
        after = pairs[-1][0]
        for key, row in pairs:
            object_, user = int.from_bytes(key[:8], "big"), int.from_bytes(key[10:], "big")
            rows = find(
                numbers.name(int.from_bytes(key[:2], "big")), numbers.name(int.from_bytes(key[8:10], "big"))
            )
            tail = store.tail(row[8:], names)
            rows.put(object_, user, True if tail is None else Maybe(object_, user, *tail))
