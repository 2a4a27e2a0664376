"""Running a recorded session again: its replies and its approvals as they were, everything else for real."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from weft.agent.checkpoints import unchanged
from weft.agent.events import AnyEvent, Decided, ModelReplied, PersonSaid, SavedFile, ToolFinished
from weft.agent.models.protocol import (
    DEFAULTS,
    CallDelta,
    Delta,
    Message,
    Options,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolSpec,
)
from weft.agent.models.scripted import OffScript
from weft.agent.policy import Answer, Question
from weft.agent.routing import Choice, StepFeatures
from weft.agent.session import SessionStore
from weft.agent.tools.conversation import AskUser, AskUserArguments, AskUserTool


class Replayed:
    """A router whose model for a step repeats what was recorded for it, in the session or its sub-agents."""

    def __init__(self, store: SessionStore, source: str, replay: str) -> None:
        self._store = store
        self._source = source
        self._replay = replay

    def choose(self, features: StepFeatures) -> Choice:
        session = self._source + features.session.removeprefix(self._replay)
        for event in self._store.events(session):
            if isinstance(event, ModelReplied) and event.step == features.step:
                return Choice(_OneReply(event), f"recorded in {session}")
        raise OffScript(
            f"the session `{session}` has no reply for step {features.step}",
            hint="the tools or the workspace are not what they were; compare the two sessions",
        )


class _OneReply:
    scripted = True
    context_tokens: int | None = None

    def __init__(self, event: ModelReplied) -> None:
        self._event = event
        self.name = event.model or "recorded"

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        event = self._event
        if event.reasoning:
            yield ReasoningDelta(event.reasoning)
        if event.text:
            yield TextDelta(event.text)
        for index, call in enumerate(event.calls):
            yield CallDelta(index, call.id, call.name, call.arguments)
        if event.opaque:
            yield event.opaque
        yield Stopped(event.stop)
        yield event.usage


def originals(events: Sequence[AnyEvent]) -> list[SavedFile]:
    """What every file that the session changed held before, as a change that leaves it so."""
    first: dict[str, SavedFile] = {}
    for event in events:
        for file in getattr(event, "saved", None) or ():
            first.setdefault(file.place, unchanged(file))
    return list(first.values())


def questions(events: Sequence[AnyEvent]) -> AskUser:
    """Says what a person said to the same questions when the session was recorded, in their order."""
    said: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, ToolFinished) and event.tool == AskUserTool.name and event.outcome == "ok":
            asked = msgspec.json.decode(event.arguments, type=AskUserArguments)
            said.setdefault(asked.question, []).append(event.output)
    helped = [event.text for event in events if isinstance(event, PersonSaid)]

    def answer(question: str, options: tuple[str, ...]) -> str | None:
        known = said.get(question, helped)
        return known.pop(0) if known else None

    return answer


class Answers:
    """Answers in a person's place as the person did when the session was recorded; refuses what is new.

    A replay leaves the real workspace alone, and so it does all else outside: nothing runs out there again.
    """

    def __init__(self, events: Sequence[AnyEvent]) -> None:
        self._allowed = {
            (event.tool, event.access)
            for event in events
            if isinstance(event, Decided)
            and event.asked
            and event.effect == "allow"
            and event.access.action != "run_outside"
        }

    def __call__(self, question: Question, reason: str) -> Answer:
        known = (question.tool, question.access) in self._allowed
        return Answer.ONCE if known else Answer.REFUSE
