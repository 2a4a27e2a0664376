"""Windows that shrink: what has to stay stays, nothing overflows, nothing is claimed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.compaction import WithNotes, compact
from weft.agent.compaction.facts import facts
from weft.agent.events import (
    AnyEvent,
    CommandUse,
    Compacted,
    Decided,
    FileUse,
    LoopFound,
    ModelReplied,
    PersonSaid,
    SavedFile,
    SessionStarted,
    ToolFinished,
    Verified,
)
from weft.agent.models.protocol import DEFAULTS, Delta, Message, Options, TextDelta, ToolCall, Usage
from weft.agent.models.tokens import message_tokens
from weft.agent.policy import Access, Resource
from weft.agent.state import State
from weft.core.errors import Unavailable
from weft.core.randomness import derived_random

TRACEBACK = """\
============================= test session starts =============================
{noise}
=================================== FAILURES ===================================
    def {test}():
>       assert clamp({n}) == 5
E       assert {n} == 5

tests/test_{n}.py:{n}: AssertionError
  File "/usr/lib/python3.11/unittest/case.py", line 57, in testPartExecutor
=========================== short test summary info ============================
FAILED tests/test_{n}.py::{test} - AssertionError: {n} is out of range
{more}
========================= {failed} failed, {passed} passed in 0.31s =========================
"""


def kept() -> tuple[dict[str, str], Sequence[object]]:
    store: dict[str, str] = {}

    def keep(text: str) -> str:
        handle = f"{len(store):064x}"
        store[handle] = text
        return handle

    return store, (keep,)


def started(task: str = "mend clamp") -> SessionStarted:
    return SessionStarted(
        task=task,
        user="ann",
        workspace="/w",
        model="m",
        scripted=True,
        instructions="You are a coding agent." * 20,
        verify="pytest -q",
    )


def replied(step: int, text: str, *calls: ToolCall) -> ModelReplied:
    return ModelReplied(
        step=step, text=text, reasoning="", calls=calls, usage=Usage(), first_delta_s=None, duration_s=0.1
    )


def ran(step: int, command: str, exit_code: int, output: str) -> list[AnyEvent]:
    call = ToolCall(f"c{step}", "run_command", "{}")
    done = ToolFinished(
        step=step,
        call_id=call.id,
        tool="run_command",
        arguments="{}",
        outcome="ok",
        output=output,
        command=CommandUse(command, exit_code, 0.1),
    )
    return [replied(step, "", call), done]


def edited(step: int, path: str, files: Sequence[str]) -> list[AnyEvent]:
    call = ToolCall(f"c{step}", "edit_file", "{}")
    done = ToolFinished(
        step=step,
        call_id=call.id,
        tool="edit_file",
        arguments="{}",
        outcome="ok",
        output="--- a\n+++ b\n" * 40,
        files=(FileUse(path, "written"),),
        saved=tuple(SavedFile(each, "d" * 64) for each in files),
    )
    return [replied(step, f"Now {path}.", call), done]


def read(step: int, path: str, text: str) -> list[AnyEvent]:
    call = ToolCall(f"c{step}", "read_file", "{}")
    done = ToolFinished(
        step=step,
        call_id=call.id,
        tool="read_file",
        arguments="{}",
        outcome="ok",
        output=text,
        files=(FileUse(path, "read"),),
    )
    return [replied(step, "", call), done]


def window_tokens(messages: Sequence[Message]) -> int:
    return sum(map(message_tokens, messages))


def shrunk(events: Sequence[AnyEvent], budget: int) -> tuple[Compacted, dict[str, str], State]:
    state = State(events)
    store, (keep,) = kept()
    made = compact(state.messages, events, state.step, budget, keep)  # type: ignore[arg-type]
    return made, store, state


def whole(made: Compacted) -> str:
    return "\n".join(message.content for message in made.messages)


def test_what_a_provider_has_cached_stays_and_every_answer_has_its_call() -> None:
    events: list[AnyEvent] = [started()]
    for step in range(1, 40):
        events += read(step, f"src/{step}.py", f"x = {step}\n" * 200)
    made, _, state = shrunk(events, 4_000)

    assert made.messages[:2] == tuple(state.messages[:2])
    assert made.messages[2].role == "user"
    assert made.messages[3:] == tuple(state.messages[-len(made.messages[3:]) :])
    called: set[str] = set()
    for message in made.messages:
        called |= {call.id for call in message.calls}
        assert message.role != "tool" or message.call_id in called
    state.apply(made)
    assert tuple(state.messages) == made.messages
    assert state.window_tokens <= 4_000


def long_session(rng: random.Random, steps: int) -> tuple[list[AnyEvent], set[str], set[str], set[str]]:
    """A session, and the tests, errors and edits that are open at its end."""
    events: list[AnyEvent] = [started("mend clamp and what hangs on it")]
    changed: list[str] = []
    failing: dict[str, tuple[list[str], list[str]]] = {}
    for step in range(1, steps + 1):
        match rng.randrange(4):
            case 0:
                events += read(step, f"src/m{rng.randrange(30)}.py", "def f(x):\n    return x\n" * 150)
            case 1:
                path = f"src/m{rng.randrange(30)}.py"
                changed += [path] if path not in changed else []
                events += edited(step, path, changed)
            case _:
                command = f"pytest tests/part{rng.randrange(3)}"
                names = [
                    f"tests/test_{rng.randrange(900)}.py::test_{step}_{at}" for at in range(rng.randrange(4))
                ]
                errors = [rng.choice(["ValueError", "KeyError", "demo.OddError"]) for _ in names]
                failing[command] = names, errors
                n = rng.randrange(900)
                rows = [f"FAILED {t} - {e}: no {n}" for t, e in zip(names, errors, strict=True)]
                text = TRACEBACK.format(
                    noise="collected some items ................\n" * 120,
                    test="test_a",
                    n=n,
                    more="\n".join(rows),
                    failed=len(names) + 1,
                    passed=900,
                )
                if names:
                    failing[command] = [f"tests/test_{n}.py::test_a", *names], ["AssertionError", *errors]
                events += ran(step, command, 1 if names else 0, text if names else "900 passed in 3.0s")
    tests = {test for names, _ in failing.values() for test in names}
    errors_ = {error for _, found in failing.values() for error in found}
    return events, tests, errors_, set(changed)


@pytest.mark.parametrize("seed", range(5))
def test_long_sessions_shrink_to_a_fifth_and_keep_tests_errors_and_edits(seed: int) -> None:
    events, tests, errors, changed = long_session(derived_random(seed, "sessions"), 220)
    before = window_tokens(State(events).messages)
    made, _, _ = shrunk(events, before // 6)

    assert before > 5 * window_tokens(made.messages)
    text = made.messages[2].content
    for what in (tests, errors, changed):
        missing = [one for one in what if one not in text]
        assert not missing


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(800, 20_000))
def test_the_window_never_overflows_and_what_is_left_out_is_behind_a_handle(
    seed: int, steps: int, budget: int
) -> None:
    events, tests, errors, changed = long_session(derived_random(seed, "any"), steps)
    events.insert(1, PersonSaid(text="Use tabs. " * 3))
    made, store, _ = shrunk(events, budget)

    assert window_tokens(made.messages) <= budget
    reachable = whole(made) + "".join(text for handle, text in store.items() if handle in whole(made))
    for what in (tests, errors, changed, {"Use tabs. Use tabs. Use tabs."}):
        missing = [one for one in what if one not in reachable]
        assert not missing
    again = compact(made.messages, [*events, made], 99, budget, lambda text: "0" * 64)
    assert window_tokens(again.messages) <= budget


def test_compacting_again_loses_nothing() -> None:
    events, tests, _, changed = long_session(derived_random(7, "again"), 120)
    state = State(events)
    for _ in range(3):
        made = compact(state.messages, events, state.step, 6_000, lambda text: "0" * 64)
        events.append(made)
        state.apply(made)
    text = "\n".join(message.content for message in state.messages)
    assert all(one in text for one in tests | changed)
    assert text.count("What happened so far") == 1


def test_a_task_that_alone_fills_the_window_is_shortened_and_stays_behind_a_handle() -> None:
    events: list[AnyEvent] = [started("word " * 20_000), *read(1, "a.py", "x" * 9_000)]
    made, store, _ = shrunk(events, 3_000)
    assert window_tokens(made.messages) <= 3_000
    assert any(text == "word " * 20_000 for text in store.values())


def test_what_the_person_said_what_failed_and_what_was_denied_stays() -> None:
    denied = Decided(
        step=3,
        call_id="c3",
        tool="write_file",
        access=Access("write", Resource("file", ".env")),
        effect="deny",
        reason="nobody writes secrets",
    )
    events: list[AnyEvent] = [
        started(),
        PersonSaid(text="Never touch setup.py."),
        *read(1, "a.py", "y" * 30_000),
        LoopFound(step=2, tools=("grep",), times=3),
        denied,
        replied(4, "I decided to mend clamp in place.", ToolCall("c4", "todo", "{}")),
        ToolFinished(
            step=4, call_id="c4", tool="todo", arguments="{}", outcome="ok", output="[x] look\n[>] mend"
        ),
        *read(5, "b.py", "z" * 30_000),
    ]
    text = whole(shrunk(events, 2_500)[0])
    for what in ("Never touch setup.py.", "went in circles with grep", "write .env was denied", "[>] mend"):
        assert what in text
    assert "Nothing is verified yet." in text


def test_only_the_last_run_of_a_command_counts() -> None:
    failed = TRACEBACK.format(noise="", test="test_a", n=3, more="", failed=1, passed=2)
    events: list[AnyEvent] = [
        started(),
        *ran(1, "pytest", 1, failed),
        *ran(2, "pytest", 0, "3 passed in 1.0s"),
    ]
    assert facts(events).runs[0].failing == ()
    assert "test_a" not in shrunk(events, 3_000)[0].messages[2].content


def test_a_failed_verification_is_not_told_as_done() -> None:
    failed = TRACEBACK.format(noise="", test="test_a", n=3, more="", failed=1, passed=2)
    events: list[AnyEvent] = [
        started(),
        replied(1, "All done!"),
        Verified(step=1, command="pytest -q", ok=False, output=failed, exit_code=1, duration_s=1.0),
    ]
    text = shrunk(events, 3_000)[0].messages[2].content
    assert "`pytest -q` failed at step 1" in text
    assert "tests/test_3.py::test_a" in text
    assert "- at tests/test_3.py:3" in text
    assert "unittest/case.py" not in text.partition("Commands,")[0], "frames of libraries tell nothing"


def test_an_answer_that_comes_again_is_sent_once() -> None:
    text = "the same listing\n" * 30
    events: list[AnyEvent] = [started(), *read(1, "a.py", text), *read(2, "a.py", text)]
    made = shrunk(events, 2_000)[0]
    assert whole(made).count(text) == 1
    assert "[the same as a later answer]" in whole(made)


def test_the_command_that_ran_last_shows_its_output() -> None:
    events: list[AnyEvent] = [started()]
    for step, command in enumerate(("make a", "make b", "make c", "make a"), 1):
        events += ran(step, command, 2, f"no rule for {step}")
    assert [run.command for run in facts(events).runs] == ["make b", "make c", "make a"]
    text = shrunk(events, 3_000)[0].messages[2].content
    assert "no rule for 4" in text
    assert "no rule for 2" not in text


def test_open_edits_say_how_they_came_about() -> None:
    events = [started(), *edited(1, "a.py", ["a.py"]), *edited(2, "b.py", ["b.py", "made.txt"])]
    assert facts(events).open_edits == (
        "b.py: written by edit_file at step 2",
        "made.txt: changed by a command",
    ), "a.py is as it was again"


def test_a_summary_takes_the_place_of_the_one_before() -> None:
    events: list[AnyEvent] = [started(), *read(1, "a.py", "y"), *read(2, "b.py", "z")]
    state = State(events)
    for _ in range(2):
        made = compact(state.messages, events, state.step, 50_000, lambda text: "0" * 64)
        state.apply(made)
    assert whole(made).count("What happened so far") == 1
    assert len(made.messages) == 7


class Notes:
    """A model that keeps notes, or cannot be reached."""

    name, scripted, context_tokens = "openai:gpt-5-nano", False, None

    def __init__(self, text: str | None) -> None:
        self.asked: list[Sequence[Message]] = []
        self._text = text

    def stream(
        self, messages: Sequence[Message], tools: object, options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        self.asked.append(messages)
        if self._text is None:
            raise Unavailable("nobody is there")
        yield TextDelta(self._text)
        yield Usage(input=1_000_000, output=1_000)


def test_a_models_notes_come_beside_the_facts_and_are_paid_for() -> None:
    events, tests, _, changed = long_session(derived_random(3, "notes"), 60)
    state = State(events)
    model = Notes("The clamp was wrong at its upper end.\nThe key is sk-proj-" + "a1B2" * 12)
    made = WithNotes(model)(state, events, 6_000, lambda text: "0" * 64)
    text = whole(made)
    assert "not checked by anybody:\nThe clamp was wrong at its upper end." in text
    assert "a1B2a1B2" not in text
    assert all(one in text for one in tests | changed)
    assert window_tokens(made.messages) <= 6_000
    before = state.tokens
    state.apply(made)
    assert (made.model, state.tokens - before) == ("openai:gpt-5-nano", 1_001_000)
    assert state.cost_usd == pytest.approx(0.05 + 0.0004)
    [asked] = model.asked
    assert window_tokens(asked) < 26_000


def test_without_its_model_a_window_is_compacted_all_the_same() -> None:
    events, tests, _, _ = long_session(derived_random(3, "notes"), 60)
    made = WithNotes(Notes(None))(State(events), events, 6_000, lambda text: "0" * 64)
    assert all(one in whole(made) for one in tests)
    assert "not checked by anybody" not in whole(made)


@given(st.integers(0, 1_000), st.integers(1, 40), st.integers(900, 6_000), st.text(max_size=9_000))
def test_long_notes_do_not_overflow_the_window(seed: int, steps: int, budget: int, notes: str) -> None:
    events, tests, _, _ = long_session(derived_random(seed, "any"), steps)
    store: dict[str, str] = {}

    def keep(text: str) -> str:
        return store.setdefault(f"{len(store):064x}", text) and f"{len(store) - 1:064x}"

    made = compact(State(events).messages, events, 1, budget, keep, notes)
    assert window_tokens(made.messages) <= budget
    reachable = whole(made) + "".join(text for handle, text in store.items() if handle in whole(made))
    assert all(one in reachable for one in tests)


@pytest.mark.parametrize("output", ["\n" * 24_000, "a." * 12_000, "AError" * 4_000, "a/" * 12_000])
def test_output_that_is_made_to_cost_time_costs_little(output: str) -> None:
    began = time.process_time()
    facts(ran(1, "pytest -q", 1, output))
    assert time.process_time() - began < 1
