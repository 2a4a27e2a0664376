import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.codec import decode, encode, pack_bytes, pack_u64, prefix_end, unpack_bytes, unpack_u64
from weft.core.errors import Corrupt

parts = st.lists(st.binary(max_size=6) | st.text("\x00\xffa", max_size=4).map(str.encode), max_size=4)


@given(parts, parts)
def test_packed_parts_sort_like_their_tuples(a: list[bytes], b: list[bytes]) -> None:
    packed = [b"".join(map(pack_bytes, side)) for side in (a, b)]
    assert (packed[0] < packed[1]) == (a < b)
    assert (packed[0] == packed[1]) == (a == b)


@given(parts)
def test_packed_parts_come_back(original: list[bytes]) -> None:
    key, at, found = b"".join(map(pack_bytes, original)), 0, []
    while at < len(key):
        part, at = unpack_bytes(key, at)
        found.append(part)
    assert found == original


@pytest.mark.parametrize("key", [b"", b"abc", b"a\x00", b"a\x00\x01"])
def test_a_part_without_end_is_corrupt(key: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack_bytes(key)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_numbers_sort_and_come_back(a: int, b: int) -> None:
    assert (pack_u64(a) < pack_u64(b)) == (a < b)
    assert unpack_u64(pack_u64(a)) == a


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_prefix_end_bounds_exactly_the_prefixed(prefix: bytes, other: bytes) -> None:
    end = prefix_end(prefix)
    assert other.startswith(prefix) == (other >= prefix and (end is None or other < end))


def test_values_come_back_and_damage_is_named() -> None:
    assert decode(encode({"a": [1]}), dict[str, list[int]]) == {"a": [1]}
    with pytest.raises(Corrupt, match="the offset does not decode"):
        decode(b"\xc1", int, "the offset")
