"""One run of a session in a sandbox, with the sub-agents that it sends out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from weft.agent.asking import Asker
from weft.agent.calls import CallRunner
from weft.agent.checkpoints import Checkpoints
from weft.agent.context import CodeIndex
from weft.agent.events import (
    AnyEvent,
    Landed,
    Mode,
    ServerLeftOut,
    SessionResumed,
    SessionStarted,
)
from weft.agent.gate import Approve, Gate
from weft.agent.instructions import INSTRUCTIONS_OF
from weft.agent.interrupting import Interruption, Stop
from weft.agent.mcp import Server, Servers
from weft.agent.models.prices import Prices
from weft.agent.models.protocol import Delta, Model
from weft.agent.offering import Elsewhere, Offers, Opener
from weft.agent.orchestrator import Compactor, Orchestrator
from weft.agent.policy import Access, Policy, ReadOnly, Resource
from weft.agent.routing import Router
from weft.agent.rules import Rules
from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.commit import lands
from weft.agent.session import Session, SessionStore
from weft.agent.state import Budgets, State
from weft.agent.subagents import Explore, left_of
from weft.agent.timing import Stopwatch
from weft.agent.tools import Tool, Toolbox, ToolContext, standard_tools
from weft.agent.tools.conversation import AskUser
from weft.agent.tools.foreign import foreign
from weft.agent.tools.knowledge import GraphReader
from weft.agent.tools.output import Outputs
from weft.core.clock import Clock


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent was opened with."""

    workspace: Path
    model: Model
    router: Router
    prices: Prices
    policy: Policy
    tools: tuple[Tool, ...]
    mcp: tuple[Server, ...]
    sessions: SessionStore
    on_event: Callable[[AnyEvent], None] | None
    on_delta: Callable[[Delta], None] | None
    approve: Approve | None
    ask_user: AskUser | None
    index: CodeIndex | None
    graph: GraphReader | None
    verify: str | None
    compactor: Compactor
    context_tokens: int
    budgets: Budgets
    user: str
    clock: Clock
    interruption: Interruption

    def started(self, task: str, mode: Mode, plan: str = "", **origin: object) -> SessionStarted:
        """The first event of a session."""
        return msgspec.structs.replace(
            SessionStarted(
                task=task,
                user=self.user,
                workspace=str(self.workspace.resolve()),
                model=self.model.name,
                scripted=self.model.scripted,
                instructions=INSTRUCTIONS_OF[mode],
                verify=self.verify if mode == "act" else None,
                mode=mode,
                plan=plan,
            ),
            **origin,
        )

    def resumed(self) -> SessionResumed:
        return SessionResumed(model=self.model.name, scripted=self.model.scripted)

    def gate(self, session: str, mode: Mode, stopwatch: Stopwatch, covered: Sequence[str] = ()) -> Gate:
        """Where the calls of a session, or of its sub-agents, are let in."""
        policy = self.policy if mode == "act" else ReadOnly(self.policy)
        return Gate(
            policy,
            session=session,
            user=self.user,
            approve=self.approve,
            stopwatch=stopwatch,
            covered=covered,
        )


class Drive:
    """One run of one session; its sub-agents use the same sandbox, at the same time, and only read."""

    def __init__(
        self,
        setup: Setup,
        session: Session,
        box: Sandbox,
        covered: Sequence[str],
        open_box: Opener,
        stopwatch: Stopwatch,
    ) -> None:
        """`covered` are the paths that the sandbox hides; `open_box` opens further ones."""
        self._covered = covered
        self._open_box = open_box
        self._setup = setup
        self._session = session
        self._box = box
        self._stopwatch = stopwatch
        self._state = State(session.events)
        self._foreign: list[Tool] = []

    def restore(self) -> None:
        """Bring what the session changed so far into its fresh sandbox."""
        Checkpoints(self._session, self._setup.workspace).restore(self._box, self._state.saved)

    def run(self) -> State:
        """To the end or an interruption."""
        if self._state.ended:
            return self._state
        mode = self._state.started.mode if self._state.started else "act"
        with Servers(self._admitted(mode), self._box) as servers:
            self._foreign = servers.tools
            for name, error in servers.failures.items():
                self._session.append(ServerLeftOut(name=name, reason=str(error)))
            self._state = self._orchestrate(self._session, mode, self._setup.budgets, self._stopwatch)
        return self._state

    def _admitted(self, mode: Mode) -> list[Server]:
        """The MCP servers that the policy or a person lets the session use; a plan uses none."""
        if mode != "act":
            return []
        gate = self._setup.gate(self._session.id, mode, self._stopwatch)
        asked = [
            (server, gate.decide(self._state.step, "", f"mcp__{server.name}", server.access))
            for server in self._setup.mcp
        ]
        return [server for server, decided in asked if self._session.append(decided).effect == "allow"]

    def land(self) -> None:
        """Write the verified changes to the workspace, if the policy or a person lets it."""
        state = State(self._session.events)
        gate = self._setup.gate(self._session.id, "act", self._stopwatch)
        access = Access("land", Resource("workspace", str(self._setup.workspace.resolve())))
        if self._session.append(gate.decide(state.step, "", "land", access)).effect == "allow":
            self._session.store.flush()
            self._box.commit()
            saved = tuple(file for file in state.saved if lands(file.place))
            self._session.append(Landed(paths=tuple(file.path for file in saved), saved=saved))

    def _orchestrate(self, session: Session, mode: Mode, budgets: Budgets, stopwatch: Stopwatch) -> State:
        setup, store = self._setup, session.store
        gate = setup.gate(self._session.id, mode, stopwatch, self._covered)
        toolbox = Toolbox(self._tools(mode))
        outputs = Outputs(partial(store.save_file, session.id), partial(store.file, session.id))
        context = ToolContext(self._box, setup.verify, budgets.command_s, gate.may_read, outputs=outputs)
        checkpoints = Checkpoints(session, setup.workspace)
        offers = Offers(gate, self._box, setup.workspace)
        elsewhere = Elsewhere(self._open_box, self._box, checkpoints, gate)
        with CallRunner(
            toolbox, gate, context, checkpoints, stopwatch, offers, elsewhere, setup.interruption
        ) as runner:
            asker = Asker(
                router=setup.router,
                toolbox=toolbox,
                runner=runner,
                stopwatch=stopwatch,
                prices=setup.prices,
                interruption=setup.interruption,
                on_delta=setup.on_delta if session is self._session else None,
            )
            return Orchestrator(
                session,
                asker=asker,
                runner=runner,
                box=self._box,
                rules=Rules(setup.workspace, gate.may_read),
                budgets=budgets,
                stopwatch=stopwatch,
                interruption=setup.interruption,
                ask_user=setup.ask_user if session is self._session else None,
                compactor=setup.compactor,
                keep=outputs.keep,
                context_tokens=setup.context_tokens,
            ).run()

    def _tools(self, mode: Mode) -> Sequence[Tool]:
        """All of them to act; to plan or to explore, those that only read. Sub-agents send out no others."""
        setup, alone = self._setup, mode == "explore"
        tools = standard_tools(
            setup.verify,
            index=setup.index,
            ask_user=None if alone else setup.ask_user,
            graph=setup.graph,
            more=[*map(foreign, setup.tools), *self._foreign, *([] if alone else [Explore(self._explore)])],
        )
        return tools if mode == "act" else [tool for tool in tools if tool.read_only]

    def _explore(self, call: str, question: str) -> tuple[str, State]:
        """Drive the sub-agent of a call: a session of its own, which goes on where it was if it has begun."""
        setup, parent = self._setup, self._session
        name = f"{parent.id}.{call}"
        if setup.sessions.events(name):
            session = setup.sessions.open(name, setup.on_event)
            if State(session.events).ended is None:
                session.append(setup.resumed())
        else:
            session = setup.sessions.new(setup.on_event, session=name)
            session.append(setup.started(question, "explore", parent=parent.id, because="explore"))
        budgets = left_of(setup.budgets, State(parent.events))
        state = self._orchestrate(session, "explore", budgets, Stopwatch(setup.clock))
        if state.ended is None:
            raise Stop(state.interrupted)
        return name, state
