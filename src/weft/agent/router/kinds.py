"""What kind of step it is, from what a session's events tell before it."""

from __future__ import annotations

from typing import Final, Literal, get_args

from weft.agent.routing import StepFeatures

Kind = Literal["explore", "plan", "begin", "stuck", "wide", "look", "work"]
"""explore: a sub-agent reads; plan: nothing is changed, but everything follows from it; begin: the first step
of a task; stuck: failures in a row; wide: many files or a long window; look: the model reads and runs tools
without a word; work: everything else."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

# One failure is often news, as of the test that was to be mended; after two something is not seen.
FAILURES_IN_A_ROW: Final = 2
# A task of a few lines names its place; a longer one has to be understood first.
_LONG_TASK_CHARS: Final = 800
# Changes over more files than this hang together in ways that a small model loses sight of.
_MANY_FILES: Final = 6
_LONG_WINDOW_TOKENS: Final = 60_000


def kind_of(step: StepFeatures) -> Kind:
    """The step's kind; the first that fits, in the order of `Kind`."""
    if step.mode == "explore":
        return "explore"
    if step.mode == "plan":
        return "plan"
    if step.step == 1:
        return "begin"
    if step.failures >= FAILURES_IN_A_ROW:
        return "stuck"
    if step.files_touched > _MANY_FILES or step.window_tokens > _LONG_WINDOW_TOKENS:
        return "wide"
    return "look" if step.tools_only else "work"


def wants_strength(kind: Kind, step: StepFeatures) -> bool:
    """Whether steps like this are given to the strongest model as long as nothing is known about them."""
    if kind == "begin":
        return step.task_chars > _LONG_TASK_CHARS
    return kind not in ("explore", "look")
