"""May this call be made: the question that every tool call asks before it runs."""

from __future__ import annotations

import posixpath
from typing import Literal, Protocol

import msgspec

from weft.agent.commands import network_programs

Action = Literal["read", "write", "run", "connect", "land"]
"""Read or write a file, run a command, reach a host, or land the change in the real workspace."""


class Resource(msgspec.Struct, frozen=True):
    """What an action is done to: a file by its path in the workspace (`.` is all of it), a command as it is
    written, a host by its name, or the workspace by its folder."""

    kind: Literal["file", "command", "host", "workspace"]
    name: str


class Access(msgspec.Struct, frozen=True):
    """What one tool call wants to do."""

    action: Action
    resource: Resource


class Question(msgspec.Struct, frozen=True):
    """May the session, acting for the user, use the tool for this access?"""

    session: str
    user: str
    tool: str
    access: Access


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
    - `Deny` is final for the call; its reason is shown to the model and must hold no secret.
    - `Ask` leaves the answer to a person; where none is at hand it is a denial.
    - A policy that cannot reach its store raises (`Unavailable`); the call is then not run.
    - Asking changes nothing, may be repeated, and may be done from several threads.
    """

    def decide(self, question: Question) -> Decision:
        """The answer to one question, as of now."""


class RulePolicy:
    """The default: reads and writes in the sandboxed copy and local commands are allowed, everything outside
    and the network are denied, and landing a change asks."""

    def decide(self, question: Question) -> Decision:
        """By the rules above; the question's user and session make no difference."""
        access = question.access
        match access.action:
            case "read" | "write":
                return _file(access.action, access.resource.name)
            case "run":
                return _command(access.resource.name)
            case "connect":
                return Deny(f"no rule allows connections to `{access.resource.name}`")
            case "land":
                return Ask(f"land the change in `{access.resource.name}`")


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
