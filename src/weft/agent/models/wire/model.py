"""A model behind one of the wire formats, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from weft.agent.models.protocol import DEFAULTS, Delta, Message, Options, ToolSpec, Usage
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.faults import refusal
from weft.agent.models.wire.format import Decoder, Format
from weft.agent.models.wire.loop import LoopThread
from weft.agent.models.wire.patience import Patience, patiently
from weft.agent.models.wire.sse import EventParser
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import MissingExtra, Unavailable
from weft.core.randomness import system_random

if TYPE_CHECKING:
    import httpx

# A tool may run for minutes between two requests; a new TLS connection costs the person a moment each time.
_KEEP_IDLE_S: Final = 600.0
# After the model's last word only the end of the body is missing; only with it the connection is used again.
_SOON_S: Final = 0.005
_DRAIN_S: Final = 0.1
_MAX_ERROR_BYTES: Final = 64 << 10


class HttpModel:
    """A `Model` over HTTP. Connections stay open between requests until `close`."""

    scripted = False

    def __init__(
        self,
        endpoint: Endpoint,
        wire_format: Format,
        *,
        options: Options = DEFAULTS,
        context_tokens: int | None = None,
        patience: Patience | None = None,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
    ) -> None:
        """`options` fill in for what a request does not ask for."""
        self.context_tokens = context_tokens
        self._endpoint = endpoint
        self._format = wire_format
        self._options = options
        self._patience = patience or Patience()
        self._clock = clock
        self._rng = rng or system_random()
        if find_spec("httpx") is None:
            raise MissingExtra("httpx", "agent")
        # Loading httpx takes a tenth of a second and more, in which the sandbox can start.
        self._loop = LoopThread(partial(_client, endpoint, self._patience))

    @property
    def name(self) -> str:
        return self._endpoint.name

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        wanted = _filled(options, self._options)
        body = msgspec.json.encode(self._format.body(self._endpoint, messages, tools, wanted))
        turn = len(messages)
        deltas = patiently(lambda: self._attempt(body, turn), self._patience, self._rng)
        return self._loop.iterate(deltas, is_last=lambda delta: isinstance(delta, Usage))

    def close(self) -> None:
        """Cancel what runs and close the connections."""
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def _attempt(self, body: bytes, turn: int) -> AsyncGenerator[Delta]:
        """One request and its reply."""
        import httpx

        decoder = self._format.decoder(self._endpoint, turn)
        url = self._endpoint.base_url + self._format.path
        headers = {
            **self._format.headers(self._endpoint),
            "content-type": "application/json",
            "accept": "text/event-stream",
            "accept-encoding": "identity",  # compression would hold tokens back
        }
        try:
            client = await self._loop.made()
            async with client.stream("POST", url, content=body, headers=headers) as response:
                if not _is_stream(response.status_code, response.headers):
                    said = await _read(response)
                    raise refusal(self._endpoint, response.status_code, response.headers, said, self._clock)
                chunks = response.aiter_bytes()
                async for delta in _deltas(chunks, decoder):
                    if isinstance(delta, Usage):
                        async with _drained(chunks):
                            yield delta
                    else:
                        yield delta
        except httpx.HTTPError as error:
            for delta in decoder.close():
                yield delta
            if not decoder.ended:
                raise self._lost(error) from error
        if not decoder.ended:
            raise Unavailable(f"`{self.name}` broke off in the middle of its reply", hint="try again")

    def _lost(self, error: httpx.HTTPError) -> Unavailable:
        what = self._endpoint.shown(str(error)) or type(error).__name__
        return Unavailable(
            f"the connection to `{self._endpoint.host}` failed: {what}",
            hint="check the address and the network, then try again",
        )


async def _deltas(chunks: AsyncGenerator[bytes] | Any, decoder: Decoder) -> AsyncGenerator[Delta]:
    """What the body holds, up to the model's word that the reply is whole."""
    parser = EventParser()
    async for chunk in chunks:
        for event in parser.feed(chunk):
            for delta in decoder.feed(event):
                yield delta
            if decoder.ended:
                return
    for event in parser.close():
        for delta in decoder.feed(event):
            yield delta
    if not decoder.ended:
        for delta in decoder.close():
            yield delta


@contextlib.asynccontextmanager
async def _drained(chunks: Any) -> AsyncGenerator[None]:
    """Read the end of the body, so that the connection can be used again: nearly always it is there already,
    and where it is not the reader does not wait for it."""
    draining = asyncio.create_task(_drain(chunks))
    try:
        await asyncio.wait({draining}, timeout=_SOON_S)
        yield
        await asyncio.wait({draining}, timeout=_DRAIN_S)
    finally:
        draining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await draining


async def _drain(chunks: Any) -> None:
    import httpx

    with contextlib.suppress(httpx.HTTPError):
        async for _ in chunks:
            pass


async def _read(response: httpx.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_ERROR_BYTES:
            break
    return body[:_MAX_ERROR_BYTES]


def _is_stream(status: int, headers: Mapping[str, str]) -> bool:
    return status == 200 and headers.get("content-type", "").partition(";")[0].strip() == "text/event-stream"


def _filled(options: Options, defaults: Options) -> Options:
    own = {name: value for name, value in msgspec.structs.asdict(options).items() if value not in (None, "")}
    return msgspec.structs.replace(defaults, **own)


def _client(endpoint: Endpoint, patience: Patience) -> httpx.AsyncClient:
    """A client that waits for as long as `Patience` lets it; a proxy has nothing to do with this machine."""
    import httpx

    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=patience.connect_s),
        limits=httpx.Limits(keepalive_expiry=_KEEP_IDLE_S),
        trust_env=not endpoint.is_this_machine,
        verify=endpoint.base_url.startswith("https:"),
        follow_redirects=False,
    )
