"""What happens in a session, as typed records, from which state, messages and graphs are made."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from weft.agent.models.protocol import Message, Opaque, StopReason, ToolCall, Usage
from weft.agent.policy import Access, Answer

Mode = Literal["act", "plan", "explore"]
"""Act changes files and ends verified; plan and explore only read, and end with a text."""


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
    mode: Mode = "act"
    plan: str = ""
    """The plan that the person agreed to, from a session in plan mode."""
    parent: str | None = None
    """The session that this one came from."""
    because: Literal["explore", "fork", "replay"] | None = None
    """How it came from its parent."""


class SessionResumed(Event, frozen=True, kw_only=True, tag="session_resumed"):
    model: str
    scripted: bool


class RulesRead(Event, frozen=True, kw_only=True, tag="rules_read"):
    """The model is told the rules that the repository has for a folder."""

    folder: str
    """Empty for the root."""
    path: str
    text: str


class PersonSaid(Event, frozen=True, kw_only=True, tag="person_said"):
    """A further message of the person; a session that had ended goes on."""

    text: str


class ModelReplied(Event, frozen=True, kw_only=True, tag="model_replied"):
    """The end of a step's model request; a whole reply without calls claims that the task is done."""

    step: int
    text: str
    reasoning: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    first_delta_s: float | None
    duration_s: float
    stop: StopReason = "done"
    """Why the reply ended; one that was cut off or refused claims nothing."""
    opaque: Opaque | None = None
    cost_usd: float | None = None
    """None where the price is not known."""
    model: str = ""
    """The name of the model that was asked."""
    reason: str = ""
    """Why the router chose it; empty without a router."""


class Compacted(Event, frozen=True, kw_only=True, tag="compacted"):
    """The first `replaced` messages of the window gave way to `messages`."""

    step: int
    replaced: int
    messages: tuple[Message, ...]
    model: str = ""
    """The model that was asked for notes; empty for none."""
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    """None where the price is not known."""


class LoopFound(Event, frozen=True, kw_only=True, tag="loop_found"):
    """The last calls went in a circle; the model was told."""

    step: int
    tools: tuple[str, ...]
    """The tools of one round."""
    times: int


class Decided(Event, frozen=True, kw_only=True, tag="decided"):
    """The answer to one access of a tool call, or to the landing (`call_id` is then empty)."""

    step: int
    call_id: str
    tool: str
    access: Access
    effect: Literal["allow", "deny"]
    reason: str
    asked: bool = False
    """Whether it was a person's to answer."""
    answer: Answer | None = None
    """What a person said; None where nobody was asked, or nobody was there."""


class ServerLeftOut(Event, frozen=True, kw_only=True, tag="server_left_out"):
    """An MCP server that may be used did not start: the session goes on without its tools."""

    name: str
    reason: str


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
    before: str | None = None
    """The digest of what the workspace holds there; None for nothing."""
    before_mode: int = 0
    raw: bytes = b""
    """The path exactly, where `path` cannot say it: no UTF-8, or it looks like a secret."""

    @property
    def place(self) -> str:
        """The path for the file system."""
        return os.fsdecode(self.raw) if self.raw else self.path


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
    child: str | None = None
    """The session of the sub-agent that did it."""
    tokens: int = 0
    """What the sub-agent spent."""
    cost_usd: float | None = 0.0
    """None where a price is not known."""


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
    """The session's changes were written to the workspace."""

    paths: tuple[str, ...]
    saved: tuple[SavedFile, ...] = ()


class Undone(Event, frozen=True, kw_only=True, tag="undone"):
    """The person took back what the agent did after a step."""

    to_step: int
    saved: tuple[SavedFile, ...]
    """The session's changes as they were after that step."""
    written: tuple[SavedFile, ...] = ()
    """What was put back in the workspace, where changes had landed there; `before` is what had landed."""


class SessionEnded(Event, frozen=True, kw_only=True, tag="session_ended"):
    ok: bool
    reason: str
    diff: str
    timings: dict[str, float]
    """Seconds by phase."""


AnyEvent = (
    SessionStarted
    | SessionResumed
    | RulesRead
    | PersonSaid
    | ModelReplied
    | Compacted
    | LoopFound
    | Decided
    | ServerLeftOut
    | ToolFinished
    | Verified
    | Interrupted
    | Landed
    | Undone
    | SessionEnded
)
