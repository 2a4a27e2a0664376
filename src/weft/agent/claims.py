"""One process at a time drives a session: claims in the store, which end with their process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from weft.core.clock import Clock
from weft.core.codec import decode, encode
from weft.core.errors import Conflict
from weft.core.ids import IdSource
from weft.kv.model import ItemWrite, Keys, Namespace
from weft.kv.store import KeyValueStore

CLAIMS: Final = "agent.claims"

# Longer than any command and any reply; a claim of a machine that died is in nobody's way after this.
_LASTS_S: Final = 1_800.0
_RENEW_AFTER_US: Final = 60 * 1_000_000


class Claim(msgspec.Struct, frozen=True):
    """Who drives a session. `machine` names where process ids mean something: a boot and a pid namespace."""

    id: str
    machine: str
    pid: int
    started: str
    """Tells the process from a later one with the same number."""

    def is_alive(self) -> bool:
        """Whether the process may still run; one on another machine is taken to."""
        return self.machine != _machine() or _started(self.pid) == self.started


class Claims:
    """The claims on sessions, in the session store or in this process."""

    def __init__(self, store: KeyValueStore | None, clock: Clock, ids: IdSource) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._local: dict[str, Claim] = {}
        self._renewed_us: dict[str, int] = {}
        self._mine: dict[str, Claim] = {}
        if store:
            store.configure(Namespace(name=CLAIMS))

    @contextmanager
    def hold(self, session: str) -> Iterator[None]:
        """Hold a session alone; `Conflict` where another process, or another part of this one, does.

        A claim is written before the others are read, so of two at the same moment at least one sees the
        other; at worst both are refused.
        """
        claim = Claim(self._ids.new(), _machine(), os.getpid(), _started(os.getpid()))
        self._write(session, claim)
        try:
            for other in self._others(session, claim):
                raise Conflict(
                    f"the session `{session}` is being driven by process {other.pid}",
                    hint="wait for it to end, or fork the session",
                    pid=other.pid,
                )
            self._mine[session] = claim
            yield
        finally:
            self._mine.pop(session, None)
            self._remove(session, claim)

    def renew(self, session: str) -> None:
        """Keep the claim on a session that goes on, if this process holds one."""
        claim = self._mine.get(session)
        if claim and self._clock.now_us() - self._renewed_us.get(claim.id, 0) > _RENEW_AFTER_US:
            self._write(session, claim)

    def holder(self, session: str) -> Claim | None:
        """Who drives the session now."""
        return next(iter(self._others(session, None)), None)

    def _others(self, session: str, own: Claim | None) -> Iterator[Claim]:
        for claim in self._read(session):
            if (own is None or claim.id != own.id) and claim.is_alive():
                yield claim

    def _read(self, session: str) -> list[Claim]:
        if not self._store:
            return [claim for key, claim in self._local.items() if key.startswith(f"{session}\0")]
        items = self._store.get_items(CLAIMS, [session.encode()]).items()
        return [decode(item.value, Claim, "a claim") for item in items]

    def _write(self, session: str, claim: Claim) -> None:
        self._renewed_us[claim.id] = self._clock.now_us()
        if self._store:
            write = ItemWrite(claim.id.encode(), encode(claim), ttl_s=_LASTS_S)
            self._store.put_items(CLAIMS, session.encode(), [write], event_time_us=self._clock.now_us())
        else:
            self._local[f"{session}\0{claim.id}"] = claim

    def _remove(self, session: str, claim: Claim) -> None:
        self._renewed_us.pop(claim.id, None)
        if self._store:
            own = Keys((claim.id.encode(),))
            self._store.delete(CLAIMS, session.encode(), own, event_time_us=self._clock.now_us())
        else:
            self._local.pop(f"{session}\0{claim.id}", None)


def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return os.uname().nodename


def _started(pid: int) -> str:
    """When a process of this machine began, in the kernel's ticks; empty where there is none, and where the
    system does not tell, whether it is there."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        if os.path.isdir("/proc/self"):
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "here"
    return "here"
