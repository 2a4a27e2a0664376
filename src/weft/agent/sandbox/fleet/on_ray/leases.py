"""Who holds which box of a machine, and until when: a table without I/O."""

from __future__ import annotations

import msgspec

from weft.agent.sandbox.fleet.events import Request


class Lease(msgspec.Struct, frozen=True):
    """A box that was granted to a request, whose number is the lease's."""

    request: Request
    box: int


class Leases:
    """Leases that end unless their holder is heard of in time."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._leases: dict[int, Lease] = {}
        self._ends_s: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, lease: Lease, now_s: float) -> None:
        """The lease begins."""
        number = lease.request.request
        self._leases[number] = lease
        self._ends_s[number] = now_s + self._lease_s

    def renew(self, number: int, now_s: float) -> Lease | None:
        """Its holder was heard of; None where the lease is over."""
        lease = self._leases.get(number)
        if lease is not None:
            self._ends_s[number] = now_s + self._lease_s
        return lease

    def end(self, number: int) -> Lease | None:
        """Its holder gives it back; None where it was over already."""
        self._ends_s.pop(number, None)
        return self._leases.pop(number, None)

    def holds(self, box: int) -> bool:
        """Whether somebody has the box."""
        return any(lease.box == box for lease in self._leases.values())

    def end_box(self, box: int) -> None:
        """The box is no more."""
        for number in [number for number, lease in self._leases.items() if lease.box == box]:
            self.end(number)

    def expire(self, now_s: float) -> list[Lease]:
        """End those whose holders were not heard of in time."""
        over = [number for number, end_s in self._ends_s.items() if end_s <= now_s]
        return [lease for number in over if (lease := self.end(number))]

    def all(self) -> list[Lease]:
        """Those that are not over."""
        return list(self._leases.values())
