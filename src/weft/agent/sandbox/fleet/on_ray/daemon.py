"""The actor of one machine: its sandboxes, the leases on them, and the snapshots that they stand on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from weft.agent.sandbox import state
from weft.agent.sandbox.fleet.events import LEAKED, Event, Failed, Finished, Gone, Request
from weft.agent.sandbox.fleet.machine import Ground, Machine
from weft.agent.sandbox.fleet.on_ray.leases import Lease, Leases
from weft.agent.sandbox.fleet.on_ray.post import Outbox
from weft.agent.sandbox.fleet.on_ray.settings import COORDINATOR, NAMESPACE, FleetSettings, require_ray
from weft.agent.sandbox.fleet.on_ray.snapshots import Shelf
from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.provider import SandboxFailed, SandboxProvider
from weft.agent.sandbox.unconfined import Unconfined
from weft.core.clock import SYSTEM_CLOCK
from weft.core.errors import NotFound

# What a lease may call. A commit has no meaning here: the workspace is at the client.
CALLS = frozenset(
    {"run", "read", "write", "stat", "entries", "resolve", "delete", "move", "changes", "diff", "discard"}
)
# One for each call under way; a thread that waits for a command takes some kilobytes.
_CALLS_AT_ONCE = 8_192


_PROVIDERS: dict[str, Callable[..., SandboxProvider]] = {"namespaces": Namespaces, "unconfined": Unconfined}


class Snapshot(msgspec.Struct, frozen=True):
    """What a request's box is opened on; its JSON is the scheduler's name for it."""

    name: str
    toolchain: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


class Roll(msgspec.Struct, frozen=True):
    """What a machine has, for a coordinator that begins."""

    leases: list[Lease]
    snapshots: list[str]


class _Fetching:
    """The machine's shelf, filled from other machines where something is missing."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.sources: dict[str, Sequence[Any]] = {}

    def take(self, snapshot: str) -> Ground:
        wanted = msgspec.json.decode(snapshot, type=Snapshot)
        self.shelf.put(wanted.name, lambda: self._fetch(wanted.name))
        return Ground(self.shelf.take(wanted.name), wanted.toolchain, wanted.hidden)

    def give_back(self, snapshot: str) -> None:
        self.shelf.give_back(msgspec.json.decode(snapshot, type=Snapshot).name)

    def _fetch(self, name: str) -> bytes:
        ray = require_ray()
        for source in self.sources.pop(name, ()):
            with contextlib.suppress(ray.exceptions.RayError):
                data: bytes | None = ray.get(source.fetch.remote(name))
                if data is not None:
                    return data
        raise NotFound(f"no machine has snapshot `{name}` any longer", hint="upload it again")


class Daemon:
    """One for each machine of the fleet. Methods return at once, but for `lend`, `call`, `keep`, `fetch`."""

    def __init__(self, settings: FleetSettings) -> None:
        # Removed by the next daemon there, should this one be killed.
        self._home = state.new(settings.state)
        os.mkdir(self._home, 0o700)
        self._grounds = _Fetching(Shelf(self._home, settings.cache_bytes))
        self._leases = Leases(settings.lease_s)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="weft-call")
        self._machine = Machine(
            _PROVIDERS[settings.provider](state=self._home),
            self._grounds,
            self._report,
            starts_at_once=settings.starts_at_once,
            limits=settings.limits,
        )
        self._outbox = Outbox()
        self._incarnation = 0
        self._check_s = settings.lease_s / 10
        threading.Thread(target=self._expire, name="weft-leases", daemon=True).start()

    # For the coordinator

    async def roll_call(self, incarnation: int) -> Roll:
        """A coordinator begins: what is leased stays, everything else ends, and older orders are void."""
        with self._lock:
            self._incarnation = incarnation
            leases = self._leases.all()
        for box in set(self._machine.boxes) - {lease.box for lease in leases}:
            self._machine.end(box)
        return Roll(leases, self._grounds.shelf.names)

    async def until_lost(self) -> None:
        """Never returns: it raises at whoever waits when this machine is lost."""
        await asyncio.Event().wait()

    async def open(self, incarnation: int, number: int, snapshot: str, sources: Sequence[Any]) -> None:
        """Open a box; `sources` are daemons that have the snapshot, empty where this one has it."""
        if incarnation == self._incarnation:
            if sources:
                self._grounds.sources[msgspec.json.decode(snapshot, type=Snapshot).name] = sources
            self._machine.open(number, snapshot)

    async def reset(self, number: int) -> None:
        """Bring the box back to new; not one that is lent, which only an order that is repeated can ask."""
        with self._lock:
            lent = self._leases.holds(number)
        if not lent:
            self._machine.reset(number)

    async def end(self, number: int) -> None:
        """Close the box, whoever holds it."""
        with self._lock:
            self._leases.end_box(number)
        self._machine.end(number)

    async def lend(self, request: Request, box: int) -> str | None:
        """The box is the request's: where the workspace is inside, None where the sandbox is broken."""
        if not await self._in_thread(self._machine.healthy, box):
            return None
        sandbox = self._machine.sandbox(box)
        with self._lock:
            self._leases.add(Lease(request, box), SYSTEM_CLOCK.monotonic_s())
        return None if sandbox is None else sandbox.workspace

    # For clients

    async def call(self, lease: int, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call a method of the leased sandbox."""
        with self._lock:
            held = self._leases.renew(lease, SYSTEM_CLOCK.monotonic_s())
        sandbox = None if held is None else self._machine.sandbox(held.box)
        if sandbox is None or method not in CALLS:
            raise SandboxFailed("the lease has ended", hint="lease a sandbox again")
        return await self._in_thread(lambda: getattr(sandbox, method)(*arguments, **options))

    async def renew(self, leases: Sequence[int]) -> None:
        """Their holders live."""
        with self._lock:
            for lease in leases:
                self._leases.renew(lease, SYSTEM_CLOCK.monotonic_s())

    async def give_back(self, lease: int) -> None:
        """The lease ends."""
        with self._lock:
            held = self._leases.end(lease)
        if held is not None:
            self._report(Finished(lease))

    async def keep(self, name: str, data: bytes) -> None:
        """Have the snapshot."""
        await self._in_thread(self._grounds.shelf.put, name, lambda: data)

    async def stop(self) -> None:
        """End everything, leave nothing behind."""
        with self._lock:
            self._incarnation = 0
        for box in self._machine.boxes:
            self._machine.end(box)
        while self._machine.boxes:
            await asyncio.sleep(0.01)
        shutil.rmtree(self._home, ignore_errors=True)

    async def fetch(self, name: str) -> bytes | None:
        """The packed snapshot, None where it is not here."""
        data: bytes | None = await self._in_thread(self._grounds.shelf.read, name)
        return data

    # Inside

    def _report(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Failed | Gone):
                self._leases.end_box(event.box)
            self._outbox.add(event)
        self._send()

    def _send(self) -> None:
        with self._lock:
            letter = self._outbox.next()
        if letter is not None:
            answer = self._coordinator.report.remote(self._home, *letter).future()
            answer.add_done_callback(lambda _: self._sent())

    def _sent(self) -> None:
        with self._lock:
            self._outbox.delivered()
        self._send()

    @functools.cached_property
    def _coordinator(self) -> Any:
        return require_ray().get_actor(COORDINATOR, namespace=NAMESPACE)

    def _expire(self) -> None:
        while True:
            SYSTEM_CLOCK.sleep(self._check_s)
            with self._lock:
                over = self._leases.expire(SYSTEM_CLOCK.monotonic_s())
            for lease in over:
                self._report(Failed(lease.box, LEAKED))

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
