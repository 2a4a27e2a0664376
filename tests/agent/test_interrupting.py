"""A person stops a session: at once where a model says nothing, and half a reply is none."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.agent import Agent
from weft.agent.events import Interrupted, ModelReplied, SessionStarted
from weft.agent.interrupting import Interruption, Stop
from weft.agent.models import open_model
from weft.agent.models.protocol import DEFAULTS, Delta, Message, Model, Options, TextDelta, ToolSpec
from weft.agent.models.wire.patience import Patience
from weft.agent.policy import Access
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.tools import Observation, ToolContext
from weft.testing.agent import call, failing_repository, scripted, step
from weft.testing.model_server import ModelServer, reply


class Watched:
    """A model that tells when somebody waits for its next piece."""

    scripted, context_tokens = False, None

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.awaited = threading.Event()
        self._model = model

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Any:
        return _WatchedStream(self._model.stream(messages, tools, options), self.awaited)


class _WatchedStream:
    def __init__(self, stream: Any, awaited: threading.Event) -> None:
        self._stream = stream
        self._awaited = awaited
        self.close = stream.close

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        self._awaited.set()
        return next(self._stream)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return failing_repository(tmp_path / "repository")


def test_a_model_that_says_nothing_does_not_hold_up_an_interruption(repository: Path) -> None:
    patience = Patience(first_token_s=20, retries=0)
    with (
        ModelServer([reply("never", stall_after="headers")]) as server,
        closing(open_model(server.url, environ={}, patience=patience)) as model,  # type: ignore[type-var]
    ):
        watched = Watched(model)
        agent = Agent.open(repository, model=watched, sandbox=Unconfined(), verify="true")
        person = threading.Thread(target=lambda: watched.awaited.wait(20) and agent.interrupt())
        person.start()
        result = agent.run("mend it")
        person.join()
    assert result.reason == "interrupted: the person asked to stop"
    assert [type(event) for event in result.events] == [SessionStarted, Interrupted]
    assert result.timings["model"] < patience.first_token_s / 2


def test_an_interruption_at_the_first_event_counts(repository: Path) -> None:
    agent = Agent.open(
        repository,
        model=scripted(step(say="done")),
        sandbox=Unconfined(),
        verify="true",
        on_event=lambda event: agent.interrupt() if isinstance(event, SessionStarted) else None,
    )
    stopped = agent.run("mend it")
    assert [type(event) for event in stopped.events] == [SessionStarted, Interrupted]
    assert agent.resume(stopped.session).ok


def test_a_reply_that_was_closed_half_way_is_not_on_record(repository: Path) -> None:
    def interrupt(delta: Delta) -> None:
        if isinstance(delta, TextDelta):
            agent.interrupt()

    model = scripted(step(say="Done."))
    agent = Agent.open(repository, model=model, sandbox=Unconfined(), verify="true", on_delta=interrupt)
    result = agent.run("mend it")
    assert not result.ok
    assert not any(isinstance(event, ModelReplied) for event in result.events)


def once(there: Path, then: Callable[[], object]) -> threading.Thread:
    """Does something as soon as the file is there."""

    def wait() -> None:
        until_s = time.monotonic() + 20
        while not there.exists() and time.monotonic() < until_s:
            time.sleep(0.01)
        then()

    person = threading.Thread(target=wait)
    person.start()
    return person


@pytest.mark.parametrize("where", ["command", "verification", "a signal's handler"])
def test_a_command_that_runs_does_not_hold_up_an_interruption(
    repository: Path, tmp_path: Path, where: str
) -> None:
    up = tmp_path / "up"
    slow = f"echo half > half.txt; if [ -e {up} ]; then echo whole > half.txt; else touch {up}; sleep 60; fi"
    first = step(say="done") if where == "verification" else step(call("run_command", command=slow))
    model = scripted(step(call("write_file", path="kept.txt", content="kept")), first, step(say="done"))
    verify = slow if where == "verification" else "true"
    agent = Agent.open(repository, model=model, sandbox=Unconfined(), verify=verify)
    by_signal = partial(signal.pthread_kill, threading.get_ident(), signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: agent.interrupt())
    began_s = time.monotonic()
    try:
        person = once(up, by_signal if where == "a signal's handler" else agent.interrupt)
        stopped = agent.run("mend it")
        person.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began_s < 30
    assert stopped.reason == "interrupted: the person asked to stop"
    assert isinstance(stopped.events[-1], Interrupted)
    assert "kept.txt" in stopped.diff
    assert "half.txt" not in stopped.diff
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("weft-tool")]
    resumed = agent.resume(stopped.session)
    assert resumed.ok
    assert "+whole" in resumed.diff


class LookArguments(msgspec.Struct, frozen=True):
    pass


class Look:
    """Reads for a minute; the person presses Ctrl-C as soon as it runs."""

    name, description, read_only, arguments = "look", "look long", True, LookArguments

    def accesses(self, arguments: LookArguments) -> list[Access]:
        return []

    def run(self, arguments: LookArguments, context: ToolContext) -> Observation:
        main = threading.main_thread().ident
        assert main
        context.box.run(
            "echo up; sleep 60", timeout_s=60, on_output=lambda data: signal.pthread_kill(main, signal.SIGINT)
        )
        return Observation("looked")


@pytest.mark.slow
def test_a_key_press_ends_what_a_read_that_runs_beside_the_loop_waits_for(repository: Path) -> None:
    model = scripted(step(call("look")), step(say="done"))
    agent = Agent.open(repository, model=model, sandbox=Unconfined(), verify="true", tools=[Look()])
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        agent.run("look")
    assert time.monotonic() - began_s < 30
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("weft-tool")]


def test_who_begins_to_wait_after_the_interruption_is_ended_too() -> None:
    interruption, ended = Interruption(), []
    with interruption.ending(lambda: ended.append("early")):
        pass
    interruption.ask()
    with pytest.raises(Stop), interruption.ending(lambda: ended.append("late")):
        raise ConnectionError
    assert ended == ["late"]
    interruption.forget()
    interruption.check()
