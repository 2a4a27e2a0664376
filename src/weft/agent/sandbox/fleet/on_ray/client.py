"""The fleet as its clients see it: upload a snapshot, run a command on it, or lease a sandbox around it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from weft.agent.sandbox.changes import Change
from weft.agent.sandbox.fleet.events import Priority
from weft.agent.sandbox.fleet.on_ray.coordinator import Coordinator, Granted, Wish
from weft.agent.sandbox.fleet.on_ray.daemon import Snapshot
from weft.agent.sandbox.fleet.on_ray.settings import COORDINATOR, NAMESPACE, FleetSettings, require_ray
from weft.agent.sandbox.fleet.on_ray.snapshots import pack
from weft.agent.sandbox.provider import Entry, Result, SandboxFailed
from weft.core.errors import Unavailable

# A run that loses its machine so often is itself what brings machines down.
_RUNS = 3
_AT_ONCE = 100_000


class MachineLost(SandboxFailed):
    """The machine went with the sandbox: what ran there may or may not have come to its end."""

    code = "machine_lost"


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What `Fleet.run` did."""

    result: Result
    changes: list[Change]
    """Of the snapshot's files, as the command left them."""
    machine: str
    runs: int
    """More than one where machines were lost."""


class Fleet:
    """A connection to the fleet of a Ray cluster. Threads may share it."""

    def __init__(self, coordinator: Any, lease_s: float, client: str, *, owns_ray: bool) -> None:
        self._coordinator = coordinator
        self._owns_ray = owns_ray
        self._client = client
        self._lock = threading.Lock()
        self._held: dict[int, Any] = {}
        self._closed = threading.Event()
        self._renewal = threading.Thread(target=self._renew, args=(lease_s / 5,), daemon=True)
        self._renewal.start()

    @classmethod
    def connect(
        cls, address: str = "auto", *, client: str | None = None, settings: FleetSettings | None = None
    ) -> Fleet:
        """Connect to the cluster, and begin the fleet there if there is none, which `settings` are for.

        `client` is who shares are counted for: this process unless it is named.
        """
        ray = require_ray()
        owns_ray = not ray.is_initialized()
        if owns_ray:
            try:
                ray.init(address=address, namespace=NAMESPACE, log_to_driver=False)
            except (ConnectionError, ray.exceptions.RaySystemError) as error:
                raise Unavailable(
                    f"no Ray cluster at `{address}`: {error}".splitlines()[0].rstrip("."), hint="ray start"
                ) from error
        coordinator = (
            ray.remote(Coordinator)
            .options(
                name=COORDINATOR,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                max_concurrency=_AT_ONCE,
                max_restarts=-1,
                max_task_retries=-1,
            )
            .remote(settings or FleetSettings())
        )
        told: FleetSettings = _answer(coordinator.settings.remote())
        return cls(
            coordinator, told.lease_s, client or f"{os.uname().nodename} {os.getpid()}", owns_ray=owns_ray
        )

    def snapshot(self, folder: str | os.PathLike[str]) -> str:
        """Upload the folder as it is now; the name that its content has, for `run` and `lease`."""
        ray = require_ray()
        name, data = pack(folder)
        keepers = _answer(self._coordinator.keepers.remote(name))
        if keepers:
            packed = ray.put(data)
            uploads = [keeper.keep.remote(name, packed) for keeper in keepers]
            kept = [keeper for keeper, each in zip(keepers, uploads, strict=True) if _succeeded(each)]
            if not kept:
                raise Unavailable("the machines that were to have the snapshot were lost", hint="try again")
            _answer(self._coordinator.kept.remote(name, kept))
        return name

    @contextlib.contextmanager
    def lease(
        self,
        snapshot: str,
        *,
        client: str | None = None,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
        memory_bytes: int | None = None,
        toolchain: Iterable[str] = (),
        hidden: Iterable[str] = (),
    ) -> Iterator[RemoteSandbox]:
        """A sandbox on the snapshot until the block ends; `NoSandbox` where there is none in time."""
        wish = Wish(
            client or self._client,
            Snapshot(snapshot, tuple(sorted(toolchain)), tuple(sorted(hidden))),
            priority,
            deadline_s,
            memory_bytes,
        )
        granted: Granted = _answer(self._coordinator.lease.remote(wish))
        with self._lock:
            self._held[granted.lease] = granted.daemon
        try:
            yield RemoteSandbox(granted)
        finally:
            with self._lock:
                del self._held[granted.lease]
            granted.daemon.give_back.remote(granted.lease)

    def run(
        self,
        snapshot: str,
        command: str | Sequence[str],
        *,
        safe_to_retry: bool = False,
        timeout_s: float = 600.0,
        folder: str = ".",
        environment: Mapping[str, str] | None = None,
        output_bytes: int | None = None,
        **lease: Any,
    ) -> Done:
        """Run one command in a sandbox of its own; `lease` as for `lease`.

        Where the machine is lost meanwhile, the command is run again on another if that is safe, else
        `MachineLost` is raised. Nothing that it did is kept either way, so that it is safe unless the caller
        knows of an effect outside the sandbox.
        """
        for runs in range(1, _RUNS + 1):
            try:
                with self.lease(snapshot, **lease) as box:
                    result = box.run(
                        command,
                        timeout_s=timeout_s,
                        folder=folder,
                        environment=environment,
                        output_bytes=output_bytes,
                    )
                    return Done(result=result, changes=box.changes(), machine=box.machine, runs=runs)
            except MachineLost:
                if not safe_to_retry or runs == _RUNS:
                    raise
        raise AssertionError("the last run returns or raises")

    def state(self) -> dict[str, Any]:
        """For people: machines, boxes, who waits, who has which snapshot."""
        found: dict[str, Any] = _answer(self._coordinator.state.remote())
        return found

    def metrics(self) -> str:
        """The fleet's metrics in Prometheus' text format."""
        return bytes(_answer(self._coordinator.metrics.remote())).decode()

    def close(self) -> None:
        """Disconnect; the fleet goes on. Leases that are held are given back."""
        self._closed.set()
        self._renewal.join()
        with self._lock:
            for lease, daemon in self._held.items():
                daemon.give_back.remote(lease)
        if self._owns_ray:
            require_ray().shutdown()

    def stop(self) -> None:
        """End the fleet, for all its clients: every sandbox closes, and nothing is left on the machines."""
        _answer(self._coordinator.stop.remote())
        require_ray().kill(self._coordinator)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _renew(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            with self._lock:
                held = list(self._held.items())
            leases: dict[Any, list[int]] = {}
            for lease, daemon in held:  # a machine is asked once, though each lease has a handle of its own
                leases.setdefault(daemon._actor_id, []).append(lease)
            for daemon in {daemon._actor_id: daemon for _, daemon in held}.values():
                daemon.renew.remote(leases[daemon._actor_id])


def _answer(reference: Any) -> Any:
    """What an actor of the fleet returned, or raised."""
    ray = require_ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise Unavailable("the fleet was stopped, or its machine was lost", hint="connect again") from error


def _succeeded(reference: Any) -> bool:
    try:
        _answer(reference)
    except Unavailable:
        return False
    return True


class RemoteSandbox:
    """A leased sandbox elsewhere. The methods are those of `Sandbox`, and so are their errors.

    There is no `commit`, since the real workspace is not where the sandbox is: `changes` are to be written by
    whoever holds it. `MachineLost` where the machine goes.
    """

    def __init__(self, granted: Granted) -> None:
        self._granted = granted

    @property
    def machine(self) -> str:
        """The address of the machine that has it."""
        return self._granted.machine

    @property
    def workspace(self) -> str:
        """Where the workspace is inside."""
        return self._granted.workspace

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout_s: float = 600.0,
        folder: str = ".",
        environment: Mapping[str, str] | None = None,
        output_bytes: int | None = None,
    ) -> Result:
        """Run one command to its end."""
        options = {
            "timeout_s": timeout_s,
            "folder": folder,
            "environment": dict(environment or {}),
            "output_bytes": output_bytes,
        }
        result: Result = self._call("run", command if isinstance(command, str) else list(command), **options)
        return result

    def read(self, path: str) -> bytes:
        """The file's bytes."""
        return bytes(self._call("read", path))

    def write(self, path: str, data: bytes) -> None:
        """Replace or create the file as a whole."""
        self._call("write", path, data)

    def stat(self, path: str) -> Entry:
        """What is at the path itself."""
        found: Entry = self._call("stat", path)
        return found

    def entries(self, path: str = ".") -> list[Entry]:
        """The folder's entries by name."""
        return list(self._call("entries", path))

    def resolve(self, path: str) -> str:
        """Where the path leads once every link is followed."""
        return str(self._call("resolve", path))

    def delete(self, path: str) -> None:
        """Delete a file, a link or an empty folder."""
        self._call("delete", path)

    def move(self, path: str, target: str) -> None:
        """Rename, replacing a file at the target."""
        self._call("move", path, target)

    def changes(self) -> list[Change]:
        """Every file and link that differs from the snapshot, by path."""
        return list(self._call("changes"))

    def diff(self) -> str:
        """The changes as `git diff` writes them."""
        return str(self._call("diff"))

    def discard(self) -> None:
        """Back to the snapshot."""
        self._call("discard")

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        ray = require_ray()
        # Not again by itself: a command may have run, though its answer was lost.
        call = self._granted.daemon.call.options(max_task_retries=0)
        try:
            return ray.get(call.remote(self._granted.lease, method, arguments, options))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise MachineLost(
                f"machine `{self.machine}` was lost, and `{method}` may or may not have been done there",
                hint="run it again on another, if doing it twice is safe",
            ) from error
