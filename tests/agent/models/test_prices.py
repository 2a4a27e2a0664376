"""Costs: from tokens of each kind to dollars, and unknown where nobody knows."""

from __future__ import annotations

import pytest

from weft.agent.models import Usage
from weft.agent.models.prices import Prices, shown
from weft.core.errors import Invalid

OVERRIDES = {"chat:*#qwen*": [0.2, 0.6], "openai:gpt-5": [1, 2, 0.5, 4]}


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(input=1_000_000, output=100_000, cached=600_000, cache_written=100_000, reasoning=90_000)
    cost = Prices(OVERRIDES).cost("openai:gpt-5", usage)
    assert cost == pytest.approx(0.3 * 1 + 0.6 * 0.5 + 0.1 * 4 + 0.1 * 2)


def test_a_second_request_is_paid_for_too() -> None:
    usage = Usage(input=1_000_000, cached=1_000_000, hedged=1_000_000)
    assert Prices(OVERRIDES).cost("openai:gpt-5", usage) == pytest.approx(0.5 + 1)


def test_cached_tokens_cost_as_much_as_others_where_nothing_else_is_said() -> None:
    usage = Usage(input=1_000_000, cached=500_000)
    assert Prices(OVERRIDES).cost("chat:http://gpu/v1#qwen3", usage) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("openai:gpt-5-mini", True),
        ("openai:gpt-5-mini-2025-08-07", True),
        ("anthropic:claude-sonnet-4-5-20250929", True),
        ("anthropic:claude-opus-4-20250514", True),
        ("openai:gpt-5-of-next-year", False),
        ("chat:http://gpu/v1#gpt-5", False),
    ],
)
def test_only_what_is_known_has_a_price(model: str, known: bool) -> None:
    cost = Prices().cost(model, Usage(1_000, 10))
    assert (cost is not None) == known
    assert shown(cost).startswith("$" if known else "cost unknown")


def test_old_and_new_models_of_a_family_differ() -> None:
    old, new = Prices().price("anthropic:claude-opus-4-20250514"), Prices().price("anthropic:claude-opus-4-5")
    assert old is not None
    assert new is not None
    assert old.input > new.input


def test_a_script_costs_nothing() -> None:
    assert Prices().cost("scripted:demo", Usage(1_000, 10)) == 0


def test_costs_for_people() -> None:
    assert [shown(cost) for cost in (0.01234, 2.5, None)] == ["$0.0123", "$2.50", "cost unknown"]


@pytest.mark.parametrize("numbers", [[1], [1, 2, 3, 4, 5], [1, -2]])
def test_a_price_that_is_none_is_refused(numbers: list[float]) -> None:
    with pytest.raises(Invalid, match="`x:y`"):
        Prices({"x:y": numbers})
