"""Leases against a dumb oracle: each ends when given back, when its box goes, or when nobody speaks up."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from weft.agent.sandbox.fleet.events import Request
from weft.agent.sandbox.fleet.on_ray.leases import Lease, Leases

LEASE_S = 10
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "renew", "end", "end_box", "expire"]), st.integers(1, 5), st.integers(0, 6)
    )
)


def lease(number: int) -> Lease:
    return Lease(Request(number, "ann", "s", 1), 100 + number)


@given(steps)
def test_a_lease_is_held_as_long_as_its_holder_is_heard_of(history: list[tuple[str, int, int]]) -> None:
    leases, heard, now = Leases(LEASE_S), dict[int, int](), 0
    for what, number, wait in history:
        now += wait
        if what == "add" and number not in heard:
            leases.add(lease(number), now)
            heard[number] = now
        elif what == "renew":
            assert (leases.renew(number, now) is not None) == (number in heard)
            if number in heard:
                heard[number] = now
        elif what == "end":
            assert leases.end(number) == (lease(number) if number in heard else None)
            heard.pop(number, None)
        elif what == "end_box":
            leases.end_box(100 + number)
            heard.pop(number, None)
        elif what == "expire":
            over = {number for number, at in heard.items() if at + LEASE_S <= now}
            assert {each.request.request for each in leases.expire(now)} == over
            heard = {number: at for number, at in heard.items() if number not in over}
        assert {each.request.request for each in leases.all()} == set(heard)
        assert len(leases) == len(heard)
        assert [leases.holds(100 + each) for each in range(1, 6)] == [each in heard for each in range(1, 6)]
