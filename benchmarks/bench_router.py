"""What does choosing a model for each step save, against always the large one and always the small one?

A simulation, not a measurement: no model is asked. How well, how fast and at what price three models work is
assumed, in the tables below, and so is what tasks are made of; other assumptions give other figures. The
router learns from outcomes of sessions whose models were drawn by lot, and is then tried on other sessions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from _report import Report, latencies_s, scale_from_arguments

from weft.agent.models.prices import Prices
from weft.agent.models.protocol import Usage
from weft.agent.models.scripted import Script, ScriptedModel
from weft.agent.router import AutoRouter, Candidate, Outcome, Table
from weft.agent.router.kinds import Kind, kind_of
from weft.agent.routing import StepFeatures
from weft.core.randomness import derived_random

SESSIONS: Final = 2_000
MAX_STEPS: Final = 50


class Assumed(NamedTuple):
    """A model as the simulation has it: how often an easy and a hard step works, how long one takes, and
    dollars per million tokens (input, output, cached input)."""

    easy: float
    hard: float
    seconds: float
    prices: list[float]


MODELS: Final = {
    "small": Assumed(easy=0.95, hard=0.10, seconds=2.5, prices=[0.25, 2.0, 0.025]),
    "middle": Assumed(easy=0.97, hard=0.45, seconds=5.0, prices=[1.25, 10.0, 0.125]),
    "large": Assumed(easy=0.98, hard=0.85, seconds=9.0, prices=[5.0, 25.0, 0.5]),
}
NAMES: Final = [f"scripted:{name}" for name in MODELS]
# The share of a step of each kind that is as hard as it gets.
HARDNESS: Final[dict[Kind, float]] = {
    "explore": 0.1, "look": 0.1, "begin": 0.3, "work": 0.7, "wide": 0.9, "stuck": 0.9, "plan": 0.9,
}  # fmt: skip

Choose = Callable[[StepFeatures], str]


class Session(NamedTuple):
    solved: bool
    cost_usd: float
    seconds: float
    steps: list[Outcome]


def play(rng: random.Random, choose: Choose, prices: Prices) -> Session:
    """One session: looking and working in turns until enough work is done, then a verification."""
    work_left, difficulty = rng.randint(2, 8), rng.choice([rng.uniform(0, 0.3), rng.uniform(0.6, 1)])
    state = StepFeatures(
        session="", step=1, mode="act", task_chars=rng.choice([120, 400, 2_000]), window_tokens=3_000,
        files_touched=0, failures=0, failed_verifications=0, tools_only=False, cost_usd=0.0, last_model="",
    )  # fmt: skip
    steps: list[Outcome] = []
    flaw = 1.0
    cached: dict[str, int] = {}
    """Each provider's cache holds what its model saw last; the history only grows."""
    for number in range(1, MAX_STEPS + 1):
        kind, name = kind_of(state), choose(state)
        model = MODELS[name.removeprefix("scripted:")]
        hard = HARDNESS[kind] * difficulty
        chance = model.easy * (1 - hard) + model.hard * hard
        ok = rng.random() < chance
        usage = Usage(state.window_tokens, 400, cached.get(name, 0))
        cached[name] = state.window_tokens
        cost = prices.cost("model:" + name, usage) or 0.0
        seconds = model.seconds * rng.uniform(0.7, 1.3)
        steps.append(Outcome(kind, name, ok, cost, seconds))
        is_work = not state.tools_only
        if is_work and ok:
            work_left -= 1
            flaw *= chance
        failed = state.failed_verifications
        if work_left <= 0:
            if rng.random() < flaw**0.3:
                return _ended(True, steps)
            work_left, flaw, failed = 2, 1.0, failed + 1
        state = msgspec.structs.replace(
            state,
            step=number + 1,
            window_tokens=state.window_tokens + 1_200,
            files_touched=state.files_touched + (is_work and ok and rng.random() < 0.5),
            failures=0 if ok else state.failures + 1,
            failed_verifications=failed,
            tools_only=rng.random() < 0.5,
            last_model=name,
        )
    return _ended(False, steps)


def _ended(solved: bool, steps: list[Outcome]) -> Session:
    cost = sum(outcome.cost_usd or 0.0 for outcome in steps)
    return Session(solved, cost, sum(outcome.seconds for outcome in steps), steps)


def sessions(number: int, seed: str, choose: Choose, prices: Prices) -> list[Session]:
    """The same tasks for every way to choose: each session has randomness of its own."""
    return [play(derived_random(n, seed), choose, prices) for n in range(number)]


def by_lot(seed: str) -> Choose:
    rng = derived_random(1, seed)
    return lambda features: rng.choice(NAMES)


def chosen_by(router: AutoRouter) -> Choose:
    return lambda features: router.choose(features).model.name


def steps_of(played: Sequence[Session]) -> Iterator[Outcome]:
    return (outcome for session in played for outcome in session.steps)


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__).splitlines()[0], scale)
    number = max(20, int(SESSIONS * scale))
    prices = Prices({f"*{name}": model.prices for name, model in MODELS.items()})
    table = Table.learn(steps_of(sessions(number, "learn", by_lot("lot"), prices)))
    candidates = [Candidate(ScriptedModel(Script([], name))) for name in MODELS]
    learned = AutoRouter(candidates, table=table, prices=prices)
    ways: dict[str, Choose] = {
        "always large": lambda features: NAMES[-1],
        "always small": lambda features: NAMES[0],
        "Auto, rules alone": chosen_by(AutoRouter(candidates, prices=prices)),
        "Auto, learned": chosen_by(learned),
    }
    for name, choose in ways.items():
        played = sessions(number, "try", choose, prices)
        solved = max(1, sum(session.solved for session in played))
        floor = "" if name == "always large" else "always large"
        report.add(f"{name}: solved", 100 * solved / number, "%")
        for what, total, unit in (
            ("cost per task solved", sum(session.cost_usd for session in played), "$"),
            ("time per task solved", sum(session.seconds for session in played), "s"),
        ):
            report.add(f"{name}: {what}", total / solved, unit, floor=floor and f"{floor}: {what}")
    features = [_features(n) for n in range(max(10, int(2_000 * scale)))]
    (spent,) = latencies_s([lambda f=f: learned.choose(f) for f in features])
    report.add_latencies("one choice", spent)
    report.print()


def _features(n: int) -> StepFeatures:
    return StepFeatures(
        session="", step=n % 40 + 1, mode="act", task_chars=300, window_tokens=n * 97 % 90_000,
        files_touched=n % 9, failures=n % 3, failed_verifications=n % 2, tools_only=n % 2 == 0, cost_usd=0.0,
        last_model=NAMES[n % 3],
    )  # fmt: skip


if __name__ == "__main__":
    main()
