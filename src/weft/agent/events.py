"""What happens in a session, as typed records, from which state, messages and graphs are made."""

from __future__ import annotations

from typing import Literal

import msgspec

from weft.agent.models.protocol import ToolCall, Usage
from weft.agent.policy import Access


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Ids are unique and sort by time; `number` counts from 0 within the session; times are UTC."""

    id: str = ""
    session: str = ""
    number: int = -1
    at_us: int = 0


class SessionStarted(Event, frozen=True, kw_only=True, tag="session_started"):
    task: str
    user: str
    workspace: str
    model: str
    scripted: bool
    instructions: str
    """The system text, as the model sees it."""
    verify: str | None
    """The command that has to succeed before the session is done."""
    parent: str | None = None
    """The session that started this one."""


class SessionResumed(Event, frozen=True, kw_only=True, tag="session_resumed"):
    model: str
    scripted: bool


class ModelReplied(Event, frozen=True, kw_only=True, tag="model_replied"):
    """The end of a step's model request; a reply without calls claims that the task is done."""

    step: int
    text: str
    reasoning: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    first_delta_s: float | None
    duration_s: float


class Decided(Event, frozen=True, kw_only=True, tag="decided"):
    """The answer to one access of a tool call, or to the landing (`call_id` is then empty)."""

    step: int
    call_id: str
    tool: str
    access: Access
    effect: Literal["allow", "deny"]
    reason: str
    asked: bool = False
    """Whether a person gave the answer."""


class FileUse(msgspec.Struct, frozen=True):
    path: str
    how: Literal["read", "written", "deleted"]


class CommandUse(msgspec.Struct, frozen=True):
    command: str
    exit_code: int
    duration_s: float
    timed_out: bool = False
    denied: tuple[str, ...] = ()
    """Accesses that seem to have been refused inside the sandbox."""


class SavedFile(msgspec.Struct, frozen=True):
    """A file that differs from the workspace; its bytes are in the session store under the digest."""

    path: str
    digest: str | None
    """None for a deleted file."""
    mode: int = 0


class ToolFinished(Event, frozen=True, kw_only=True, tag="tool_finished"):
    """A call has its observation. A denied or malformed call has one too, and did not run."""

    step: int
    call_id: str
    tool: str
    arguments: str
    outcome: Literal["ok", "failed", "denied", "invalid"]
    output: str
    files: tuple[FileUse, ...] = ()
    command: CommandUse | None = None
    saved: tuple[SavedFile, ...] | None = None
    """All changes of the session so far, after a call that may have made some; None after other calls."""
    duration_s: float = 0.0


class Verified(Event, frozen=True, kw_only=True, tag="verified"):
    step: int
    command: str
    ok: bool
    output: str
    exit_code: int
    duration_s: float
    saved: tuple[SavedFile, ...] = ()
    """All changes of the session as they were verified."""


class Interrupted(Event, frozen=True, kw_only=True, tag="interrupted"):
    reason: str


class Landed(Event, frozen=True, kw_only=True, tag="landed"):
    paths: tuple[str, ...]


class SessionEnded(Event, frozen=True, kw_only=True, tag="session_ended"):
    ok: bool
    reason: str
    diff: str
    timings: dict[str, float]
    """Seconds by phase."""


AnyEvent = (
    SessionStarted
    | SessionResumed
    | ModelReplied
    | Decided
    | ToolFinished
    | Verified
    | Interrupted
    | Landed
    | SessionEnded
)
