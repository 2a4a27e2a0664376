"""One run of the agent before a person's eyes: its events as they happen, Ctrl-C, and what came of it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from weft.agent import Agent, RunResult
from weft.agent.events import AnyEvent, Decided, Interrupted, Landed, SessionEnded, Verified
from weft.agent.models.prices import shown as shown_cost
from weft.agent.models.protocol import Delta, ReasoningDelta, TextDelta
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.cli.agent import telling
from weft.cli.agent.asking import Person
from weft.cli.agent.opening import Models, Wanted, open_agent
from weft.cli.agent.options import Land
from weft.cli.agent.permissions import permissions
from weft.cli.agent.screen import Line, Screen, diff_lines
from weft.cli.output import note
from weft.core.errors import WeftError
from weft.core.settings import Settings

# How long the agent has to stop by itself at its next event, before it is stopped where it waits.
_GRACE_S: Final = 0.3
_STOPPED: Final = "the person asked to stop"


class Driver:
    """Runs sessions of one agent, and shows them."""

    def __init__(self, store: SessionStore, screen: Screen, person: Person, *, json: bool) -> None:
        """See `opened`."""
        self.session = ""
        """The session that ran last."""
        self.interrupted = False
        self._store = store
        self._screen = screen
        self._person = person
        self._json = json
        self._agent: Agent | None = None
        self._doing = telling.Doing()

    def drive(self, run: Callable[[Agent], RunResult]) -> RunResult | None:
        """What `run` gives; None where it was interrupted and could not end by itself."""
        assert self._agent is not None
        self.interrupted = False
        with self._interruptible(self._agent):
            try:
                return run(self._agent)
            except KeyboardInterrupt:
                self.interrupted = True
                self._record_interruption()
                return None
            finally:
                self._screen.doing("")

    def attach(self, agent: Agent) -> None:
        """Drive this agent from now on."""
        self._agent = agent

    def on_event(self, event: AnyEvent) -> None:
        """Show an event."""
        if "." not in event.session:
            self.session = event.session
        if self._json:
            sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
            sys.stdout.flush()
            return
        self._screen.show(telling.as_it_happens(event))
        if "." in event.session:
            return
        if isinstance(event, SessionEnded) and event.diff:
            self._screen.show([Line(""), *diff_lines(event.diff)])
        now = self._doing.after(event)
        if now is not None:
            self._screen.doing(now)

    def on_delta(self, delta: Delta) -> None:
        """Show a piece of a reply."""
        if isinstance(delta, TextDelta):
            self._screen.stream(delta.text)
        elif isinstance(delta, ReasoningDelta):
            self._screen.doing("thinking")

    def tell(self, text: str) -> None:
        """Say something beside the session; where its events are all that is printed, on standard error."""
        if self._json:
            note(text)
        else:
            self._screen.say(text, "yellow")

    def _record_interruption(self) -> None:
        if self.session:
            with self._store.hold(self.session):
                self._store.open(self.session, self.on_event).append(Interrupted(reason=_STOPPED))

    @contextmanager
    def _interruptible(self, agent: Agent) -> Iterator[None]:
        """Ctrl-C stops the session at its next event, where it waits if that takes long, and the second time
        at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        stopped = threading.Event()

        def gently(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            stopped.set()
            agent.interrupt()
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, _GRACE_S)

        before = signal.signal(signal.SIGINT, gently), signal.getsignal(signal.SIGALRM)
        self._person.stopped = stopped.is_set
        try:
            yield
        finally:
            if stopped.is_set():
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before[1])
            signal.signal(signal.SIGINT, before[0])
            self._person.stopped = lambda: False


@contextmanager
def opened(
    workspace: Path,
    settings: Settings,
    models: Models,
    wanted: Wanted,
    store: SessionStore,
    *,
    land: Land,
    json: bool,
    there: bool,
) -> Iterator[tuple[Driver, Screen]]:
    """Somebody to run the agent, and where it shows."""
    with ExitStack() as stack:
        allowed = stack.enter_context(permissions(settings, workspace, land_unasked=land is Land.YES))
        screen = Screen(quiet=json)
        stack.callback(screen.close)
        person = Person(screen, there=there)
        driver = Driver(store, screen, person, json=json)
        agent = open_agent(
            workspace,
            models,
            wanted,
            store,
            allowed,
            person,
            on_event=driver.on_event,
            on_delta=None if json else driver.on_delta,
        )
        driver.attach(agent)
        yield driver, screen


def watch(driver: Driver, screen: Screen, run: Callable[[Agent], RunResult], land: Land) -> int:
    """Run one session to its end, with a summary or a word on how it goes on; the exit status.

    0 for done, and landed where that was demanded; 1 for not; 130 where a person stopped it.
    """
    try:
        result = driver.drive(run)
    except WeftError:
        if driver.session:
            driver.tell(f"session {driver.session} is kept; {_goes_on(driver.session)}")
        raise
    if result is None or (driver.interrupted and not result.ok):
        driver.tell(f"interrupted; {_goes_on(driver.session)}" if driver.session else "interrupted")
        return 130
    screen.show(summary_lines(result))
    unlanded = land is Land.YES and not result.landed and bool(State(result.events).saved)
    return 0 if result.ok and not unlanded else 1


def _goes_on(session: str) -> str:
    return f"`weft agent resume {session}` goes on with it"


def spent_text(result: RunResult) -> str:
    """What a run took."""
    phases = (f"{phase} {telling.seconds(lasted_s)}" for phase, lasted_s in result.timings.items())
    return f"{result.tokens:,} tokens, {shown_cost(result.cost_usd)}; {', '.join(phases)}"


def summary_lines(result: RunResult) -> list[Line]:
    """What came of a run, and what to do next."""
    state = State(result.events)
    steps = f"{result.steps} step{'' if result.steps == 1 else 's'}"
    lines = [
        Line(""),
        Line("done: verified" if result.reason == "verified" else _how_it_ended(result), _style(result)),
        Line(f"  {steps} with {telling.named_model(result.model, result.scripted)}"),
        Line(f"  {spent_text(result)}"),
    ]
    verified = next((event for event in reversed(result.events) if isinstance(event, Verified)), None)
    if verified:
        told = "succeeded" if verified.ok else f"ended with {verified.exit_code}"
        lines.append(Line(f"  verification: `{verified.command}` {told}"))
    if state.changes_files:
        changed = [f"{file.path}{' (deleted)' if file.digest is None else ''}" for file in state.saved]
        where = "landed" if result.landed else "changed in the copy, not landed"
        lines.append(Line(f"  {where}: {', '.join(changed) or _landed_files(state, result)}"))
    return [*lines, *(Line(f"  {hint}", "dim") for hint in _next(result, bool(state.saved)))]


def _how_it_ended(result: RunResult) -> str:
    return f"done: {result.reason}" if result.ok else f"not done: {result.reason}"


def _style(result: RunResult) -> str:
    return "green" if result.ok else "red"


def _landed_files(state: State, result: RunResult) -> str:
    paths = [path for event in result.events if isinstance(event, Landed) for path in event.paths]
    return ", ".join(dict.fromkeys(paths)) if result.landed else "nothing"


def _next(result: RunResult, changed: bool) -> list[str]:
    session = result.session
    lines = [f"session {session}: `weft agent show {session}`"]
    if any(isinstance(event, Decided) and event.asked and event.answer is None for event in result.events):
        lines.append("nobody was there to be asked: at a terminal you are")
    if result.landed:
        return [*lines, f"take it back: `weft agent undo {session}`"]
    if result.ok and changed:
        return [*lines, f"land it: `weft agent resume {session} --land yes`"]
    return [*lines, f"go on: `weft agent resume {session} --message TEXT`"]
