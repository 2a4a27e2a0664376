"""The router: hard rules first, then the learned table, and a plain default where nothing was learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from weft.agent.models.prices import Price, Prices
from weft.agent.models.protocol import Model
from weft.agent.router.kinds import FAILURES_IN_A_ROW, Kind, kind_of, wants_strength
from weft.agent.router.table import Table
from weft.agent.routing import Choice, StepFeatures
from weft.core.errors import Invalid

# A person who waits costs about a cent per second.
_USD_PER_S: Final = 0.01
# The answer and the next observation must fit too.
_FILL: Final = 0.9


class Candidate(msgspec.Struct, frozen=True):
    """A model that may be chosen, and how long a prompt it takes (None: any)."""

    model: Model
    context_tokens: int | None = None


class _Option(NamedTuple):
    """A candidate with its rank, 0 being the weakest."""

    rank: int
    candidate: Candidate
    price: Price | None

    @property
    def name(self) -> str:
        return self.candidate.model.name


class AutoRouter:
    """A `Router` over candidates given from the weakest to the strongest.

    In this order: models whose window is too short are out; each failed verification of the session raises
    the least strength by one, and two failures in a row by one above the model that failed; then the table
    says with whom a step of this kind gets done at the least price, counting money, the time of the person
    who waits, the chance of having to do it again, and the cache that a change of models loses; without a
    table, steps that want strength go to the strongest and others to the weakest. Every choice says why.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        table: Table | None = None,
        prices: Prices | None = None,
        usd_per_s: float = _USD_PER_S,
    ) -> None:
        """`usd_per_s` is what a second of waiting is worth."""
        names = [candidate.model.name for candidate in candidates]
        if not candidates or len(set(names)) != len(names):
            raise Invalid(
                "a router chooses among different models",
                hint="give each once, from the weakest to the strongest",
            )
        known = prices or Prices()
        self._options = [
            _Option(rank, candidate, known.price(candidate.model.name))
            for rank, candidate in enumerate(candidates)
        ]
        self._table = table or Table()
        self._usd_per_s = usd_per_s

    def choose(self, features: StepFeatures) -> Choice:
        """The model for this step, and why."""
        kind = kind_of(features)
        fitting = [option for option in self._options if _fits(option, features)] or [self._roomiest()]
        least, why = self._least_rank(features)
        strong = [option for option in fitting if option.rank >= least] or [fitting[-1]]
        option, reason = self._among(strong, kind, features)
        if why and len(strong) < len(fitting):
            reason = f"{why}; {reason}" if len(strong) > 1 else why
        return Choice(option.candidate.model, f"{kind}: {option.name}: {reason}")

    def _roomiest(self) -> _Option:
        return max(self._options, key=lambda option: option.candidate.context_tokens or 0)

    def _least_rank(self, features: StepFeatures) -> tuple[int, str]:
        """How strong the model must be, and why."""
        least, why = 0, ""
        if features.failed_verifications:
            least = features.failed_verifications
            why = f"{_times(features.failed_verifications, 'failed verification')} so far"
        ranks = {option.name: option.rank for option in self._options}
        if features.failures >= FAILURES_IN_A_ROW:
            above = ranks.get(features.last_model, -1) + 1
            if above > least:
                least = above
                why = f"{_times(features.failures, 'failure')} in a row with {features.last_model}"
        return min(least, len(self._options) - 1), why

    def _among(self, options: list[_Option], kind: Kind, features: StepFeatures) -> tuple[_Option, str]:
        if len(options) == 1:
            return options[0], "the only one that comes into question"
        if not all(self._table.knows(option.name) for option in options):
            if wants_strength(kind, features):
                return options[-1], "the strongest, as long as too little is known of steps like this"
            return options[0], "the weakest, as steps like this are small"
        priced = [(self._price_of_done(option, kind, features), option) for option in options]
        (price, best), (next_price, second) = sorted(priced, key=lambda pair: (pair[0], pair[1].rank))[:2]
        found = self._table.estimate(best.name, kind)
        return best, (
            f"done for about ${price:.4f} of money and time (works {found.chance:.0%}, "
            f"${found.cost_usd:.4f}, {found.seconds:.1f} s), against ${next_price:.4f} with {second.name}"
        )

    def _price_of_done(self, option: _Option, kind: Kind, features: StepFeatures) -> float:
        """Dollars until a step of this kind has worked: tries are repeated until one does."""
        found = self._table.estimate(option.name, kind)
        once = found.cost_usd + found.seconds * self._usd_per_s
        if option.price and features.last_model and option.name != features.last_model:
            once += features.window_tokens * (option.price.input - option.price.cached) / 1e6
        return once / found.chance


def _fits(option: _Option, features: StepFeatures) -> bool:
    limit = option.candidate.context_tokens
    return limit is None or features.window_tokens <= limit * _FILL


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
