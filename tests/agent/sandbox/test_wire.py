"""The inside's codec against msgspec, which the host uses."""

from __future__ import annotations

import socket
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.sandbox.inside import wire

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
)


@given(VALUES)
def test_both_sides_understand_each_other(value: object) -> None:
    assert msgspec.msgpack.decode(wire.pack(value)) == value
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(5)
        body = msgspec.msgpack.encode(value)
        near.sendall(struct.pack(">I", len(body)) + body)
        assert wire.receive(far) == value


def test_long_values() -> None:
    value = {"d": b"x" * 70_000, "t": "y" * 300, "l": [0] * 70_000}
    assert wire._unpack(msgspec.msgpack.encode(value), 0)[0] == value


def test_end_of_stream_and_oversize_close() -> None:
    near, far = socket.socketpair()
    with far:
        near.sendall(struct.pack(">I", wire.MAX_FRAME_BYTES + 1))
        with pytest.raises(wire.Closed):
            wire.receive(far)
        near.close()
        with pytest.raises(wire.Closed):
            wire.receive(far)
