"""An event loop in a thread of its own, behind iterators for code that does not wait in loops."""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from weft.core.errors import Unavailable

T = TypeVar("T")


class Closable(Protocol):
    async def aclose(self) -> None:
        """Let go of what it holds."""


C = TypeVar("C", bound=Closable)


class LoopThread(Generic[C]):
    """A loop, its thread, and the one thing that lives there, made meanwhile.

    Closing cancels what runs and closes that thing; so does forgetting the loop.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="weft-models", daemon=True)
        self._thread.start()
        self._made = asyncio.run_coroutine_threadsafe(_made_by(make), self._loop)
        # The collector may run it in any thread, whatever that holds: it waits for nothing.
        self._stop = weakref.finalize(self, _stop, self._loop, self._made)

    def close(self) -> None:
        """Return once the thread has ended."""
        self._stop()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def made(self) -> C:
        """The thing that lives in the loop; for those who run there."""
        return await asyncio.wrap_future(self._made)

    def iterate(self, source: AsyncGenerator[T], is_last: Callable[[T], bool]) -> Iterate[T]:
        """What the source gives, as an iterator; the source goes on by itself meanwhile."""
        return Iterate(self._loop, source, is_last)


class Iterate(Generic[T]):
    """An iterator over what comes out of a loop. Closing it, from any thread, cancels the source at once and
    ends an iteration that waits."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, source: AsyncGenerator[T], is_last: Callable[[T], bool]
    ) -> None:
        self._items: queue.SimpleQueue[_Item[T] | Exception | None] = queue.SimpleQueue()
        self._over = False
        self._cancelled = False
        self._work = asyncio.run_coroutine_threadsafe(_pump(source, self._items, is_last), loop)

    def __iter__(self) -> Iterate[T]:
        return self

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        item = _cancelled() if self._cancelled else self._items.get()
        if isinstance(item, _Item):
            return item.value
        self._over = True
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        if not self._over:
            self._cancelled = True
            self._work.cancel()
            self._items.put(_cancelled())

    def __del__(self) -> None:
        self.close()


class _Item(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value


async def _pump(
    source: AsyncGenerator[T],
    items: queue.SimpleQueue[_Item[T] | Exception | None],
    is_last: Callable[[T], bool],
) -> None:
    """After the last item the reader goes on at once; the source may still have to tidy up."""
    try:
        async for value in source:
            items.put(_Item(value))
            if is_last(value):
                items.put(None)
        items.put(None)
    except Exception as error:
        items.put(error)
    except asyncio.CancelledError:
        items.put(_cancelled())
        raise
    finally:
        await source.aclose()


def _cancelled() -> Exception:
    """A reply that was left is not a whole one: whoever still waits for it must not take it for that."""
    return Unavailable("the request was cancelled", hint="ask again")


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()


async def _made_by(make: Callable[[], C]) -> C:
    return make()


def _stop(loop: asyncio.AbstractEventLoop, made: Future[C]) -> None:
    asyncio.run_coroutine_threadsafe(_end(loop, made), loop)


async def _end(loop: asyncio.AbstractEventLoop, made: Future[C]) -> None:
    try:
        living = await asyncio.wrap_future(made)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.shutdown_asyncgens()
        await living.aclose()
    finally:
        loop.stop()
