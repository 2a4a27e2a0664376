"""The learned table: counts that add up in any order, sensible estimates, a file that comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.router import Outcome, Table
from weft.agent.router.kinds import KINDS
from weft.core.errors import Invalid, NotFound

OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(KINDS),
    st.sampled_from(["small", "large"]),
    st.booleans(),
    st.none() | st.integers(0, 64).map(lambda n: n / 64),
    st.integers(0, 64).map(lambda n: n / 4),
)


@given(st.lists(OUTCOMES, max_size=40), st.randoms(use_true_random=False), st.integers(0, 40))
def test_order_and_batches_do_not_matter(found: list[Outcome], rng: object, at: int) -> None:
    whole = Table.learn(found)
    shuffled = found.copy()
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Table.learn(shuffled) == whole
    assert Table.learn(found[:at]).extended(found[at:]) == whole


@given(st.lists(OUTCOMES, max_size=60), st.sampled_from(["small", "large", "new"]), st.sampled_from(KINDS))
def test_an_estimate_is_never_certain_and_never_beyond_what_was_seen(
    found: list[Outcome], model: str, kind: str
) -> None:
    estimate = Table.learn(found).estimate(model, kind)  # type: ignore[arg-type]
    assert 0 < estimate.chance < 1
    seen = [outcome for outcome in found if outcome.model == model]
    assert 0 <= estimate.seconds <= max([outcome.seconds for outcome in seen], default=0) + 1e-9
    assert 0 <= estimate.cost_usd <= max([outcome.cost_usd or 0 for outcome in seen], default=0) + 1e-9


def test_a_long_record_in_a_kind_outweighs_the_one_over_all() -> None:
    good = [Outcome("look", "m", True, 0.01, 1.0)] * 900
    bad = [Outcome("work", "m", False, 0.05, 9.0)] * 900
    table = Table.learn(good + bad)
    assert table.estimate("m", "look").chance > 0.95
    assert table.estimate("m", "work").chance < 0.05
    assert 0.4 < table.estimate("m", "plan").chance < 0.6
    assert table.estimate("m", "look").seconds < 1.2 < 8 < table.estimate("m", "work").seconds


@given(st.lists(OUTCOMES, max_size=40))
def test_a_file_gives_the_table_back(found: list[Outcome]) -> None:
    table = Table.learn(found)
    assert Table.from_json(table.to_json()) == table
    assert Table.from_json(Table.learn(found[::-1]).to_json()).to_json() == table.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"tallies": {"m": {"fly": {}}}}',
        '{"tallies": {"m": {"look": {"steps": 1, "ok": 2}}}}',
        '{"x": 1}',
    ],
)
def test_what_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(Invalid):
        Table.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"table\.json"):
        Table.load(tmp_path / "table.json")
