"""`AsyncAuthz`: the same questions for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from weft.authz.authz import Authz
from weft.authz.results import Decision
from weft.authz.tuples import ObjectRef, User
from weft.authz.writes import TupleText
from weft.authz.zookie import Consistency

P = ParamSpec("P")
T = TypeVar("T")
_END: Final = object()


def _awaitable(
    method: Callable[Concatenate[Authz, P], T],
) -> Callable[Concatenate[AsyncAuthz, P], Awaitable[T]]:
    @wraps(method)
    async def call(self: AsyncAuthz, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._authz.waits:
            return method(self._authz, *args, **kwargs)
        return await asyncio.to_thread(method, self._authz, *args, **kwargs)

    return call


def _stream(
    method: Callable[Concatenate[Authz, P], Iterator[T]],
) -> Callable[Concatenate[AsyncAuthz, P], AsyncIterator[T]]:
    @wraps(method)
    async def stream(self: AsyncAuthz, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items = method(self._authz, *args, **kwargs)
        while (item := await asyncio.to_thread(next, items, _END)) is not _END:
            yield item  # type: ignore[misc]

    return stream


class AsyncAuthz:
    """See `Authz`, whose methods these are. Where the store waits for a disk or a network, a call runs in a
    thread of its own; over `memory:` it runs at once, and so does a check that a mirror can answer."""

    def __init__(self, authz: Authz) -> None:
        self._authz = authz

    @classmethod
    def open(cls, url: str | os.PathLike[str], **options: Any) -> Self:
        """See `Authz.open`."""
        return cls(Authz.open(url, **options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    close = _awaitable(Authz.close)
    write_schema = _awaitable(Authz.write_schema)
    read_schema = _awaitable(Authz.read_schema)
    write = _awaitable(Authz.write)

    async def check(
        self,
        object: str | ObjectRef,  # noqa: A002
        relation: str,
        user: str | User,
        *,
        at: Consistency = None,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> Decision:
        """Whether the user is in the relation; at once where the answer is at hand in memory."""
        ask = partial(
            self._authz.check,
            object,
            relation,
            user,
            at=at,
            context=context,
            contextual_tuples=contextual_tuples,
        )
        if not self._authz.waits or (not contextual_tuples and self._authz._at_hand(at)):
            return ask()
        return await asyncio.to_thread(ask)

    check_many = _awaitable(Authz.check_many)
    expand = _awaitable(Authz.expand)
    explain = _awaitable(Authz.explain)
    list_objects = _awaitable(Authz.list_objects)
    list_subjects = _awaitable(Authz.list_subjects)
    list_permissions = _awaitable(Authz.list_permissions)
    read = _awaitable(Authz.read)
    diff_schema = _awaitable(Authz.diff_schema)
    content_change_check = _awaitable(Authz.content_change_check)
    import_tuples = _awaitable(Authz.import_tuples)
    collect = _awaitable(Authz.collect)
    watch = _stream(Authz.watch)
    export_tuples = _stream(Authz.export_tuples)
