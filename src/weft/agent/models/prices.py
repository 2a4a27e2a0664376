"""What a reply costs."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from weft.agent.models.protocol import Usage
from weft.core.errors import Invalid

_TABLE: Final = Path(__file__).with_name("prices.toml")
_DATE: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


class Price(msgspec.Struct, frozen=True):
    """US dollars per million tokens."""

    input: float
    output: float
    cached: float
    cache_write: float

    def cost(self, usage: Usage) -> float:
        """US dollars. `usage.hedged` counts as input that no cache made cheaper: nobody can know."""
        fresh = usage.input - usage.cached - usage.cache_written + usage.hedged
        return (
            fresh * self.input
            + usage.cached * self.cached
            + usage.cache_written * self.cache_write
            + usage.output * self.output
        ) / 1e6


class Prices:
    """Prices by model. `overrides` (`[agent.prices]`) map a pattern to dollars per million tokens: input,
    output, and where they differ from input, cached input and cache writes."""

    def __init__(self, overrides: Mapping[str, Sequence[float]] | None = None) -> None:
        own = {pattern: _price(pattern, numbers) for pattern, numbers in (overrides or {}).items()}
        self._prices = own | {name: price for name, price in _shipped().items() if name not in own}

    def price(self, model: str) -> Price | None:
        """The price of the model with this name (`Model.name`); None where it is not known."""
        for name in (model, _DATE.sub("", model.partition("?")[0])):
            for pattern, price in self._prices.items():
                if pattern == name or fnmatchcase(name, pattern):
                    return price
        return None

    def cost(self, model: str, usage: Usage) -> float | None:
        """What a reply cost in US dollars; None where the price is not known. A script costs nothing."""
        if model.startswith("scripted:"):
            return 0.0
        price = self.price(model)
        return price.cost(usage) if price else None


def shown(cost: float | None) -> str:
    """A cost for people."""
    return "cost unknown" if cost is None else f"${cost:.4f}" if cost < 1 else f"${cost:.2f}"


@functools.cache
def _shipped() -> dict[str, Price]:
    table = tomllib.loads(_TABLE.read_text("utf-8"))["prices"]
    return {pattern: _price(pattern, numbers) for pattern, numbers in table.items()}


def _price(pattern: str, numbers: Sequence[float]) -> Price:
    if not 2 <= len(numbers) <= 4 or any(number < 0 for number in numbers):
        raise Invalid(
            f"the price of `{pattern}` is not two to four amounts",
            hint="give input, output, cached input and cache write in dollars per million tokens",
        )
    paid, output, *rest = numbers
    return Price(paid, output, rest[0] if rest else paid, rest[1] if len(rest) > 1 else paid)
