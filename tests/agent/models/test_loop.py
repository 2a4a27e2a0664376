"""The loop in its thread: closed or forgotten, nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator

import pytest

from weft.agent.models.wire.loop import LoopThread
from weft.core.errors import Unavailable


class Thing:
    closed = False

    async def aclose(self) -> None:
        self.closed = True


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "weft-models"}


async def numbers(last: int) -> AsyncGenerator[int]:
    for number in range(last + 1):
        yield number
    await asyncio.Event().wait()


def test_a_reader_does_not_wait_for_what_comes_after_the_last() -> None:
    loop = LoopThread(Thing)
    assert list(loop.iterate(numbers(3), is_last=lambda n: n == 3)) == [0, 1, 2, 3]
    loop.close()


@pytest.mark.parametrize("forget", [False, True])
def test_closing_and_forgetting_end_the_thread_and_what_lives_there(forget: bool) -> None:
    before, thing = threads(), Thing()
    loop = LoopThread(lambda: thing)
    stream = loop.iterate(numbers(0), is_last=lambda n: False)
    assert next(stream) == 0
    if forget:
        thread = loop._thread
        del loop
        gc.collect()
        thread.join(30)
    else:
        loop.close()
        loop.close()
    assert thing.closed
    assert threads() <= before
    with pytest.raises(Unavailable, match="cancelled"):
        next(stream)


def test_an_error_of_the_source_comes_to_the_reader_once() -> None:
    async def broken() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("broken")

    loop = LoopThread(Thing)
    stream = loop.iterate(broken(), is_last=lambda n: False)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert list(stream) == []
    loop.close()


def test_closing_right_after_opening() -> None:
    for _ in range(20):
        thing = Thing()
        LoopThread(lambda thing=thing: thing).close()  # type: ignore[misc]
        assert thing.closed
