"""The door to the agent: open it on a workspace, run a task, resume a session."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from weft.agent.calls import Approve, CallRunner, Gate
from weft.agent.checkpoints import Checkpoints
from weft.agent.events import AnyEvent, Landed, SessionResumed, SessionStarted
from weft.agent.instructions import instructions
from weft.agent.models.opening import open_model
from weft.agent.models.protocol import Delta, Model
from weft.agent.orchestrator import Orchestrator
from weft.agent.policy import Access, Policy, Resource, RulePolicy
from weft.agent.sandbox import Sandbox, SandboxProvider
from weft.agent.session import Session, SessionStore
from weft.agent.state import Budgets, State
from weft.agent.timing import Stopwatch
from weft.agent.tools import Toolbox, ToolContext, standard_tools
from weft.agent.verification import test_command
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, NotFound
from weft.kv.store import KeyValueStore

_AUTO: Final = "auto"


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a session ended. `ok` only when the verification passed; an interrupted session can be resumed."""

    ok: bool
    reason: str
    session: str
    summary: str
    """The model's last words."""
    diff: str
    events: list[AnyEvent]
    timings: dict[str, float]
    """Seconds by phase: model, tools, policy, sandbox, verification; of this run."""
    steps: int
    tokens: int
    model: str
    scripted: bool
    """Whether a script and not a model made the replies; say so wherever the result is shown."""
    landed: bool = False


class Agent:
    """Runs tasks on one workspace. The workspace stays as it is unless a change is landed."""

    def __init__(
        self,
        workspace: Path,
        model: Model,
        *,
        policy: Policy,
        sandbox: SandboxProvider | None,
        sessions: SessionStore,
        on_event: Callable[[AnyEvent], None] | None,
        on_delta: Callable[[Delta], None] | None,
        approve: Approve | None,
        verify: str | None,
        budgets: Budgets,
        user: str,
        clock: Clock,
    ) -> None:
        self.workspace = workspace
        self.model = model
        self.sessions = sessions
        self._policy = policy
        self._sandbox = sandbox
        self._on_event = on_event
        self._on_delta = on_delta
        self._approve = approve
        self._verify = verify
        self._budgets = budgets
        self._user = user
        self._clock = clock
        self._interrupt = threading.Event()

    @classmethod
    def open(
        cls,
        workspace: str | os.PathLike[str],
        *,
        model: str | Model,
        policy: Policy | None = None,
        sandbox: SandboxProvider | None = None,
        session_store: KeyValueStore | SessionStore | None = None,
        on_event: Callable[[AnyEvent], None] | None = None,
        on_delta: Callable[[Delta], None] | None = None,
        approve: Approve | None = None,
        verify: str | Literal["auto"] | None = _AUTO,
        budgets: Budgets | None = None,
        user: str = "local",
        clock: Clock = SYSTEM_CLOCK,
    ) -> Agent:
        """An agent on a workspace.

        `model` is a URL (`scripted:PATH`) or an object; without a `policy` the built-in rules hold; `sandbox`
        is a provider, Linux namespaces by default; without a `session_store` sessions live in this process.
        `on_event` sees each event once it is recorded, `on_delta` the model's stream. `approve` answers where
        the policy asks; without it such accesses are denied. `verify` is the command that has to succeed
        before a task counts as done, found by the workspace's files if not given.
        """
        folder = Path(workspace)
        if not folder.is_dir():
            raise NotFound(f"there is no folder `{workspace}`", hint="name the root of the repository")
        sessions = (
            session_store
            if isinstance(session_store, SessionStore)
            else SessionStore(session_store, clock=clock)
        )
        return cls(
            folder,
            open_model(model) if isinstance(model, str) else model,
            policy=policy or RulePolicy(),
            sandbox=sandbox,
            sessions=sessions,
            on_event=on_event,
            on_delta=on_delta,
            approve=approve,
            verify=test_command(folder) if verify == _AUTO else verify,
            budgets=budgets or Budgets(),
            user=user,
            clock=clock,
        )

    def run(self, task: str, *, land: bool = False) -> RunResult:
        """Do the task. With `land`, a verified change is written to the workspace if the policy lets it."""
        if not task.strip():
            raise Invalid("the task is empty", hint="say what is to be done")
        session = self.sessions.new(self._on_event)
        session.append(
            SessionStarted(
                task=task,
                user=self._user,
                workspace=str(self.workspace.resolve()),
                model=self.model.name,
                scripted=self.model.scripted,
                instructions=instructions(self.workspace),
                verify=self._verify,
            )
        )
        return self._drive(session, land)

    def resume(self, session: str, *, land: bool = False) -> RunResult:
        """Go on with a session where its events end; a session that has ended gives its result again."""
        opened = self.sessions.open(session, self._on_event)
        if State(opened.events).ended is None:
            opened.append(SessionResumed(model=self.model.name, scripted=self.model.scripted))
        return self._drive(opened, land)

    def interrupt(self) -> None:
        """Stop the running session at its next event or piece of the model's reply; from any thread."""
        self._interrupt.set()

    def _drive(self, session: Session, land: bool) -> RunResult:
        self._interrupt.clear()
        state = State(session.events)
        stopwatch = Stopwatch(self._clock)
        if state.ended:
            return self._result(session, state, state.ended.diff, state.ended.timings)
        with stopwatch.phase("sandbox"):
            box = Sandbox.open(self.workspace, provider=self._sandbox, toolchain=_toolchain())
        with box:
            checkpoints = Checkpoints(session)
            with stopwatch.phase("sandbox"):
                checkpoints.restore(box, state.saved)
            toolbox = Toolbox(standard_tools(self._verify))
            gate = Gate(
                self._policy,
                session=session.id,
                user=self._user,
                approve=self._approve,
                stopwatch=stopwatch,
            )
            context = ToolContext(box, self._verify, self._budgets.command_s, gate.may_read)
            state = Orchestrator(
                session,
                model=self.model,
                toolbox=toolbox,
                runner=CallRunner(toolbox, gate, context, checkpoints, stopwatch),
                box=box,
                budgets=self._budgets,
                stopwatch=stopwatch,
                interrupt=self._interrupt,
                on_delta=self._on_delta,
            ).run()
            if land and state.ended and state.ended.ok:
                self._land(session, gate, box, state.step)
            diff = state.ended.diff if state.ended else box.diff()
        return self._result(session, state, diff, stopwatch.seconds())

    def _land(self, session: Session, gate: Gate, box: Sandbox, step: int) -> None:
        access = Access("land", Resource("workspace", str(self.workspace.resolve())))
        decided = session.append(gate.decide(step, "", "land", access))
        if decided.effect == "allow":
            session.append(Landed(paths=tuple(change.path for change in box.commit())))

    def _result(self, session: Session, state: State, diff: str, timings: dict[str, float]) -> RunResult:
        started = state.started
        return RunResult(
            ok=state.ended is not None and state.ended.ok,
            reason=state.ended.reason if state.ended else "interrupted",
            session=session.id,
            summary=state.last_text,
            diff=diff,
            events=list(session.events),
            timings=timings,
            steps=state.step,
            tokens=state.tokens,
            model=self.model.name,
            scripted=self.model.scripted or (started is not None and started.scripted),
            landed=any(isinstance(event, Landed) for event in session.events),
        )


def _toolchain() -> list[str]:
    """This interpreter's environment, so that a Python repository's tests run as they do outside."""
    return [sys.prefix] if sys.prefix != sys.base_prefix else []
