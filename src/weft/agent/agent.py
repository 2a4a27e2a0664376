"""The door to the agent: open it on a workspace, run a task, resume or replay a session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from weft.agent.asking import OneModel
from weft.agent.checkpoints import diff_of, not_yet_made
from weft.agent.compaction import by_structure
from weft.agent.context import CodeIndex
from weft.agent.driving import Drive, Setup
from weft.agent.events import AnyEvent, Mode, PersonSaid
from weft.agent.gate import Approve
from weft.agent.interrupting import Interruption
from weft.agent.mcp.servers import Server, checked
from weft.agent.models.opening import open_model
from weft.agent.models.prices import Prices
from weft.agent.models.protocol import Delta, Model
from weft.agent.offering import NOTHING, Remedy
from weft.agent.orchestrator import Compactor
from weft.agent.policy import Policy, RulePolicy
from weft.agent.replay import Answers, Replayed, originals, questions
from weft.agent.routing import Router
from weft.agent.sandbox import Sandbox, SandboxProvider
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import Session, SessionStore
from weft.agent.state import Budgets, State
from weft.agent.timing import Stopwatch
from weft.agent.tools import Tool
from weft.agent.tools.conversation import AskUser
from weft.agent.tools.knowledge import GraphReader
from weft.agent.verification import test_command
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, NotFound, WeftError
from weft.kv.store import KeyValueStore

_AUTO: Final = "auto"
# What every model of today has, for a model that does not say.
_CONTEXT_TOKENS: Final = 128_000


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a session ended. An interrupted session can be resumed."""

    ok: bool
    """In act mode, only when the verification passed; in plan mode, when there is a plan."""
    reason: str
    session: str
    summary: str
    """The model's last words; in plan mode, the plan."""
    diff: str
    events: list[AnyEvent]
    timings: dict[str, float]
    """Seconds by phase: model, tools, policy, sandbox, verification; of this run."""
    steps: int
    tokens: int
    cost_usd: float | None
    """None where a model's price is not known."""
    model: str
    scripted: bool
    """Whether a script and not a model made the replies; say so wherever the result is shown."""
    landed: bool = False


class Agent:
    """Runs tasks on one workspace. The workspace stays as it is unless a change is landed."""

    def __init__(self, setup: Setup, sandbox: SandboxProvider | None) -> None:
        """See `open`."""
        self.workspace = setup.workspace
        self.model = setup.model
        self.sessions = setup.sessions
        self._setup = setup
        self._sandbox = sandbox

    @classmethod
    def open(
        cls,
        workspace: str | os.PathLike[str],
        *,
        model: str | Model,
        router: Router | None = None,
        prices: Prices | None = None,
        policy: Policy | None = None,
        sandbox: SandboxProvider | None = None,
        session_store: KeyValueStore | SessionStore | None = None,
        tools: Iterable[Tool] = (),
        mcp: Iterable[Server] = (),
        on_event: Callable[[AnyEvent], None] | None = None,
        on_delta: Callable[[Delta], None] | None = None,
        approve: Approve | None = None,
        ask_user: AskUser | None = None,
        index: CodeIndex | Literal["auto"] | None = _AUTO,
        graph: GraphReader | None = None,
        compactor: Compactor = by_structure,
        verify: str | Literal["auto"] | None = _AUTO,
        budgets: Budgets | None = None,
        user: str = "local",
        clock: Clock = SYSTEM_CLOCK,
    ) -> Agent:
        """An agent on a workspace.

        `model` is a URL (`scripted:PATH`) or an object; a `router` may choose another one for each step.
        Without a `policy` the built-in rules hold; `sandbox` is a provider, Linux namespaces by default;
        without a `session_store` sessions live in this process. `tools` come beside the standard ones, and
        so do those of the servers `mcp`. `on_event` sees each event once it is recorded, those of sub-agents
        too and in their threads, and `on_delta` the model's stream. `approve` answers where the policy asks;
        without it such accesses are denied. `ask_user` puts the model's questions to a person, and asks what
        to do when the session goes in circles; without it that ends the session. `index`, the workspace's own
        if not given, and `graph` are what the tools for searching them ask. `compactor` shortens a window
        that is nearly full: by the session's structure, or `compaction.WithNotes(model)`. `verify` is the
        command that has to succeed before a task counts as done, found by the workspace's files if not given.
        """
        folder = Path(workspace)
        if not folder.is_dir():
            raise NotFound(f"there is no folder `{workspace}`", hint="name the root of the repository")
        opened = open_model(model) if isinstance(model, str) else model
        setup = Setup(
            workspace=folder,
            model=opened,
            router=router or OneModel(opened),
            prices=prices or Prices(),
            policy=policy or RulePolicy(clock=clock),
            tools=tuple(tools),
            mcp=tuple(checked(mcp)),
            sessions=session_store
            if isinstance(session_store, SessionStore)
            else SessionStore(session_store, clock=clock),
            on_event=on_event,
            on_delta=on_delta,
            approve=approve,
            ask_user=ask_user,
            index=CodeIndex.open(folder) if index == _AUTO else index,
            graph=graph,
            verify=test_command(folder) if verify == _AUTO else verify,
            compactor=compactor,
            context_tokens=opened.context_tokens or _CONTEXT_TOKENS,
            budgets=budgets or Budgets(),
            user=user,
            clock=clock,
            interruption=Interruption(),
        )
        return cls(setup, sandbox)

    def run(self, task: str, *, mode: Mode = "act", plan: str = "", land: bool = False) -> RunResult:
        """Do the task. With `land`, a verified change is written to the workspace if the policy lets it.

        In plan mode nothing can be changed, and the result's `summary` is a plan; it, or what a person made
        of it, can be the `plan` that a later run acts on.
        """
        self._setup.interruption.forget()
        if not task.strip():
            raise Invalid("the task is empty", hint="say what is to be done")
        session = self.sessions.new(self._setup.on_event)
        with self.sessions.hold(session.id):
            session.append(self._setup.started(task, mode, plan))
            return self._drive(self._setup, session, land)

    def resume(self, session: str, *, message: str = "", land: bool = False) -> RunResult:
        """Go on with a session where its events end.

        A session that has ended gives its result again, or goes on with a further `message` of the person.
        With `land`, its verified change is landed if it was not.
        """
        self._setup.interruption.forget()
        if "." in session:
            raise Invalid(
                f"`{session}` is the session of a sub-agent", hint=f"resume `{session.split('.')[0]}`"
            )
        with self.sessions.hold(session):
            opened = self.sessions.open(session, self._setup.on_event)
            self._check_workspace(opened)
            if message.strip():
                opened.append(PersonSaid(text=message))
            if State(opened.events).ended is None:
                opened.append(self._setup.resumed())
            return self._drive(self._setup, opened, land)

    def replay(self, session: str) -> RunResult:
        """Run a session's recorded replies, and what a person said to its questions, through the loop again.

        A new session in which everything but the model is real. `Conflict` where a file that the session
        changed is not as the session found it.
        """
        self._setup.interruption.forget()
        recorded = self.sessions.open(session)
        before = State(recorded.events)
        if before.started is None:
            raise NotFound(f"the session `{session}` has no start", hint="list the sessions to see their ids")
        self._check_workspace(recorded)
        not_yet_made(self.workspace, originals(recorded.events))
        again = self.sessions.new(self._setup.on_event)
        setup = msgspec.structs.replace(
            self._setup,
            router=Replayed(self.sessions, session, again.id),
            approve=Answers(recorded.events),
            ask_user=questions(recorded.events),
            verify=before.started.verify,
        )
        first = msgspec.structs.replace(
            before.started, model=f"recorded:{session}", scripted=True, parent=session, because="replay"
        )
        with self.sessions.hold(again.id):
            again.append(first)
            return self._drive(setup, again, land=False)

    def interrupt(self) -> None:
        """Stop the running session at its next event, from any thread. A model or a command that it waits for
        is broken off, and what the command half did is dropped."""
        self._setup.interruption.ask()

    def _check_workspace(self, session: Session) -> None:
        started = State(session.events[:1]).started
        if started and started.workspace != str(self.workspace.resolve()):
            raise Invalid(
                f"the session `{session.id}` belongs to another workspace",
                hint=f"open the agent on `{started.workspace}`",
            )

    def _drive(self, setup: Setup, session: Session, land: bool) -> RunResult:
        state = State(session.events)
        stopwatch = Stopwatch(setup.clock)
        if state.ended and not (land and state.ended.ok and not state.landed):
            return self._result(session, state, state.ended.diff, state.ended.timings)
        hidden = setup.gate(session.id, "act", stopwatch).hidden()
        with stopwatch.phase("sandbox"):
            box = self._open_box(NOTHING, hidden)
        with box:
            drive = Drive(setup, session, box, hidden, self._open_box, stopwatch)
            try:
                with stopwatch.phase("sandbox"):
                    drive.restore()
                state = drive.run()
            except WeftError as error:
                error.fields.setdefault("session", session.id)
                raise
            diff = state.ended.diff if state.ended else diff_of(self.sessions, session.id, state.saved)
            if land and state.ended and state.ended.ok and not state.landed:
                drive.land()
        return self._result(session, State(session.events), diff, stopwatch.seconds())

    def _open_box(self, remedy: Remedy, hidden: Sequence[str]) -> Sandbox:
        provider = Unconfined() if remedy.outside else self._sandbox
        toolchain = [*_toolchain(), *remedy.shown()]
        return Sandbox.open(self.workspace, provider=provider, toolchain=toolchain, hidden=hidden)

    def _result(self, session: Session, state: State, diff: str, timings: dict[str, float]) -> RunResult:
        started = state.started
        return RunResult(
            ok=state.ended is not None and state.ended.ok,
            reason=state.ended.reason if state.ended else f"interrupted: {state.interrupted}",
            session=session.id,
            summary=state.last_text,
            diff=diff,
            events=list(session.events),
            timings=timings,
            steps=state.step,
            tokens=state.tokens,
            cost_usd=None if state.unpriced else state.cost_usd,
            model=self.model.name,
            scripted=self.model.scripted or (started is not None and started.scripted),
            landed=state.landed,
        )


def _toolchain() -> list[str]:
    """This interpreter's environment, so that a Python repository's tests run as they do outside."""
    return [sys.prefix] if sys.prefix != sys.base_prefix else []
