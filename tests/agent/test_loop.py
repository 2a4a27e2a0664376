"""What the loop promises beyond the plain round: early starts, plans, sub-agents, circles, budgets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from weft.agent import Agent, Answer, Budgets, RunResult
from weft.agent.early import ArrivingCalls
from weft.agent.events import (
    AnyEvent,
    Compacted,
    Decided,
    LoopFound,
    ModelReplied,
    PersonSaid,
    SessionStarted,
    ToolFinished,
    Verified,
)
from weft.agent.loops import Turn, circle
from weft.agent.models.prices import Prices
from weft.agent.models.protocol import (
    DEFAULTS,
    CallDelta,
    Delta,
    Message,
    Options,
    Stopped,
    TextDelta,
    ToolSpec,
    Usage,
)
from weft.agent.models.scripted import OffScript, ScriptedCall, ScriptedModel, ScriptedStep
from weft.agent.policy import Access, Ask, Decision, Question, RulePolicy
from weft.agent.routing import Choice, StepFeatures
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.agent.tools import Observation, ToolContext
from weft.core.errors import LimitExceeded, Unavailable
from weft.kv.memory import MemoryStore
from weft.testing.agent import BROKEN, MENDED, Cast, call, failing_repository, scripted, step
from weft.testing.clock import VirtualClock

SEARCH, REPLACE = BROKEN.split("\n")[1] + "\n", MENDED.split("\n")[1] + "\n"
QUICK = "grep -q 'sum(values) / len(values)' calc.py"
MEND = call("edit_file", path="calc.py", search=SEARCH, replace=REPLACE)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return failing_repository(tmp_path / "repository")


def open_agent(repository: Path, model: object, **options: object) -> Agent:
    options = {"sandbox": Unconfined(), "verify": QUICK} | options
    return Agent.open(repository, model=model, **options)  # type: ignore[arg-type]


def of(kind: type, events: Sequence[AnyEvent]) -> list:
    return [event for event in events if isinstance(event, kind)]


# early starts


class ProbeArguments(msgspec.Struct, frozen=True):
    name: str = ""


class Probe:
    """A tool that says when it runs; the first of two goes on only once the reply is on record."""

    name, description, read_only, arguments = "probe", "probe", True, ProbeArguments

    def __init__(self) -> None:
        self.ran = {name: threading.Event() for name in ("", "first", "second")}
        self.on_record = threading.Event()

    def accesses(self, arguments: ProbeArguments) -> list[Access]:
        return []

    def run(self, arguments: ProbeArguments, context: ToolContext) -> Observation:
        if arguments.name == "first":
            assert self.on_record.wait(10)
        self.ran[arguments.name].set()
        return Observation(f"probed {arguments.name}")


class Streaming:
    """A model that goes on with its reply only once its first calls have run."""

    name, scripted, context_tokens = "streaming", False, None

    def __init__(self, probe: Probe, wait_for: str = "second", fail: bool = False) -> None:
        self._probe, self._wait_for, self._fail = probe, wait_for, fail
        self.saw_it_run = False

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        if messages[-1].role == "tool":
            yield TextDelta("done")
            return
        for index, name in enumerate(("first", "second")):
            yield CallDelta(index, f"c{index}", "probe", '{"name": "')
            yield CallDelta(index, arguments=f'{name}"}}')
        self.saw_it_run = self._probe.ran[self._wait_for].wait(10)
        if self._fail:
            raise Unavailable("overloaded")
        yield TextDelta("meanwhile")
        yield Stopped("calls")
        yield Usage(5, 5)


def test_reads_start_while_the_reply_goes_on_and_are_recorded_in_order(repository: Path) -> None:
    probe = Probe()
    model = Streaming(probe)
    agent = open_agent(
        repository,
        model,
        tools=[probe],
        verify="true",
        on_event=lambda event: probe.on_record.set() if isinstance(event, ModelReplied) else None,
    )
    result = agent.run("look")
    assert model.saw_it_run
    assert [type(event) for event in result.events[:4]] == [
        SessionStarted,
        ModelReplied,
        ToolFinished,
        ToolFinished,
    ]
    assert [event.output for event in of(ToolFinished, result.events)] == ["probed first", "probed second"]
    assert [event.call_id for event in of(ToolFinished, result.events)] == ["c0", "c1"]


def test_what_began_for_a_reply_that_broke_off_is_not_on_record(repository: Path) -> None:
    probe = Probe()
    store = SessionStore()
    probe.on_record.set()
    agent = open_agent(repository, Streaming(probe, fail=True), tools=[probe], session_store=store)
    with pytest.raises(Unavailable) as raised:
        agent.run("look")
    (session,) = store.sessions()
    assert raised.value.fields["session"] == session
    assert [type(event) for event in store.events(session)] == [SessionStarted]


def pieces(*calls: tuple[str, str], size: int = 3) -> Iterator[Delta]:
    for index, (name, arguments) in enumerate(calls):
        yield CallDelta(index, f"c{index}", name)
        for at in range(0, len(arguments), size):
            yield CallDelta(index, arguments=arguments[at : at + size])


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("calls", "started"),
    [
        ([("read", '{"a": {"b": "}"}}'), ("read", "{}")], ["c0", "c1"]),
        ([("read", "{}"), ("write", "{}"), ("read", "{}")], ["c0"]),
        ([("write", "{}"), ("read", "{}")], []),
        ([("read", '{"a": }'), ("read", "{}")], []),
        ([("read", '["}"]'), ("read", "{}")], []),
    ],
)
def test_a_call_starts_early_only_when_whole_and_behind_reads(
    calls: list[tuple[str, str]], started: list[str], size: int
) -> None:
    arriving = ArrivingCalls(lambda name: name == "read")
    found = [made for delta in pieces(*calls, size=size) if (made := arriving.take(delta))]
    assert [made.id for made in found] == started
    assert [made.arguments for made in found] == [text for _, text in calls[: len(started)]]


# modes


def test_a_plan_changes_nothing_and_an_act_starts_from_it(repository: Path) -> None:
    offered: list[set[str]] = []

    class Watching(Cast):
        def stream(self, messages, tools, options=DEFAULTS):  # type: ignore[no-untyped-def]
            offered.append({tool.name for tool in tools})
            return super().stream(messages, tools, options)

    planning = scripted(
        step(call("read_file", path="calc.py")), step(say="1. Divide by len(values) in calc.py.")
    )
    plan = open_agent(repository, Watching(planning)).run("mend it", mode="plan")
    assert (plan.ok, plan.reason, plan.diff) == (True, "answered", "")
    assert not offered[0] & {"edit_file", "write_file", "apply_patch", "run_command", "run_tests"}
    assert "read_file" in offered[0]
    acting = scripted(step(MEND, expect="1. Divide by len(values)"), step(say="Done."))
    assert open_agent(repository, acting).run("mend it", plan=plan.summary).ok


class Sly:
    """Claims to read only, and wants to write."""

    name, description, read_only, arguments = "sly", "sly", True, ProbeArguments

    def accesses(self, arguments: ProbeArguments) -> list[Access]:
        return [msgspec.convert({"action": "write", "resource": {"kind": "file", "name": "a"}}, Access)]

    def run(self, arguments: ProbeArguments, context: ToolContext) -> Observation:
        raise AssertionError("it ran")


def test_planning_denies_what_a_tool_would_write_whatever_it_says_of_itself(repository: Path) -> None:
    class Calling(Streaming):
        def stream(self, messages, tools, options=DEFAULTS):  # type: ignore[no-untyped-def]
            if messages[-1].role == "tool":
                yield TextDelta("a plan")
            else:
                yield CallDelta(0, "c", "sly", "{}")
                yield CallDelta(1, "d", "edit_file", "{}")

    result = open_agent(repository, Calling(Probe()), tools=[Sly()]).run("x", mode="plan")
    assert [event.outcome for event in of(ToolFinished, result.events)] == ["denied", "invalid"]
    assert [event.effect for event in of(Decided, result.events)] == ["deny"]


# sub-agents


def exploring() -> Cast:
    return Cast(
        scripted(
            step(
                call("explore", question="alpha: where is the mean?"),
                call("explore", question="beta: tests?"),
            ),
            step(MEND, expect=["calc.py:1 has the mean", "test_calc.py has one test"]),
            step(say="Done."),
        ),
        **{
            "alpha:": scripted(
                step(call("grep", pattern="def mean")),
                step(say="calc.py:1 has the mean", expect="calc.py:1:"),
            ),
            "beta:": scripted(
                step(call("list_dir"), call("read_file", path="test_calc.py")),
                step(say="test_calc.py has one test"),
            ),
        },
    )


def test_sub_agents_have_their_own_session_window_and_tools_and_are_paid_by_their_parent(
    repository: Path,
) -> None:
    store = SessionStore()
    result = open_agent(repository, exploring(), session_store=store).run("mend it")
    assert result.ok
    answers = of(ToolFinished, result.events)[:2]
    children = [event.child for event in answers]
    assert children == [f"{result.session}.1.call_1_1", f"{result.session}.1.call_1_2"]
    assert set(store.sessions()) == {result.session, *children}
    for child, answer in zip(children, answers, strict=True):
        events = store.events(child)
        assert events[0].parent == result.session
        assert (events[0].mode, events[0].because) == ("explore", "explore")
        assert answer.tokens == State(events).tokens == 22
        assert State(events).messages[1].content.startswith(("alpha", "beta"))
    assert result.tokens == 3 * 11 + 2 * 22


def test_an_interruption_reaches_sub_agents_and_they_go_on_with_their_parent(repository: Path) -> None:
    store = SessionStore()

    def at_work(event: AnyEvent) -> None:
        if "." in event.session and isinstance(event, ModelReplied) and event.step == 1:
            agent.interrupt()

    agent = open_agent(repository, exploring(), session_store=store, on_event=at_work)
    stopped = agent.run("mend it")
    assert stopped.reason == "interrupted: the person asked to stop"
    assert not of(ToolFinished, stopped.events)
    resumed = open_agent(repository, exploring(), session_store=store).resume(stopped.session)
    assert resumed.ok
    children = [session for session in store.sessions() if "." in session]
    assert len(children) == 2
    for child in children:
        steps = [event.step for event in store.events(child) if isinstance(event, ModelReplied)]
        assert steps == [1, 2]


def sent_out(repository: Path, role: ScriptedModel, **options: object) -> tuple[RunResult, list[AnyEvent]]:
    """What comes of a sub-agent that follows this script."""
    store = SessionStore()
    main = scripted(step(call("explore", question="gamma: look")), step(say="x", expect="no answer"))
    model = Cast(main, **{"gamma:": role})
    result = open_agent(repository, model, session_store=store, verify="true", **options).run("look")
    return result, store.events(f"{result.session}.1.call_1_1")


def test_a_sub_agent_ends_at_its_own_budget_and_at_what_its_parent_has_left(repository: Path) -> None:
    endless = scripted(*[step(call("read_file", path="calc.py", start_line=1 + n % 2)) for n in range(20)])
    result, child = sent_out(repository, endless)
    assert result.ok
    assert child[-1].reason.startswith("it goes in circles")
    result, child = sent_out(repository, endless, budgets=Budgets(tokens=60))
    assert result.reason == child[-1].reason.replace("49", "60") == "the budget of 60 tokens is spent"


@pytest.mark.parametrize(
    "forbidden", [call("write_file", path="a", content="b"), call("explore", question="gamma: deeper")]
)
def test_a_sub_agent_is_offered_neither_writing_nor_sub_agents(
    repository: Path, forbidden: ScriptedCall
) -> None:
    with pytest.raises(OffScript, match=f"calls `{forbidden.tool}`"):
        sent_out(repository, scripted(step(forbidden)))


# circles


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ("aaa", "a"),
        ("xaaa", "a"),
        ("ababab", "ab"),
        ("abcabcabc", "abc"),
        ("aab", ""),
        ("ababa", ""),
        ("aabaab", ""),
        ("abcdabcdabcd", ""),
        ("", ""),
    ],
)
def test_a_circle_is_a_round_of_up_to_three_three_times_over(turns: str, expected: str) -> None:
    assert "".join(circle([Turn(each, "", "") for each in turns])) == expected


def test_waiting_for_a_command_is_no_circle_unless_something_else_goes_round_with_it() -> None:
    wait, look = Turn("command_output", "{}", "running"), Turn("read_file", "{}", "text")
    assert circle([wait] * 9) == ()
    assert circle([wait, look] * 3) == ("command_output", "read_file")


LOOK, LIST = call("read_file", path="calc.py"), call("list_dir")


@pytest.mark.parametrize(
    "rounds",
    [
        [[LOOK]] * 6,
        [[LOOK], [LIST]] * 6,
        [[LOOK, LIST]] * 6,
        [[call("run_command", command="echo 0x$(date +%N); echo took 0.$(date +%N)s; false")]] * 6,
        [[call("nothing_such")]] * 6,
        [[call("write_file", path="a", content="1")], [call("write_file", path="a", content="2")]] * 7,
        [[]] * 6,
    ],
)
def test_going_in_circles_is_told_and_then_ends_with_the_reason(repository: Path, rounds: list[list]) -> None:
    model = scripted(*[step(*calls, say="" if calls else "Done.") for calls in rounds], step(LOOK))
    if rounds[0] == [call("nothing_such")]:
        model._check = lambda *ignored: None  # type: ignore[method-assign]
    result = open_agent(repository, model, verify="false").run("mend it")
    assert len(of(LoopFound, result.events)) == 1
    assert "goes in circles" in result.reason
    assert not result.ok
    told = next(m for m in State(result.events).messages if "You go in circles" in m.content)
    assert told.role == "user"


def test_a_person_who_is_asked_may_help_out_of_a_circle(repository: Path) -> None:
    asked: list[str] = []
    model = scripted(*[step(LOOK)] * 6, step(MEND, expect="the divisor"), step(say="Done."))
    agent = open_agent(
        repository, model, ask_user=lambda question, options: asked.append(question) or "look at the divisor"
    )
    result = agent.run("mend it")
    assert result.ok
    assert len(asked) == 1
    assert "`read_file`, 3 times over" in asked[0]
    assert of(PersonSaid, result.events)[0].text == "look at the divisor"


@pytest.mark.parametrize("command", ["echo x >> n; wc -l < n", "echo x >> n"])
def test_the_same_call_with_other_results_or_files_is_no_circle(repository: Path, command: str) -> None:
    count = call("run_command", command=command)
    result = open_agent(repository, scripted(*[step(count)] * 8, step(say="x")), verify="true").run("count")
    assert result.ok
    assert not of(LoopFound, result.events)


# replies


def test_a_reply_that_is_cut_off_is_not_done_and_one_that_refuses_ends(repository: Path) -> None:
    cut = ScriptedStep(say="I have alm", stop="cut")
    result = open_agent(repository, scripted(cut, step(MEND, expect="cut off"), step(say="Done."))).run("x")
    assert result.ok
    assert len(of(Verified, result.events)) == 1
    refused = open_agent(repository, scripted(ScriptedStep(say="I cannot.", stop="refused"))).run("x")
    assert (refused.ok, refused.reason) == (False, "the model refused: I cannot.")


def test_calls_with_one_id_are_told_apart(repository: Path) -> None:
    model = scripted(
        ScriptedStep(
            calls=[
                msgspec.structs.replace(LOOK, id="same"),
                msgspec.structs.replace(call("read_file", path="test_calc.py"), id="same"),
            ]
        ),
        step(say="x", expect=["sum(values)", "assert mean"]),
    )
    result = open_agent(repository, model, verify="true").run("x")
    assert [event.call_id for event in of(ToolFinished, result.events)] == ["same", "same+"]


# budgets


def test_a_budget_of_money_is_kept_and_needs_prices(repository: Path) -> None:
    class Dear(Cast):
        scripted, context_tokens = False, None
        name = "dear"

    def run(prices: Prices, money_usd: float | None = 0.05) -> RunResult:
        looks = [step(call("read_file", path="calc.py", start_line=n % 2 + 1)) for n in range(9)]
        budgets = Budgets(money_usd=money_usd, steps=4)
        return open_agent(repository, Dear(scripted(*looks)), budgets=budgets, prices=prices).run("x")

    kept = run(Prices({"dear": [1_000.0, 10_000.0]}))  # each reply reads 10 tokens and writes one
    assert (kept.steps, kept.reason) == (3, "the budget of $0.05 is spent")
    assert kept.cost_usd == pytest.approx(0.06)
    unknown = run(Prices())
    assert "the price of `dear` is not known" in unknown.reason
    assert unknown.cost_usd is None
    assert run(Prices(), None).steps == 4


def test_pauses_between_runs_are_not_work_and_a_message_starts_a_new_turn(repository: Path) -> None:
    clock = VirtualClock()
    store = SessionStore(clock=clock)

    class Slow(Cast):
        def stream(self, messages, tools, options=DEFAULTS):  # type: ignore[no-untyped-def]
            clock.advance(40)
            return super().stream(messages, tools, options)

    steps = [step(call("read_file", path="calc.py", start_line=number % 2 + 1)) for number in range(9)]
    agent = open_agent(
        repository,
        Slow(scripted(*steps)),
        session_store=store,
        clock=clock,
        budgets=Budgets(time_s=100),
        on_event=lambda event: (
            agent.interrupt() if isinstance(event, ModelReplied) and event.step == 2 else None
        ),
    )
    stopped = agent.run("x")
    assert stopped.reason == "interrupted: the person asked to stop"
    clock.advance(1_000)
    ended = agent.resume(stopped.session)
    assert (ended.steps, ended.reason) == (3, "the budget of 100 s is spent")
    assert agent.resume(stopped.session, message="go on").steps == 6


# routers


def test_a_router_chooses_for_each_step_and_its_reason_is_on_record(repository: Path) -> None:
    seen: list[StepFeatures] = []
    model = scripted(step(LOOK), step(call("read_file", path="none")), step(say="Done."), step(MEND), step())

    class ByFailure:
        def choose(self, features: StepFeatures) -> Choice:
            seen.append(features)
            return Choice(model, "it failed before" if features.failures else "small step")

    result = open_agent(repository, model, router=ByFailure()).run("mend it")
    assert result.ok
    reasons = [event.reason for event in of(ModelReplied, result.events)]
    assert reasons == ["small step", "small step", *["it failed before"] * 2, "small step"]
    assert [features.step for features in seen] == [1, 2, 3, 4, 5]
    assert [features.failed_verifications for features in seen] == [0, 0, 0, 1, 1]
    assert [features.files_touched for features in seen] == [0, 1, 1, 1, 1]
    assert [features.tools_only for features in seen] == [False, True, True, False, True]
    assert all(event.model == "scripted:test" for event in of(ModelReplied, result.events))


# the window


class Noting(Cast):
    """Keeps every prompt that it was sent, and counts tokens as a provider would."""

    def __init__(self, *steps: ScriptedStep, too_long: int = 1 << 60) -> None:
        super().__init__(scripted(*steps))
        self.prompts: list[tuple[Message, ...]] = []
        self._steps, self._too_long = list(steps), too_long

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        size = sum(len(message.content) for message in messages) // 4
        if size > self._too_long:
            raise LimitExceeded("the window is full")
        reply = self._steps[len(self.prompts)]
        self.prompts.append(tuple(messages))
        for index, made in enumerate(reply.calls):
            yield CallDelta(index, f"c{len(self.prompts)}_{index}", made.tool, made.text())
        yield TextDelta(reply.say)
        yield Stopped("calls" if reply.calls else "done")
        yield Usage(size, 10)


def drop_the_middle(state: State, events: Sequence[AnyEvent], budget_tokens: int, keep: object) -> Compacted:
    keep = state.messages[:2]
    note = Message("user", f"[{len(state.messages) - 2} messages were left out, {budget_tokens} tokens]")
    return Compacted(step=state.step, replaced=len(state.messages), messages=(*keep, note))


def big(number: int):  # type: ignore[no-untyped-def]
    return step(call("run_command", command=f"head -c 4000 /dev/zero | tr '\\0' {number}"))


def test_prompts_extend_each_other_byte_for_byte(repository: Path) -> None:
    model = Noting(step(LOOK, LIST), big(1), step(say="Done."), step(MEND), step(say="Done."))
    assert open_agent(repository, model).run("mend it").ok
    assert len(model.prompts) == 5
    for shorter, longer in zip(model.prompts, model.prompts[1:], strict=False):
        assert msgspec.json.encode(longer).startswith(msgspec.json.encode(shorter)[:-1])
        assert len(longer) > len(shorter)


@pytest.mark.parametrize("context", [4_000, 1 << 30])
def test_a_full_window_is_compacted_once_and_the_session_resumes_with_it(
    repository: Path, context: int
) -> None:
    """By the size that is known, or, where the model knows better, by its refusal."""
    steps = [*[big(number) for number in range(1, 6)], step(MEND), step(say="Done.")]
    model = Noting(*steps, too_long=3_500 if context > 4_000 else 1 << 60)
    model.context_tokens = context  # type: ignore[attr-defined]
    result = open_agent(repository, model, compactor=drop_the_middle).run("mend it")
    assert result.ok
    compacted = of(Compacted, result.events)
    assert 1 <= len(compacted) <= 2
    assert all(sum(len(m.content) for m in prompt) // 4 < 3_600 for prompt in model.prompts)
    window = State(result.events).messages
    assert window[0].role == "system"
    assert "were left out" in window[2].content
    assert [m.content for m in model.prompts[-1]] == [m.content for m in window[: len(model.prompts[-1])]]


def test_without_a_compactor_of_its_own_the_structure_is_what_stays(repository: Path) -> None:
    steps = [*[big(number) for number in range(1, 9)], step(MEND), step(say="Done.")]
    model = Noting(*steps)
    model.context_tokens = 5_000  # type: ignore[attr-defined]
    result = open_agent(repository, model).run("mend it")
    assert result.ok
    assert of(Compacted, result.events)
    assert all(sum(len(m.content) for m in prompt) // 4 < 5_000 for prompt in model.prompts)
    assert {prompt[1].content for prompt in model.prompts} == {"mend it"}


def test_a_window_that_is_too_long_right_after_compaction_is_an_error(repository: Path) -> None:
    model = Noting(big(1), too_long=10)
    with pytest.raises(LimitExceeded):
        open_agent(repository, model, compactor=drop_the_middle).run("mend it")


# resuming


class Asking(RulePolicy):
    """Asks before the tests are written."""

    def decide(self, question: Question) -> Decision:
        access = question.access
        if (access.action, access.resource.name) == ("write", "test_calc.py"):
            return Ask("write a test")
        return super().decide(question)


def eventful() -> Cast:
    """Early and parallel reads, sub-agents, an approval, a denial, a circle, a failed verification."""
    again = call("read_file", path="test_calc.py")
    return Cast(
        scripted(
            step(LOOK, LIST, call("grep", pattern="def mean")),
            step(call("explore", question="alpha: where?"), call("explore", question="beta: what?"), LOOK),
            step(again, expect=["calc.py:1 has it", "one test"]),
            step(again),
            step(again),
            step(call("run_command", command="curl x"), say="Something else, then.", expect="in circles"),
            step(call("write_file", path="test_calc.py", content="assert True\n"), expect="denied"),
            step(say="Done.", expect="+assert True"),
            step(MEND, LOOK, expect="Not done yet"),
            step(say="The divisor was off by one."),
        ),
        **{
            "alpha:": scripted(step(call("grep", pattern="def mean"), LIST), step(say="calc.py:1 has it")),
            "beta:": scripted(step(again), step(say="one test", expect="test_mean")),
        },
    )


class Crash(Exception):
    """The process dies."""


@pytest.mark.slow
def test_an_eventful_session_resumed_after_any_event_ends_the_same(repository: Path) -> None:
    options = {"policy": Asking(), "approve": lambda question, reason: Answer.ONCE}
    count = 0

    def counting(event: AnyEvent) -> None:
        nonlocal count
        count += 1

    whole = open_agent(repository, eventful(), on_event=counting, **options).run("mend it")
    assert whole.ok, whole.reason
    assert len(of(LoopFound, whole.events)) == 1
    assert [event.ok for event in of(Verified, whole.events)] == [False, True]
    assert [event.asked for event in of(Decided, whole.events)].count(True) == 1
    assert count > 40

    for number in range(count - 1):
        store = MemoryStore()
        left = iter(range(number))
        lock = threading.Lock()

        def crash(event: AnyEvent, left: Iterator[int] = left, lock: threading.Lock = lock) -> None:
            with lock:
                if next(left, None) is None:
                    raise Crash

        with pytest.raises(Crash):
            open_agent(repository, eventful(), session_store=store, on_event=crash, **options).run("mend it")
        session = SessionStore(store).sessions()[0]
        again = open_agent(repository, eventful(), session_store=store, **options).resume(session)
        assert (again.ok, again.diff, again.summary) == (whole.ok, whole.diff, whole.summary), number
        assert State(again.events).messages == State(whole.events).messages, number
        assert again.tokens == whole.tokens, number


class Broken:
    """A tool from outside with a bug."""

    name, description, read_only = "broken", "Breaks.", True
    arguments = dict[str, Any]
    parameters: ClassVar = {"type": "object"}

    def accesses(self, arguments: object) -> Sequence[Access]:
        return []

    def run(self, arguments: object, context: object) -> Observation:
        return [][3]


def test_a_tool_that_breaks_is_an_observation_and_the_session_goes_on(repository: Path) -> None:
    model = scripted(step(call("broken")), step(MEND), step(say="Done."))
    result = open_agent(repository, model, tools=[Broken()]).run("mend it")
    assert result.ok
    [seen] = [event for event in result.events if isinstance(event, ToolFinished) and event.tool == "broken"]
    assert (seen.outcome, seen.output) == (
        "failed",
        "the tool failed by itself: IndexError: list index out of range",
    )
