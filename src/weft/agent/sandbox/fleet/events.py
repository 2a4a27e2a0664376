"""The words between the scheduler and its shell: what happened, and what to do about it.

A *member* is a machine of the fleet, a *box* one sandbox on it, a *request* somebody's wish for a box.
Instants are microseconds of one monotonic clock, and come in with each step.
"""

from __future__ import annotations

import enum

import msgspec


class Priority(enum.IntEnum):
    """Who goes first. A request that waits rises to the priority above after the policy's `aging_us`."""

    INTERACTIVE = 0
    """A person waits for it."""
    NORMAL = 1
    BATCH = 2
    """Nobody waits: evaluations, training."""


class Request(msgspec.Struct, frozen=True):
    """Somebody wants a box. Its outcome is exactly one `Grant` or `Reject`."""

    request: int
    """Its number, never used before."""
    client: str
    snapshot: str
    """What the box is opened on; only a box of the same snapshot and size can stand in for a new one."""
    memory_bytes: int
    """Set aside for it on its member as long as the box exists."""
    priority: Priority = Priority.NORMAL
    deadline_us: int | None = None
    """The instant from which on a grant is of no use."""
    homes: tuple[str, ...] = ()
    """Members that are known to have the snapshot: new boxes open there first."""


class Cancel(msgspec.Struct, frozen=True):
    """The request is no longer wanted; means nothing once it has its outcome."""

    request: int


class Ready(msgspec.Struct, frozen=True):
    """The box was opened, or was reset and the reset verified."""

    box: int


class Finished(msgspec.Struct, frozen=True):
    """The holder of the request's box has given it back."""

    request: int


class Failed(msgspec.Struct, frozen=True):
    """The box could not be opened or reset, or a health check found it broken, in whatever state it was."""

    box: int
    reason: str


class Gone(msgspec.Struct, frozen=True):
    """The box was closed and holds no memory any longer; the answer to `Retire`."""

    box: int


class Member(msgspec.Struct, frozen=True):
    """A machine has joined, or can bear more or less than before; nothing at all when it leaves."""

    member: str
    memory_bytes: int
    """Of all its boxes together."""
    starts_at_once: int
    """Boxes that it opens or resets side by side, before each takes longer: starts/s times s of one."""


class Held(msgspec.Struct, frozen=True):
    """The member's box has been the request's since before this scheduler began."""

    request: Request
    box: int
    member: str


class Tick(msgspec.Struct, frozen=True):
    """Time has passed; due at `Scheduler.next_tick_us`."""


class Close(msgspec.Struct, frozen=True):
    """No more requests; what waits is rejected, what idles is retired, what is leased may finish."""


class Reason(enum.Enum):
    """Why a request was rejected. The value is the sentence for people."""

    CANCELLED = "the request was cancelled"
    CLIENT_QUEUE_FULL = "the queue is full, and this client's part of it is used up"
    CLOSING = "the fleet is closing"
    DEADLINE = "no sandbox came free before the deadline"
    DUPLICATE = "a request of this number is already known"
    NO_MEMBERS = "no machine of the fleet is up"
    START_FAILED = "sandboxes for it could not be opened"
    TOO_LARGE = "it asks for more memory than any machine of the fleet has"


class Queued(msgspec.Struct, frozen=True):
    """The request waits; about `wait_us` by what has been measured so far."""

    request: int
    wait_us: int


class Reject(msgspec.Struct, frozen=True):
    """The request ends without a box."""

    request: int
    reason: Reason
    retry_after_us: int | None
    """How long from now until trying again makes sense; None where it never does as things are."""


class Grant(msgspec.Struct, frozen=True):
    """The box is the request's until `Finished`."""

    request: int
    box: int


class Start(msgspec.Struct, frozen=True):
    """Open a box; answer `Ready` or `Failed`."""

    box: int
    member: str
    snapshot: str
    memory_bytes: int


class Recycle(msgspec.Struct, frozen=True):
    """Reset the box and verify it; answer `Ready`, or `Failed` where it is not as new."""

    box: int


LEAKED = "its holder did not give it back in time"


class Retire(msgspec.Struct, frozen=True):
    """Close the box, whoever holds it; answer `Gone`."""

    box: int
    reason: str


Event = Request | Cancel | Ready | Finished | Failed | Gone | Member | Held | Tick | Close
Decision = Queued | Reject | Grant | Start | Recycle | Retire
