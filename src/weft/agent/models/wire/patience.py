"""How long to wait for a reply, when to ask again, and when to ask twice; over any way to ask."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec

from weft.agent.models.protocol import Delta, Usage
from weft.core.errors import Unavailable

Attempt = Callable[[], AsyncGenerator[Delta]]
"""Sends the request once more and gives the reply; closing it drops the connection."""

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
# Providers count requests and tokens by the minute; who asks for more than this means hours.
_LONGEST_ASKED_S: Final = 120.0


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one request, in seconds, and the number of times that it is sent again."""

    connect_s: float = 10.0
    first_token_s: float = 300.0
    """A reasoning model may think for minutes before it says a word."""
    between_tokens_s: float = 120.0
    retries: int = 4
    hedge_after_s: float | None = None
    """After this long without a first token the request is sent a second time, and the first to answer wins.
    Both are paid for, so this is off unless asked for."""


async def patiently(attempt: Attempt, patience: Patience, rng: random.Random) -> AsyncGenerator[Delta]:
    """The deltas of a reply. A request that failed before its first delta is sent again (full jitter, and not
    before `Retry-After`); one that failed later is not, for what was said cannot be taken back."""
    stream, first, hedged = await _begin(attempt, patience, rng)
    try:
        yield first
        while True:
            try:
                async with asyncio.timeout(patience.between_tokens_s):
                    delta = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Unavailable(
                    f"the model said nothing more for {patience.between_tokens_s:g} s", hint="try again"
                ) from None
            if hedged and isinstance(delta, Usage):
                delta = msgspec.structs.replace(delta, hedged=delta.input)
            yield delta
    finally:
        await stream.aclose()


async def _begin(
    attempt: Attempt, patience: Patience, rng: random.Random
) -> tuple[AsyncGenerator[Delta], Delta, bool]:
    for number in itertools.count():
        try:
            async with asyncio.timeout(patience.first_token_s):
                return await _fastest(attempt, patience.hedge_after_s)
        except TimeoutError:
            raise Unavailable(
                f"the model said nothing for {patience.first_token_s:g} s", hint="try again later"
            ) from None
        except Unavailable as error:
            if number >= patience.retries:
                raise
            await asyncio.sleep(_pause_s(number, error, rng))
    raise AssertionError


def _pause_s(number: int, error: Unavailable, rng: random.Random) -> float:
    """Full jitter (Brooker, "Exponential Backoff and Jitter") on top of what the server asks for."""
    asked = error.fields.get("retry_after_s", 0.0)
    asked_s = asked if isinstance(asked, float) else 0.0
    if asked_s > _LONGEST_ASKED_S:
        raise error
    return asked_s + rng.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**number))


async def _fastest(
    attempt: Attempt, hedge_after_s: float | None
) -> tuple[AsyncGenerator[Delta], Delta, bool]:
    """The attempt that answers first, its first delta, and whether there were two; the other is dropped."""
    running: dict[asyncio.Task[Delta], AsyncGenerator[Delta]] = {}

    def start() -> None:
        stream = attempt()
        running[asyncio.create_task(_first(stream))] = stream

    start()
    try:
        waiting = set(running)
        done, _ = await asyncio.wait(waiting, timeout=hedge_after_s)
        if hedged := not done:
            start()
            waiting = set(running)
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            answered = [task for task in done if task.exception() is None]
            if answered or not waiting:
                break
        won = answered[0] if answered else done.pop()
        first = won.result()
        return running.pop(won), first, hedged
    finally:
        for task, stream in running.items():
            await _drop(task, stream)


async def _first(stream: AsyncGenerator[Delta]) -> Delta:
    return await anext(stream)


async def _drop(task: asyncio.Task[Delta], stream: AsyncGenerator[Delta]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
    await stream.aclose()
