"""May this call be made: the question that every tool call asks before it runs."""

from __future__ import annotations

import enum
import posixpath
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from weft.agent.commands import identity, network_programs
from weft.core.clock import SYSTEM_CLOCK, Clock

SESSION_APPROVAL_S: Final = 8 * 3_600.0
"""How long a person's consent for a session lasts: a working day."""

Action = Literal["read", "write", "run", "connect", "land", "see", "run_outside"]
"""Read or write a file, run a command in the sandbox, reach a host, or land the change in the real workspace;
let a command see a place, read-only, or run a command outside the sandbox."""


class Resource(msgspec.Struct, frozen=True):
    """What an action is done to: a file by its path in the workspace (`.` is all of it), a command as it is
    written, a host by its name, the workspace by its folder, or a place: a path of the host, absolute and
    without links, that lies outside the workspace."""

    kind: Literal["file", "command", "host", "workspace", "place"]
    name: str


class Access(msgspec.Struct, frozen=True):
    """What one tool call wants to do."""

    action: Action
    resource: Resource


class Answer(enum.Enum):
    """What a person says where the policy asks."""

    ONCE = "allow once"
    SESSION = "allow for the session"
    OUTSIDE = "run it outside"
    """The command outside the sandbox, once; also where something less was asked for."""
    OUTSIDE_SESSION = "run it outside for the session"
    REFUSE = "refuse"


CONSENT: Final = (Answer.ONCE, Answer.SESSION, Answer.REFUSE)
TO_LEAVE: Final = (Answer.OUTSIDE, Answer.OUTSIDE_SESSION, Answer.REFUSE)
"""What may be said to `run_outside`: a consent that was not meant for it never leaves the sandbox."""


class Question(msgspec.Struct, frozen=True):
    """May the session, acting for the user, use the tool for this access?"""

    session: str
    user: str
    tool: str
    access: Access
    answers: tuple[Answer, ...] = CONSENT
    """What a person may say to it; anything else is a refusal."""


class Allow(msgspec.Struct, frozen=True, tag="allow"):
    reason: str = ""


class Deny(msgspec.Struct, frozen=True, tag="deny"):
    reason: str


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A person has to say; `reason` tells what for."""

    reason: str


Decision = Allow | Deny | Ask


class Policy(Protocol):
    """Answers questions of access.

    Promises.

    - Only the question and the policy's own state count: nothing that a model or file says widens a right.
    - `Deny` is final for the access; its reason is shown to the model and must hold no secret. What a command
      lacked is another access, `see` or `run_outside`, and asked for by itself.
    - `Ask` leaves the answer to a person; where none is at hand it is a denial.
    - A policy that cannot reach its store raises (`Unavailable`); the call is then not run.
    - Asking changes nothing, may be repeated, and may be done from several threads.
    - What `hidden` names may not be read. The sandbox covers these paths, since commands are not asked about
      file by file; a path that `decide` denies and `hidden` leaves out is open to them.
    """

    def decide(self, question: Question) -> Decision:
        """The answer to one question, as of now."""

    def approve(self, session: str, access: Access, for_s: float) -> object:
        """A person lets the session do for a while what `decide` asks about."""

    def hidden(self, session: str, user: str) -> Sequence[str]:
        """The paths in the workspace that may not be read; a folder stands for all in it."""


class RulePolicy:
    """The default: reads and writes in the sandboxed copy and local commands are allowed, everything outside
    and the network are denied; landing a change asks, and so does giving a command more than the sandbox has.
    Approvals are forgotten with the process."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._approved: dict[tuple[str, Access], float] = {}

    def decide(self, question: Question) -> Decision:
        """By the rules above, and what a person approved for the session."""
        decision = _by_rule(question.access)
        if isinstance(decision, Ask):
            until_s = self._approved.get((question.session, _same(question.access)))
            if until_s is not None and self._clock.monotonic_s() < until_s:
                return Allow("a person allowed it for the session")
        return decision

    def approve(self, session: str, access: Access, for_s: float) -> object:
        self._approved[session, _same(access)] = self._clock.monotonic_s() + for_s
        return None

    def hidden(self, session: str, user: str) -> Sequence[str]:
        return ()


class ReadOnly:
    """Another policy, of which nothing but reading is left: for plans and sub-agents."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def decide(self, question: Question) -> Decision:
        if question.access.action != "read":
            return Deny(f"only reading is allowed here, not to {question.access.action}")
        return self._policy.decide(question)

    def approve(self, session: str, access: Access, for_s: float) -> object:
        return self._policy.approve(session, access, for_s)

    def hidden(self, session: str, user: str) -> Sequence[str]:
        return self._policy.hidden(session, user)


def wish(access: Access) -> str:
    """What a person is asked to consent to, as it goes on after "may it"."""
    name = f"`{access.resource.name}`"
    match access.action:
        case "land":
            return f"land the change in {name}"
        case "connect":
            return f"connect to {name}"
        case "run_outside":
            return f"run {name} outside the sandbox"
    return f"{access.action} {name}"


def _same(access: Access) -> Access:
    """One access for all ways to write it; what only looks alike stays another."""
    if access.resource.kind != "command":
        return access
    return Access(access.action, Resource("command", identity(access.resource.name)))


def _by_rule(access: Access) -> Decision:
    match access.action:
        case "read" | "write":
            return _file(access.action, access.resource.name)
        case "run":
            return _command(access.resource.name)
        case "connect":
            return Deny(f"no rule allows connections to `{access.resource.name}`")
        case "land" | "see" | "run_outside":
            return Ask(wish(access))


def _file(action: str, name: str) -> Decision:
    path = posixpath.normpath(name)
    if path.startswith(("/", "../")) or path == "..":
        return Deny(f"`{name}` is outside the workspace")
    if action == "write" and ".git" in path.split("/"):
        return Deny(f"`{name}` belongs to git; only commands of git may change it")
    return Allow("inside the workspace")


def _command(command: str) -> Decision:
    if programs := network_programs(command):
        return Deny(f"`{programs[0]}` needs the network, which no rule allows")
    return Allow("runs in the sandbox")
