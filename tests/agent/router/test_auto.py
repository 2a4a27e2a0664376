"""The router: hard rules, the learned table, plain defaults, and a reason for each choice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.models.prices import Prices
from weft.agent.router import AutoRouter, Candidate, Outcome, Table
from weft.agent.router.kinds import KINDS, kind_of
from weft.agent.routing import StepFeatures
from weft.core.errors import Invalid
from weft.testing.agent import scripted

NAMES = ["scripted:small", "scripted:middle", "scripted:large"]
SMALL, MIDDLE, LARGE = NAMES
CANDIDATES = [Candidate(scripted(name=name.removeprefix("scripted:"))) for name in NAMES]
USUAL = StepFeatures(
    session="s",
    step=5,
    mode="act",
    task_chars=100,
    window_tokens=5_000,
    files_touched=1,
    failures=0,
    failed_verifications=0,
    tools_only=False,
    cost_usd=0.0,
    last_model=SMALL,
)


def step(**changes: Any) -> StepFeatures:
    return msgspec.structs.replace(USUAL, **changes)


def chosen(router: AutoRouter, **changes: Any) -> str:
    return router.choose(step(**changes)).model.name


def records(kind: str, model: str, chance: float, cost_usd: float, seconds: float) -> list[Outcome]:
    return [Outcome(kind, model, n < chance * 200, cost_usd, seconds) for n in range(200)]  # type: ignore[arg-type]


LEARNED = Table.learn(
    outcome
    for kind in KINDS
    for model, chance, cost, seconds in [
        (SMALL, 0.95 if kind in ("look", "explore") else 0.3, 0.001, 2),
        (MIDDLE, 0.9 if kind in ("look", "explore", "work") else 0.3, 0.01, 4),
        (LARGE, 0.98, 0.1, 10),
    ]
    for outcome in records(kind, model, chance, cost, seconds)
)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"mode": "explore", "step": 1}, "explore"),
        ({"mode": "plan", "failures": 3}, "plan"),
        ({"step": 1}, "begin"),
        ({"failures": 2, "files_touched": 50}, "stuck"),
        ({"failures": 1}, "work"),
        ({"files_touched": 50}, "wide"),
        ({"window_tokens": 100_000, "tools_only": True}, "wide"),
        ({"tools_only": True}, "look"),
        ({}, "work"),
    ],
)
def test_the_kind_of_a_step(changes: dict[str, Any], kind: str) -> None:
    assert kind_of(step(**changes)) == kind


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tools_only": True}, SMALL),
        ({"mode": "explore"}, SMALL),
        ({"step": 1, "last_model": ""}, SMALL),
        ({"step": 1, "last_model": "", "task_chars": 5_000}, LARGE),
        ({"mode": "plan"}, LARGE),
        ({"files_touched": 50}, LARGE),
        ({}, LARGE),
    ],
)
def test_what_is_done_while_nothing_is_known(changes: dict[str, Any], name: str) -> None:
    assert chosen(AutoRouter(CANDIDATES), **changes) == name


def test_the_table_takes_the_cheapest_way_to_a_step_that_works() -> None:
    router = AutoRouter(CANDIDATES, table=LEARNED)
    assert chosen(router, tools_only=True) == SMALL
    assert chosen(router) == MIDDLE
    assert chosen(router, failures=2, last_model=LARGE) == LARGE
    assert chosen(AutoRouter(CANDIDATES, table=LEARNED, usd_per_s=0)) == SMALL


def test_changing_models_loses_the_cache_and_must_pay_off() -> None:
    prices = Prices({MIDDLE: [10.0, 10.0, 1.0], SMALL: [0.1, 0.1], LARGE: [10.0, 10.0, 1.0]})
    router = AutoRouter(CANDIDATES, table=LEARNED, prices=prices)
    assert chosen(router, last_model=SMALL, window_tokens=100) == MIDDLE
    assert chosen(router, last_model=SMALL, window_tokens=50_000) == SMALL
    assert chosen(router, last_model=MIDDLE, window_tokens=50_000) == MIDDLE


@pytest.mark.parametrize("table", [Table(), LEARNED])
def test_failures_in_a_row_go_one_up(table: Table) -> None:
    router = AutoRouter(CANDIDATES, table=table)
    assert chosen(router, failures=2, last_model=MIDDLE) == LARGE
    assert chosen(router, failures=9, last_model=LARGE) == LARGE
    assert chosen(router, failures=2, last_model=SMALL) != SMALL
    assert (
        "2 failures in a row with scripted:middle"
        in router.choose(step(failures=2, last_model=MIDDLE)).reason
    )


@pytest.mark.parametrize("table", [Table(), LEARNED])
def test_each_failed_verification_raises_what_is_good_enough(table: Table) -> None:
    router = AutoRouter(CANDIDATES, table=table)
    small_step = {"tools_only": True}
    names = [chosen(router, failed_verifications=n, **small_step) for n in range(4)]
    assert names == [SMALL, MIDDLE, LARGE, LARGE]
    assert "1 failed verification so far" in router.choose(step(failed_verifications=1)).reason


def test_a_prompt_goes_where_it_fits() -> None:
    candidates = [
        msgspec.structs.replace(candidate, context_tokens=tokens)
        for candidate, tokens in zip(CANDIDATES, [8_000, 200_000, 32_000], strict=True)
    ]
    router = AutoRouter(candidates)
    assert chosen(router, tools_only=True, window_tokens=7_000) == SMALL
    assert chosen(router, tools_only=True, window_tokens=7_300) == MIDDLE
    assert chosen(router, window_tokens=50_000) == MIDDLE
    assert chosen(router, window_tokens=900_000) == MIDDLE
    assert chosen(router, window_tokens=50_000, failures=2, last_model=MIDDLE) == MIDDLE


FEATURES = st.builds(
    StepFeatures,
    session=st.just("s"),
    step=st.integers(1, 60),
    mode=st.sampled_from(["act", "plan", "explore"]),
    task_chars=st.integers(1, 9_000),
    window_tokens=st.integers(0, 300_000),
    files_touched=st.integers(0, 40),
    failures=st.integers(0, 9),
    failed_verifications=st.integers(0, 9),
    tools_only=st.booleans(),
    cost_usd=st.floats(0, 9),
    last_model=st.sampled_from(["", "gone", *NAMES]),
)


@given(FEATURES, st.sampled_from([Table(), LEARNED]))
def test_any_step_gets_a_choice_that_is_explained_and_the_same_again(f: StepFeatures, table: Table) -> None:
    first = AutoRouter(CANDIDATES, table=table).choose(f)
    again = AutoRouter(CANDIDATES, table=Table.from_json(table.to_json())).choose(f)
    assert (first.model.name, first.reason) == (again.model.name, again.reason)
    assert first.reason.startswith(f"{kind_of(f)}: {first.model.name}: ")


@given(FEATURES, st.sampled_from([Table(), LEARNED]))
def test_more_failed_verifications_never_make_it_weaker(f: StepFeatures, table: Table) -> None:
    router = AutoRouter(CANDIDATES, table=table)
    worse = msgspec.structs.replace(f, failed_verifications=f.failed_verifications + 1)
    floor = min(worse.failed_verifications, len(NAMES) - 1)
    assert NAMES.index(router.choose(worse).model.name) >= floor


@pytest.mark.parametrize("candidates", [[], [CANDIDATES[0], CANDIDATES[0]]])
def test_candidates_must_differ(candidates: list[Candidate]) -> None:
    with pytest.raises(Invalid, match="from the weakest to the strongest"):
        AutoRouter(candidates)
