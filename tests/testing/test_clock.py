from __future__ import annotations

import pytest

from weft.core.clock import Clock
from weft.testing.clock import START_US, VirtualClock


def test_stands_still_until_told() -> None:
    clock: Clock = VirtualClock()
    assert [clock.now_us(), clock.now_us(), clock.monotonic_s()] == [START_US, START_US, 0]


@pytest.mark.parametrize("how", ["advance", "sleep"])
def test_passing_time_moves_both_times(how: str) -> None:
    clock = VirtualClock(now_us=5)
    getattr(clock, how)(1.5)
    assert (clock.now_us(), clock.monotonic_s()) == (1_500_005, 1.5)


def test_jumps_leave_monotonic_time_alone() -> None:
    clock = VirtualClock(now_us=10_000_000)
    clock.jump(-3)
    assert (clock.now_us(), clock.monotonic_s()) == (7_000_000, 0)
    clock.set(42)
    assert (clock.now_us(), clock.monotonic_s()) == (42, 0)


def test_time_does_not_pass_backwards() -> None:
    with pytest.raises(ValueError, match="jump"):
        VirtualClock().advance(-1)
