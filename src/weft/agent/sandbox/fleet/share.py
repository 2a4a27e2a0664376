"""Whose turn it is: priorities that age, and start-time fair queueing among the clients of each.

Each level (priority) has a virtual time, which moves on to the tag of what is taken. A request is tagged,
when it enters a level, with the later of the level's virtual time and the instant at which the earlier
requests of its client will have had their share; the least tag is next. So a client that was idle goes first,
one that asks for a thousand gets one in turn with every other, and what a client did not use is not saved up,
but for a few credits: a client without a backlog may enter that many requests at the front at once. When a
level empties, everybody there has had what they wanted, and all begin anew.

Hence the bound: once in the first level, a request of a client without a backlog waits for at most
`burst + 1` requests of each other client, of the cost expected; it is there after a promotion for each level.

Source: Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM 1996.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

# Idle clients and dropped requests are swept out once they outnumber the rest, and are at least so many.
_SPARE = 1_024


class Entry:
    """A request in its level. `cost` is in byte-seconds or any other unit that all share."""

    __slots__ = ("charge", "client", "cost", "key", "level", "order", "tag")

    def __init__(self, key: int, client: str, level: int, cost: float) -> None:
        self.key = key
        self.client = client
        self.level = level
        self.cost = cost
        self.charge = 0.0
        self.tag = 0.0
        self.order = 0


class _Client:
    """Per level: `tags` is where the next request goes, `taken` the same had nothing been waiting."""

    __slots__ = ("credits", "credits_us", "tags", "taken", "waiting", "weight")

    def __init__(self, levels: int, weight: float, burst: float, now_us: int) -> None:
        self.tags = [0.0] * levels
        self.taken = [0.0] * levels
        self.waiting = [0] * levels
        self.weight = weight
        self.credits = burst
        self.credits_us = now_us


class FairQueue:
    """Requests by level, then by their client's share. Everything is O(log n), amortised."""

    def __init__(
        self, levels: int, *, weights: Mapping[str, float], burst: int, credits_per_s: float
    ) -> None:
        """`weights` are relative shares, 1 where a client is not named."""
        self._weights = weights
        self._burst = burst
        self._credits_per_s = credits_per_s
        self._heaps: list[list[tuple[float, int, Entry]]] = [[] for _ in range(levels)]
        self._virtual = [0.0] * levels
        self._ends = [0.0] * levels
        self._waiting = [0] * levels
        self._entries: dict[int, Entry] = {}
        self._clients: dict[str, _Client] = {}
        self._active = 0
        self._order = 0
        self._sweep_at = _SPARE

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: int) -> bool:
        return key in self._entries

    def waiting(self, client: str) -> int:
        """How many requests of the client wait."""
        known = self._clients.get(client)
        return 0 if known is None else sum(known.waiting)

    @property
    def active(self) -> int:
        """How many clients have something waiting."""
        return self._active

    def add(self, entry: Entry, now_us: int) -> None:
        """Enter a request into its level, behind what its client has there already."""
        client = self._client(entry.client, now_us)
        level, virtual = entry.level, self._virtual[entry.level]
        entry.tag = max(virtual, client.tags[level])
        if entry.tag > virtual or not self._pay(client, now_us):
            entry.charge = entry.cost / client.weight
            client.tags[level] = entry.tag + entry.charge
        self._order += 1
        entry.order = self._order
        self.put_back(entry, now_us)

    def put_back(self, entry: Entry, now_us: int) -> None:
        """Let a request that was taken wait again, in its old place."""
        client = self._client(entry.client, now_us)
        self._active += not any(client.waiting)
        client.waiting[entry.level] += 1
        self._waiting[entry.level] += 1
        self._entries[entry.key] = entry
        heap = self._heaps[entry.level]
        heapq.heappush(heap, (entry.tag, entry.order, entry))
        if len(heap) > 2 * len(self._entries) + _SPARE:
            heap[:] = [each for each in heap if self._entries.get(each[2].key) is each[2]]
            heapq.heapify(heap)

    def promote(self, key: int, now_us: int) -> Entry:
        """Move a request to the level above, where it is tagged anew."""
        old = self.drop(key)
        entry = Entry(key, old.client, old.level - 1, old.cost)
        self.add(entry, now_us)
        return entry

    def head(self) -> Entry | None:
        """Who is next."""
        for heap in self._heaps:
            while heap:
                entry = heap[0][2]
                if self._entries.get(entry.key) is entry:
                    return entry
                heapq.heappop(heap)
        return None

    def take(self, key: int) -> Entry:
        """The head's turn has come."""
        entry = self._entries[key]
        client, level = self._clients[entry.client], entry.level
        self._virtual[level] = max(self._virtual[level], entry.tag)
        client.taken[level] = max(client.taken[level], entry.tag + entry.charge)
        self._ends[level] = max(self._ends[level], entry.tag + entry.charge)
        if self._waiting[level] == 1:
            self._virtual[level] = self._ends[level]
        return self.drop(key)

    def drop(self, key: int) -> Entry:
        """Forget a request. Once nothing of its client waits in the level, only what was taken is charged."""
        entry = self._entries.pop(key)
        client, level = self._clients[entry.client], entry.level
        client.waiting[level] -= 1
        self._waiting[level] -= 1
        if not client.waiting[level]:
            client.tags[level] = client.taken[level]
            self._active -= not any(client.waiting)
        return entry

    def correct(self, entry: Entry, cost: float) -> None:
        """Charge the entry's client what it cost in the end instead of what was expected."""
        client = self._clients.get(entry.client)
        if client is not None:
            change = (cost - entry.cost) / client.weight
            client.tags[entry.level] += change
            client.taken[entry.level] += change

    def _pay(self, client: _Client, now_us: int) -> bool:
        earned = (now_us - client.credits_us) / 1e6 * self._credits_per_s
        client.credits = min(self._burst, client.credits + earned)
        client.credits_us = now_us
        if client.credits < 1:
            return False
        client.credits -= 1
        return True

    def _client(self, name: str, now_us: int) -> _Client:
        found = self._clients.get(name)
        if found is None:
            if len(self._clients) >= self._sweep_at:
                self._forget_idle(now_us)
                self._sweep_at = 2 * len(self._clients) + _SPARE
            found = _Client(len(self._heaps), self._weights.get(name, 1.0), self._burst, now_us)
            self._clients[name] = found
        return found

    def _forget_idle(self, now_us: int) -> None:
        """Drop the clients that a new one would not differ from."""
        full_s = self._burst / self._credits_per_s if self._credits_per_s else 0.0
        for name, client in list(self._clients.items()):
            settled = all(tag <= at for tag, at in zip(client.tags, self._virtual, strict=True))
            if not any(client.waiting) and settled and (now_us - client.credits_us) / 1e6 >= full_s:
                del self._clients[name]
