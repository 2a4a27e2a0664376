"""`weft agent chat`: a conversation, turn by turn in one session, at a terminal or through pipes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from weft.agent import RunResult
from weft.agent.checkpoints import diff_of
from weft.agent.events import Mode
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.agent.undo import START, undo
from weft.cli.agent import telling
from weft.cli.agent.driving import Driver, opened, spent_text
from weft.cli.agent.opening import Wanted, models_of
from weft.cli.agent.options import (
    Auto,
    Data,
    Land,
    Mcp,
    ModelUrl,
    Steps,
    TimeS,
    Tokens,
    Usd,
    Verify,
    Workspace,
    open_sessions,
    settings_for,
)
from weft.cli.agent.screen import Line, Screen, diff_lines
from weft.cli.sandbox.options import Image, Provider, ProviderName
from weft.core.errors import Invalid, WeftError

_PROMPTS: Final[dict[Mode, str]] = {"act": "> ", "plan": "plan> "}
_HELP: Final = """\
/plan        the next message begins a plan: the agent only reads
/act [TEXT]  act on the plan, or on what you say next
/diff        what the session changed and has not landed
/land        write the verified change to the workspace
/undo [STEP] take back what was changed after a step, everything by default
/quit        leave; the session stays on record
Anything else is said to the agent. Ctrl-C stops it at its next step."""


def chat(
    workspace: Workspace = Path("."),
    model: ModelUrl = None,
    auto: Auto = False,
    verify: Verify = None,
    steps: Steps = None,
    tokens: Tokens = None,
    usd: Usd = None,
    provider: ProviderName = Provider.NAMESPACES,
    image: Image = None,
    time_s: TimeS = None,
    mcp: Mcp = None,
    data: Data = None,
) -> None:
    """Talk with the agent: each message is a turn of one session. /help lists what else can be typed.

    Example: weft agent chat --model http://127.0.0.1:11434/v1#qwen3-coder:30b
    """
    settings = settings_for(data, model)
    wanted = Wanted(
        mcp=mcp,
        provider=provider.value,
        image=image,
        verify=verify,
        steps=steps,
        tokens=tokens,
        usd=usd,
        time_s=time_s,
    )
    models = models_of(settings, auto=auto)
    with (
        open_sessions(settings, create=True) as store,
        opened(workspace, settings, models, wanted, store, land=Land.ASK, json=False, there=True) as (
            driver,
            screen,
        ),
    ):
        _Conversation(store, driver, screen, workspace).go_on()


class _Conversation:
    """What was said so far, and what the next line does."""

    def __init__(self, store: SessionStore, driver: Driver, screen: Screen, workspace: Path) -> None:
        self._store = store
        self._driver = driver
        self._screen = screen
        self._workspace = workspace
        self._mode: Mode = "act"
        self._session = ""
        self._plan = ""
        self._commands: dict[str, Callable[[str], None]] = {
            "/plan": self._begin_plan,
            "/act": self._act,
            "/diff": self._diff,
            "/land": self._land,
            "/undo": self._undo,
            "/help": lambda rest: self._screen.say(_HELP),
        }

    def go_on(self) -> None:
        """Turn by turn, until the person leaves. An error ends a turn and not the conversation."""
        if sys.stdin.isatty():
            self._screen.say("/help lists what can be typed; /quit leaves", "dim")
        while (line := self._read()) is not None and line != "/quit":
            try:
                self._take(line)
            except WeftError as error:
                self._screen.say(f"weft: {error}", "red")
        if self._session:
            self._screen.say(f"session {self._session}: `weft agent show {self._session}`", "dim")

    def _read(self) -> str | None:
        """The next line; None at the end of input, or at Ctrl-D."""
        if not sys.stdin.isatty():
            line = sys.stdin.readline()
            return line.strip() if line else None
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  line editing and history, where Python has them
        while True:
            try:
                return input(_PROMPTS[self._mode]).strip()
            except EOFError:
                return None
            except KeyboardInterrupt:
                self._screen.say("")

    def _take(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if name in self._commands:
            self._commands[name](rest.strip())
        elif name.startswith("/") and "/" not in name[1:]:
            raise Invalid(f"`{name}` is no command", hint="see /help")
        elif line:
            self._say(line)

    def _say(self, text: str) -> None:
        session, plan = self._session, self._plan
        if session:
            self._turn(lambda: self._driver.drive(lambda agent: agent.resume(session, message=text)))
        else:
            mode, self._plan = self._mode, ""
            self._turn(lambda: self._driver.drive(lambda agent: agent.run(text, mode=mode, plan=plan)))

    def _turn(self, drive: Callable[[], RunResult | None]) -> None:
        self._driver.session = self._session
        try:
            result = drive()
        finally:
            self._session = self._driver.session
        if result is None or result.reason.startswith("interrupted"):
            self._screen.doing("")
            self._screen.say("stopped; say what to do instead", "yellow")
            return
        if result.ok and self._mode == "plan":
            self._plan = result.summary
        style = "green" if result.ok else "yellow"
        self._screen.show([Line(f"  {result.reason}", style), Line(f"  {spent_text(result)}", "dim")])

    def _begin_plan(self, rest: str) -> None:
        self._mode, self._session, self._plan = "plan", "", ""
        if rest:
            self._say(rest)

    def _act(self, rest: str) -> None:
        task = rest
        if self._mode == "plan":
            task = rest or (self._task() if self._plan else "")
            self._mode, self._session = "act", ""
        if task:
            self._say(task)

    def _diff(self, rest: str) -> None:
        session = self._begun()
        text = diff_of(self._store, session, State(self._store.events(session)).saved)
        self._screen.show(diff_lines(text) or [Line("nothing that has not landed")])

    def _land(self, rest: str) -> None:
        session = self._begun()
        state = State(self._store.events(session))
        if state.ended is None or not state.ended.ok or not state.saved:
            raise Invalid("there is no verified change to land", hint="/diff shows what there is")
        self._turn(lambda: self._driver.drive(lambda agent: agent.resume(session, land=True)))

    def _undo(self, rest: str) -> None:
        session = self._begun()
        if rest and not rest.isdecimal():
            raise Invalid(f"`{rest}` is no step", hint="name one by its number, or none for everything")
        undone = undo(self._store, session, int(rest) if rest else START, self._workspace)
        self._screen.show(telling.as_it_happens(undone))

    def _begun(self) -> str:
        if not self._session:
            raise Invalid("nothing was done yet", hint="say what is to be done")
        return self._session

    def _task(self) -> str:
        state = State(self._store.events(self._session)[:1])
        return state.started.task if state.started else ""
