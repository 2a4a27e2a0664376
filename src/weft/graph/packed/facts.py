"""What nodes and edges say of themselves, by number: encoded properties, event time, expiry."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from weft.core.errors import Corrupt
from weft.graph import layout
from weft.kv.expiry import NEVER_US
from weft.kv.model import Item

Numbers = NDArray[np.integer[Any]]
_COPIED_AT_ONCE: Final = 1_000_000
_MANY: Final = 32
"""From so many on, values are decoded as one list: gathering them has a fixed cost."""
_UNKNOWN_US: Final = -(1 << 63)
_NOTHING: Final = (_UNKNOWN_US, 0, len(layout.NO_PROPERTIES))
"""The row of what nothing is known of: `data` begins with no properties."""

_decode: Final = msgspec.msgpack.Decoder(dict[str, Any]).decode
_decode_all: Final = msgspec.msgpack.Decoder(list[dict[str, Any]]).decode
_ARRAY_HEAD: Final = struct.Struct(">BI")


def grown(array: NDArray[Any], size: int, fill: Any = 0) -> NDArray[Any]:
    """The array, or a longer copy with room for `size` rows and more to come."""
    if size <= len(array):
        return array
    longer = np.empty((max(size, len(array) * 5 // 4), *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    longer[len(array) :] = fill
    return longer


class Facts:
    """Rows by number: event time, and where in `data` the encoded properties are and how long."""

    def __init__(self) -> None:
        self.rows: Numbers = np.zeros((0, 3), np.int64)
        self.expiries: NDArray[np.int64] | None = None
        """None until the first item that expires."""
        self.data = bytearray(layout.NO_PROPERTIES)

    def fit(self, size: int) -> None:
        """Have room for the numbers below `size`."""
        self.rows = grown(self.rows, size, _NOTHING)
        if self.expiries is not None:
            self.expiries = grown(self.expiries, size, NEVER_US)

    def put(self, numbers: Numbers, items: Sequence[Item]) -> None:
        """What the items say holds for the numbers from now on."""
        if not len(numbers):
            return
        self.fit(int(numbers.max()) + 1)
        values = [item.value for item in items]
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        times = [item.version.event_time_us for item in items]
        self.rows[numbers] = np.column_stack((times, len(self.data) + sizes.cumsum() - sizes, sizes))
        self.data += b"".join(values)
        expiries = [NEVER_US if item.expires_at_us is None else item.expires_at_us for item in items]
        if self.expiries is None and min(expiries) < NEVER_US:
            self.expiries = np.full(len(self.rows), NEVER_US, np.int64)
        if self.expiries is not None:
            self.expiries[numbers] = expiries

    def clear(self, numbers: Numbers | int) -> None:
        """Nothing is known of these numbers any more."""
        self.rows[numbers] = _NOTHING

    def live(self, numbers: Numbers, now_us: int) -> NDArray[np.bool_] | None:
        """Which of the numbers have not expired; None when nothing ever does."""
        return None if self.expiries is None else self.expiries.take(numbers) > now_us

    def told(self, numbers: Numbers, now_us: int) -> tuple[list[dict[str, Any]], list[int | None]]:
        """Properties and event time of each; none and None where nothing is known, or no longer."""
        rows, live = self.rows.take(numbers, axis=0), self.live(numbers, now_us)
        if live is not None:
            rows[~live] = _NOTHING
        times, starts, sizes = rows.T
        told: list[int | None] = times.tolist()
        if _UNKNOWN_US in told:
            told = [None if time_us == _UNKNOWN_US else time_us for time_us in told]
        try:
            return self._properties(starts, sizes), told
        except msgspec.MsgspecError as error:
            raise Corrupt(f"a node's or edge's properties do not decode: {error}") from error

    def _properties(self, starts: Numbers, sizes: Numbers) -> list[dict[str, Any]]:
        if len(starts) < _MANY:
            data, places = self.data, zip(starts.tolist(), sizes.tolist(), strict=True)
            return [_decode(data[start : start + size]) for start, size in places]
        values = np.frombuffer(self.data, np.uint8).take(spans(starts, sizes))
        return _decode_all(_ARRAY_HEAD.pack(0xDD, len(starts)) + values.tobytes())

    def taken(self, numbers: Numbers) -> Facts:
        """The facts of these numbers alone, numbered anew in their order."""
        facts = Facts()
        facts.rows = self.rows.take(numbers, axis=0)
        facts.expiries = None if self.expiries is None else self.expiries.take(numbers)
        data = np.frombuffer(self.data, np.uint8)
        for first in range(0, len(numbers), _COPIED_AT_ONCE):
            _, starts, sizes = facts.rows[first : first + _COPIED_AT_ONCE].T
            places = spans(starts, sizes)
            starts[:] = len(facts.data) + sizes.cumsum() - sizes
            facts.data += data.take(places).tobytes()
        return facts

    def memory_bytes(self) -> int:
        expiries = 0 if self.expiries is None else self.expiries.nbytes
        return self.rows.nbytes + expiries + len(self.data)


def spans(starts: Numbers, sizes: Numbers) -> NDArray[np.int64]:
    """The places `start .. start + size - 1` of each span, one span after the other."""
    ends = sizes.cumsum(dtype=np.int64)
    places = np.arange(ends[-1] if len(ends) else 0)
    places += (starts - ends + sizes).repeat(sizes)
    return places
