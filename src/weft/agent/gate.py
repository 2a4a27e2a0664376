"""Where the accesses of tool calls are let in: by the policy, and by a person where the policy says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.agent.events import Decided
from weft.agent.policy import (
    CONSENT,
    SESSION_APPROVAL_S,
    TO_LEAVE,
    Access,
    Allow,
    Answer,
    Ask,
    Deny,
    Policy,
    Question,
    Resource,
)
from weft.agent.timing import Stopwatch

Approve = Callable[[Question, str], Answer]
"""Asked by a person's side: the question, which tells what may be answered, and what for, in words."""


class NeedsPerson(Exception):  # not an error: the call waits
    """Raised where only a person can give the answer and none may be asked yet."""


class Gate:
    """Puts questions to the policy, and to a person where the policy says so."""

    def __init__(
        self,
        policy: Policy,
        *,
        session: str,
        user: str,
        approve: Approve | None,
        stopwatch: Stopwatch,
        covered: Sequence[str] = (),
    ) -> None:
        """`covered` are the hidden paths that the sandbox was opened with."""
        self._covered = frozenset(covered)
        self._policy = policy
        self._session = session
        self._user = user
        self._approve = approve
        self._stopwatch = stopwatch

    def decide(
        self,
        step: int,
        call_id: str,
        tool: str,
        access: Access,
        *,
        may_ask: bool = True,
        because: str = "",
        answers: tuple[Answer, ...] | None = None,
    ) -> Decided:
        """The final answer to one access, as an event; `NeedsPerson` where that takes a person who may not be
        asked. A person is told what for, and `because`, and gives one of the `answers`."""
        consents = TO_LEAVE if access.action == "run_outside" else CONSENT
        question = Question(self._session, self._user, tool, access, answers or consents)
        with self._stopwatch.phase("policy"):
            decision = self._policy.decide(question)
        answer, effect, reason = None, isinstance(decision, Allow), decision.reason
        if isinstance(decision, Ask):
            if not may_ask:
                raise NeedsPerson
            answer = self._ask(question, decision.reason + because)
            effect = answer is not Answer.REFUSE and answer in consents
            reason = _said(decision.reason, answer)
        return Decided(
            step=step,
            call_id=call_id,
            tool=tool,
            access=access,
            effect="allow" if effect else "deny",
            reason=reason,
            asked=isinstance(decision, Ask),
            answer=answer,
        )

    def may_allow(self, tool: str, access: Access) -> bool:
        """Whether the policy or a person could allow it: something that can only be denied is not offered."""
        with self._stopwatch.phase("policy"):
            question = Question(self._session, self._user, tool, access)
            return not isinstance(self._policy.decide(question), Deny)

    def may_read(self, path: str) -> bool:
        """Whether a file that a tool came upon may be shown; leaves no event, for it shows nothing if not."""
        access = Access("read", Resource("file", path))
        with self._stopwatch.phase("policy"):
            return isinstance(self._policy.decide(Question(self._session, self._user, "", access)), Allow)

    def hidden(self) -> Sequence[str]:
        """The paths in the workspace that nothing in the sandbox may read."""
        with self._stopwatch.phase("policy"):
            return self._policy.hidden(self._session, self._user)

    def uncovered(self) -> list[str]:
        """The paths that were hidden since the sandbox opened, and that a command in it could still read."""
        return [path for path in self.hidden() if path not in self._covered]

    def _ask(self, question: Question, what: str) -> Answer | None:
        """What a person says; None where nobody is there."""
        if self._approve is None:
            return None
        answer = self._approve(question, what)
        if answer not in question.answers:
            return Answer.REFUSE
        if answer in (Answer.SESSION, Answer.OUTSIDE_SESSION):
            self._policy.approve(question.session, question.access, SESSION_APPROVAL_S)
        return answer


def _said(what: str, answer: Answer | None) -> str:
    if answer is None:
        return f"needs a person's consent to {what}, and nobody is there to ask"
    return f"asked to {what}, a person said: {answer.value}"
