"""What nodes and edges say of themselves, by number: encoded properties, event time, expiry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from weft.core.errors import Corrupt
from weft.kv.expiry import NEVER_US
from weft.kv.model import Item

Numbers = NDArray[np.integer[Any]]
_COPIED_AT_ONCE: Final = 1_000_000
_decode: Final = msgspec.msgpack.Decoder(dict[str, Any]).decode


def grown(array: NDArray[Any], size: int, fill: int = 0) -> NDArray[Any]:
    """The array, or a larger copy with room for `size` and more to come."""
    if size <= len(array):
        return array
    larger = np.full(max(size, len(array) * 5 // 4), fill, array.dtype)
    larger[: len(array)] = array
    return larger


class Facts:
    """Columns by number. A value of no bytes says that nothing is known of the number."""

    def __init__(self) -> None:
        self.times: NDArray[np.int64] = np.zeros(0, np.int64)
        self.starts: Numbers = np.zeros(0, np.int64)
        self.sizes: NDArray[np.int32] = np.zeros(0, np.int32)
        self.expiries: NDArray[np.int64] | None = None
        """None until the first item that expires."""
        self.data = bytearray()

    def fit(self, size: int) -> None:
        """Have room for the numbers below `size`."""
        self.times = grown(self.times, size)
        self.starts = grown(self.starts, size)
        self.sizes = grown(self.sizes, size)
        if self.expiries is not None:
            self.expiries = grown(self.expiries, size, NEVER_US)

    def put(self, numbers: Numbers, items: Sequence[Item]) -> None:
        """What the items say holds for the numbers from now on."""
        if not len(numbers):
            return
        self.fit(int(numbers.max()) + 1)
        values = [item.value for item in items]
        sizes = np.fromiter(map(len, values), np.int32, len(values))
        self.starts[numbers] = len(self.data) + sizes.cumsum(dtype=np.int64) - sizes
        self.sizes[numbers] = sizes
        self.times[numbers] = [item.version.event_time_us for item in items]
        self.data += b"".join(values)
        expiries = [NEVER_US if item.expires_at_us is None else item.expires_at_us for item in items]
        if self.expiries is None and min(expiries) < NEVER_US:
            self.expiries = np.full(len(self.times), NEVER_US, np.int64)
        if self.expiries is not None:
            self.expiries[numbers] = expiries

    def clear(self, number: int) -> None:
        self.sizes[number] = 0

    def live(self, numbers: Numbers, now_us: int) -> NDArray[np.bool_] | None:
        """Which of the numbers have not expired; None when nothing ever does."""
        return None if self.expiries is None else self.expiries[numbers] > now_us

    def told(self, numbers: Numbers, now_us: int) -> tuple[list[dict[str, Any]], list[int | None]]:
        """Properties and event time of each; none where nothing is known, or no longer."""
        data, starts, times = self.data, self.starts[numbers], self.times[numbers].tolist()
        sizes, live = self.sizes[numbers], self.live(numbers, now_us)
        if live is not None:
            sizes = sizes * live
        spans = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
        try:
            if sizes.all():
                return [_decode(data[start:end]) for start, end in spans], times
            properties = [_decode(data[start:end]) if start < end else {} for start, end in spans]
        except msgspec.MsgspecError as error:
            raise Corrupt(f"a node's or edge's properties do not decode: {error}") from error
        return properties, [time_us if size else None for time_us, size in zip(times, sizes, strict=True)]

    def taken(self, numbers: Numbers) -> Facts:
        """The facts of these numbers alone, numbered anew in their order."""
        facts = Facts()
        facts.times, facts.sizes = self.times[numbers], self.sizes[numbers]
        facts.expiries = None if self.expiries is None else self.expiries[numbers]
        facts.starts = facts.sizes.cumsum(dtype=np.int64) - facts.sizes
        data = np.frombuffer(self.data, np.uint8)
        for first in range(0, len(numbers), _COPIED_AT_ONCE):
            part = numbers[first : first + _COPIED_AT_ONCE]
            facts.data += data[spans(self.starts[part], self.sizes[part])].tobytes()
        return facts

    def memory_bytes(self) -> int:
        expiries = 0 if self.expiries is None else self.expiries.nbytes
        return self.times.nbytes + self.starts.nbytes + self.sizes.nbytes + expiries + len(self.data)


def spans(starts: Numbers, sizes: Numbers) -> NDArray[np.int64]:
    """The places `start .. start + size - 1` of each span, one span after the other."""
    ends = sizes.cumsum(dtype=np.int64)
    places = np.arange(ends[-1] if len(ends) else 0)
    places += (starts - ends + sizes).repeat(sizes)
    return places
