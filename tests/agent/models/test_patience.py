"""Retries, limits and hedges, in virtual time: hours pass in no time, and to the millisecond."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.models import Delta, TextDelta, Usage
from weft.agent.models.wire.patience import Patience, patiently
from weft.core.errors import Denied, Unavailable

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """When nothing is left to do, it is the time of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        timers = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not self._ready and timers:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, timers[0]._when)
        super()._run_once()  # type: ignore[misc]


def run(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class Server:
    """Plays one scenario per request: numbers are seconds to wait, errors are raised, the rest is said."""

    def __init__(self, loop: VirtualLoop, *scenarios: Sequence[float | Exception | Delta]) -> None:
        self.loop = loop
        self.scenarios = iter(scenarios)
        self.asked_at_s: list[float] = []
        self.closed = 0

    async def attempt(self) -> AsyncGenerator[Delta]:
        self.asked_at_s.append(self.loop.time())
        try:
            for what in next(self.scenarios):
                if isinstance(what, (int, float)):
                    await asyncio.sleep(what)
                elif isinstance(what, Exception):
                    raise what
                else:
                    yield what
        finally:
            self.closed += 1


class Longest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


A, B, END = TextDelta("a"), TextDelta("b"), Usage(10, 1)


async def all_of(server: Server, rng: random.Random | None = None, **limits: Any) -> list[Delta]:
    return [delta async for delta in patiently(server.attempt, Patience(**limits), rng or Longest())]


def busy(after_s: float | None = None) -> Unavailable:
    return Unavailable("busy", **({} if after_s is None else {"retry_after_s": after_s}))


def test_pauses_double_up_to_their_limit_and_end() -> None:
    async def work(loop: VirtualLoop) -> list[float]:
        server = Server(loop, *[[busy()]] * 9)
        with pytest.raises(Unavailable, match="busy"):
            await all_of(server, retries=8)
        return server.asked_at_s

    asked = run(work)
    assert [later - earlier for earlier, later in pairwise(asked)] == [
        0.5, 1, 2, 4, 8, 16, 30, 30,
    ]  # fmt: skip


@given(st.integers(0, 2**32))
def test_pauses_are_anywhere_below_their_limit(seed: int) -> None:
    async def work(loop: VirtualLoop) -> list[float]:
        server = Server(loop, [busy()], [busy()], [A, END])
        assert await all_of(server, random.Random(seed)) == [A, END]
        return server.asked_at_s

    first, second, third = run(work)
    assert 0 <= second - first <= 0.5
    assert 0 <= third - second <= 1


def test_the_server_says_when() -> None:
    async def work(loop: VirtualLoop) -> list[float]:
        server = Server(loop, [busy(after_s=7.0)], [A, END])
        assert await all_of(server) == [A, END]
        return server.asked_at_s

    assert run(work) == [0, 7.5]


@pytest.mark.parametrize("fault", [Denied("no"), busy(after_s=121.0)])
def test_what_no_retry_helps_is_told_at_once(fault: Exception) -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, [1, fault])
        with pytest.raises(type(fault)):
            await all_of(server)
        assert server.asked_at_s == [0]

    run(work)


def test_nothing_is_tried_again_once_something_was_said() -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, [A, busy()], [A, END])
        deltas = patiently(server.attempt, Patience(), Longest())
        assert await anext(deltas) == A
        with pytest.raises(Unavailable):
            await anext(deltas)
        assert server.asked_at_s == [0]

    run(work)


@pytest.mark.parametrize(
    ("scenario", "at_s"), [([301, A], 300), ([299, A, 121, B], 299 + 120), ([299, A, 119, B, 120.5], 538)]
)
def test_waiting_has_a_limit_before_the_first_and_between_all(scenario: list[Any], at_s: float) -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, scenario)
        with pytest.raises(Unavailable, match="said nothing"):
            await all_of(server)
        assert (loop.time(), server.asked_at_s, server.closed) == (at_s, [0], 1)

    run(work)


@given(st.floats(0.01, 20), st.floats(0.01, 20), st.floats(0.01, 20))
def test_the_quicker_of_two_wins_and_the_other_is_dropped(first: float, second: float, after: float) -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, [first, A, 1, END], [second, B, 1, END])
        seen = await all_of(server, hedge_after_s=after)
        if first < after:
            assert (seen, len(server.asked_at_s)) == ([A, END], 1)
        elif first > after:
            assert server.asked_at_s == [0, after]
            assert server.closed == 2
            assert seen[1] == Usage(10, 1, hedged=10)
            if abs(first - (after + second)) > 1e-6:
                assert seen[0] == (A if first < after + second else B)
                assert loop.time() == pytest.approx(min(first, after + second) + 1)

    run(work)


def test_a_second_request_that_fails_does_not_spoil_the_first() -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, [10, A, END], [busy()])
        assert await all_of(server, hedge_after_s=1) == [A, Usage(10, 1, hedged=10)]
        server = Server(loop, [5, busy()], [9, B, END])
        assert await all_of(server, hedge_after_s=1) == [B, Usage(10, 1, hedged=10)]

    run(work)


def test_two_that_both_fail_are_one_try() -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, [2, busy()], [3, busy()], [A, END])
        assert await all_of(server, hedge_after_s=1) == [A, END]
        assert server.asked_at_s == [0, 1, 4.5]

    run(work)


@pytest.mark.parametrize("at_s", [0.5, 2, 6, 8.2])
def test_leaving_closes_whatever_is_open(at_s: float) -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, [5, A, 100], [6, B, 100])
        task = asyncio.create_task(all_of(server, hedge_after_s=1))
        await asyncio.sleep(at_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.closed == len(server.asked_at_s)

    run(work)


def test_closing_between_two_pieces_closes_the_request_before_it_returns() -> None:
    async def work(loop: VirtualLoop) -> None:
        server = Server(loop, [A, B, END])
        deltas = patiently(server.attempt, Patience(), Longest())
        await anext(deltas)
        await deltas.aclose()
        assert server.closed == 1

    run(work)
