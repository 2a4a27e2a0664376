"""The actor that decides for all machines: the scheduler's shell, with daemons to do what it decides.

There is one, which Ray begins again elsewhere when its machine is lost. What it knew it asks of the daemons
then: leases go on, whoever waited asks again by itself (Ray repeats the call), all that idled is closed.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from weft.agent.sandbox.fleet.dispatcher import Dispatcher
from weft.agent.sandbox.fleet.events import Cancel, Event, Failed, Held, Member, Priority, Request
from weft.agent.sandbox.fleet.on_ray.daemon import Daemon, Roll, Snapshot
from weft.agent.sandbox.fleet.on_ray.post import Inbox
from weft.agent.sandbox.fleet.on_ray.settings import NAMESPACE, RESOURCE, FleetSettings, require_ray
from weft.core.clock import SYSTEM_CLOCK
from weft.core.errors import NotFound, Unavailable
from weft.core.telemetry import Telemetry, logger

# A machine that does not answer the roll call by then is asked again later.
_ROLL_CALL_S = 30.0
_AT_ONCE = 100_000


class Wish(msgspec.Struct, frozen=True):
    """What a client asks for."""

    client: str
    snapshot: Snapshot
    priority: Priority
    deadline_s: float | None
    memory_bytes: int | None


class Granted(msgspec.Struct, frozen=True):
    """The lease: its number, whom to show it, and where the workspace is inside."""

    lease: int
    machine: str
    """Its address, for people."""
    daemon: Any
    workspace: str


class _Far:
    """A machine elsewhere, as the dispatcher commands it."""

    def __init__(self, coordinator: Coordinator, node: str, address: str, daemon: Any, lost: Any) -> None:
        self.node = node
        self.address = address
        self.daemon = daemon
        self.lost = lost
        """Is done once the machine is lost."""
        self._coordinator = coordinator

    def open(self, number: int, snapshot: str) -> None:
        sources = self._coordinator.sources(snapshot, self.node)
        self.daemon.open.remote(self._coordinator.incarnation, number, snapshot, sources)

    def reset(self, number: int) -> None:
        self.daemon.reset.remote(number)

    def end(self, number: int) -> None:
        self.daemon.end.remote(number)


class Coordinator:
    """All requests of all clients come here; what a lease does goes to its machine directly."""

    def __init__(self, settings: FleetSettings) -> None:
        self.incarnation = SYSTEM_CLOCK.now_us()
        self._settings = settings
        self._telemetry = Telemetry()
        self._dispatcher = Dispatcher(
            settings.policy, SYSTEM_CLOCK, first=self.incarnation, recorder=self._telemetry
        )
        self._machines: dict[str, _Far] = {}
        self._holders: dict[str, dict[str, None]] = {}
        self._inbox = Inbox()
        self._complete = threading.Event()
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="weft-watch", daemon=True).start()

    async def lease(self, wish: Wish) -> Granted:
        """Wait for a box; `NoSandbox` where there is none in time, `NotFound` for a snapshot nobody has."""
        await self._begun()
        end_s = None if wish.deadline_s is None else SYSTEM_CLOCK.monotonic_s() + wish.deadline_s
        while True:
            if wish.snapshot.name not in self._holders:
                raise NotFound(f"no machine has snapshot `{wish.snapshot.name}`", hint="upload it again")
            left_s = None if end_s is None else end_s - SYSTEM_CLOCK.monotonic_s()
            granted = await self._lease(wish, left_s)
            if granted is not None:
                return granted

    async def settings(self) -> FleetSettings:
        """What the fleet was begun with."""
        return self._settings

    async def report(self, daemon: str, first: int, events: list[Event]) -> None:
        """What happened on a daemon's machine, from its event of that number on."""
        for event in self._inbox.fresh(daemon, first, events):
            self._dispatcher.feed(event)

    async def keepers(self, name: str) -> list[Any]:
        """Daemons that a new snapshot is to be given to; empty where enough have it."""
        await self._begun()
        if not self._machines:
            raise Unavailable(
                "the fleet has no machine", hint=f"start Ray's nodes with the resource `{RESOURCE}`"
            )
        with self._dispatcher.lock:
            holders = self._holders.get(name, {})
            missing = max(0, self._settings.copies - len(holders))
            others = [machine for node, machine in self._machines.items() if node not in holders]
        # By the name, so that different snapshots go to different machines.
        others.sort(key=lambda machine: zlib.crc32(f"{name} {machine.node}".encode()))
        return [machine.daemon for machine in others[:missing]]

    async def kept(self, name: str, daemons: Sequence[Any]) -> None:
        """The daemons have the snapshot."""
        actors = {daemon._actor_id for daemon in daemons}
        with self._dispatcher.lock:
            for node, machine in self._machines.items():
                if machine.daemon._actor_id in actors:
                    self._hold(name, node)

    async def state(self) -> dict[str, Any]:
        """For people and tests: machines, boxes, who waits, who has which snapshot."""
        await self._begun()
        with self._dispatcher.lock:
            return {
                "incarnation": self.incarnation,
                "machines": {node: machine.address for node, machine in self._machines.items()},
                "boxes": self._dispatcher.boxes,
                "leased": self._dispatcher.leased,
                "waiting": self._dispatcher.waiting,
                "snapshots": {name: sorted(nodes) for name, nodes in self._holders.items()},
            }

    async def metrics(self) -> bytes:
        """In Prometheus' text format, since this coordinator began."""
        return self._telemetry.exposition()

    async def stop(self) -> None:
        """Close all sandboxes and end the daemons; nothing is left on the machines."""
        ray = require_ray()
        self._stopped.set()
        for machine in list(self._machines.values()):
            try:
                await machine.daemon.stop.remote()
            except ray.exceptions.RayError:
                continue
            ray.kill(machine.daemon)

    async def _begun(self) -> None:
        """Until the first roll call is over: before it, what is leased would count as free."""
        if not self._complete.is_set():
            await asyncio.to_thread(self._complete.wait)

    def sources(self, snapshot: str, node: str) -> list[Any]:
        """Daemons that the node's may fetch the snapshot from; none where it has it."""
        name = msgspec.json.decode(snapshot, type=Snapshot).name
        holders = self._holders.get(name, {})
        if node in holders:
            return []
        self._hold(name, node)
        return [self._machines[each].daemon for each in holders if each in self._machines and each != node]

    async def _lease(self, wish: Wish, left_s: float | None) -> Granted | None:
        """None where the box turned out to be broken or its machine lost, and another is to be asked for."""
        snapshot = msgspec.json.encode(wish.snapshot).decode()
        memory_bytes = wish.memory_bytes or self._settings.box_bytes
        with self._dispatcher.lock:
            homes = tuple(self._holders.get(wish.snapshot.name, ()))
            number, outcome = self._dispatcher.request(
                wish.client, snapshot, memory_bytes, wish.priority, left_s, homes
            )
        try:
            grant = await asyncio.wrap_future(outcome)
        except asyncio.CancelledError:
            self._dispatcher.feed(Cancel(number))
            raise
        machine = self._machines.get(self._dispatcher.place(grant.box) or "")
        if machine is None:
            return None
        request = Request(number, wish.client, snapshot, memory_bytes, wish.priority)
        try:
            workspace = await machine.daemon.lend.remote(request, grant.box)
        except require_ray().exceptions.RayActorError:
            self._leave(machine)
            return None
        if workspace is None:
            self._dispatcher.feed(Failed(grant.box, "the sandbox no longer answers"))
            return None
        return Granted(number, machine.address, machine.daemon, workspace)

    # Machines come and go

    def _watch(self) -> None:
        """Ask Ray for its nodes now and then; wait for lost ones all the time."""
        ray = require_ray()
        while not self._stopped.is_set():
            try:
                self._meet(
                    [
                        node
                        for node in ray.nodes()
                        if node["Alive"] and node["Resources"].get(RESOURCE, 0) >= 1
                    ]
                )
                self._complete.set()
                self._wait_for_lost()
            except Exception:
                # Whatever it is, a fleet that no longer looks would neither grow nor notice a loss.
                logger("weft.fleet").exception("looking for machines failed, and is tried again")
                self._stopped.wait(self._settings.watch_s)

    def _wait_for_lost(self) -> None:
        lost = {machine.lost: machine for machine in self._machines.values()}
        if not lost:
            self._stopped.wait(self._settings.watch_s)
            return
        done, _ = require_ray().wait(list(lost), timeout=self._settings.watch_s)
        for each in done:
            self._leave(lost[each])

    def _meet(self, nodes: list[dict[str, Any]]) -> None:
        """Have a daemon on every new node, and take over what it has."""
        ray = require_ray()
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        rolls: dict[Any, tuple[dict[str, Any], Any]] = {}
        for node in nodes:
            if node["NodeID"] not in self._machines:
                daemon = (
                    ray.remote(Daemon)
                    .options(
                        name=f"weft-machine-{node['NodeID']}",
                        namespace=NAMESPACE,
                        lifetime="detached",
                        get_if_exists=True,
                        num_cpus=0,
                        resources={RESOURCE: node["Resources"][RESOURCE]},
                        scheduling_strategy=strategy(node["NodeID"], soft=False),
                        max_concurrency=_AT_ONCE,
                        max_task_retries=-1,
                    )
                    .remote(self._settings)
                )
                rolls[daemon.roll_call.remote(self.incarnation)] = node, daemon
        done, _ = ray.wait(list(rolls), num_returns=len(rolls), timeout=_ROLL_CALL_S) if rolls else ([], [])
        for each in done:
            node, daemon = rolls[each]
            try:
                self._join(node, daemon, ray.get(each))
            except ray.exceptions.RayError as error:
                logger("weft.fleet").warning(
                    "machine cannot take part", machine=node["NodeManagerAddress"], reason=f"{error}"
                )

    def _join(self, node: dict[str, Any], daemon: Any, roll: Roll) -> None:
        name = node["NodeID"]
        machine = _Far(self, name, node["NodeManagerAddress"], daemon, daemon.until_lost.remote())
        memory_bytes = int(node["Resources"][RESOURCE]) << 20
        with self._dispatcher.lock:
            self._machines[name] = machine
            for snapshot in roll.snapshots:
                self._hold(snapshot, name)
            self._dispatcher.join(machine, Member(name, memory_bytes, self._settings.starts_at_once))
            for lease in roll.leases:
                self._dispatcher.feed(Held(lease.request, lease.box, name))

    def _leave(self, machine: _Far) -> None:
        with self._dispatcher.lock:
            if self._machines.get(machine.node) is not machine:
                return
            del self._machines[machine.node]
            for name, nodes in list(self._holders.items()):
                nodes.pop(machine.node, None)
                if not nodes:
                    del self._holders[name]
            self._dispatcher.leave(machine.node, f"machine `{machine.address}` was lost")

    def _hold(self, name: str, node: str) -> None:
        with self._dispatcher.lock:
            self._holders.setdefault(name, {})[node] = None
