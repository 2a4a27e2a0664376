"""What steps of a kind came to with each model: counts, learned offline, kept as a small JSON file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from weft.agent.router.kinds import Kind
from weft.agent.router.outcomes import Outcome
from weft.core.errors import Invalid, NotFound

# So many steps weigh a model's record over all kinds, when its record in one kind is short.
_WEIGHT: Final = 20
# With fewer outcomes than this a model's record is luck.
_ENOUGH: Final = 20


class Tally(msgspec.Struct, frozen=True):
    """Steps counted together. Costs that were not known count as nothing; compare times there."""

    steps: int = 0
    ok: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.steps + other.steps,
            self.ok + other.ok,
            self.cost_usd + other.cost_usd,
            self.seconds + other.seconds,
        )


class Estimate(NamedTuple):
    """What to expect of one step."""

    chance: float
    """Of working, between 0 and 1, never quite either."""
    cost_usd: float
    seconds: float


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tallies by model, then by kind of step. Immutable: the same table gives the same choices."""

    tallies: Mapping[str, Mapping[Kind, Tally]] = {}

    @classmethod
    def learn(cls, found: Iterable[Outcome]) -> Table:
        """The table that these outcomes make, in whatever order."""
        return cls().extended(found)

    def extended(self, found: Iterable[Outcome]) -> Table:
        """This table with more outcomes counted in."""
        tallies = {model: dict(kinds) for model, kinds in self.tallies.items()}
        for outcome in found:
            kinds = tallies.setdefault(outcome.model, {})
            one = Tally(1, int(outcome.ok), outcome.cost_usd or 0.0, outcome.seconds)
            kinds[outcome.kind] = kinds.get(outcome.kind, Tally()) + one
        return Table(tallies)

    def knows(self, model: str) -> bool:
        """Whether there is enough to judge the model by."""
        return self._all(model).steps >= _ENOUGH

    def estimate(self, model: str, kind: Kind) -> Estimate:
        """What to expect of the model in a step of this kind.

        A short record in the kind leans on the model's record over all kinds, and that on an even chance
        (additive smoothing).
        """
        every, own = self._all(model), self.tallies.get(model, {}).get(kind, Tally())
        overall = (every.ok + 1) / (every.steps + 2)
        weight, steps = own.steps + _WEIGHT, max(every.steps, 1)
        return Estimate(
            (own.ok + _WEIGHT * overall) / weight,
            (own.cost_usd + _WEIGHT * every.cost_usd / steps) / weight,
            (own.seconds + _WEIGHT * every.seconds / steps) / weight,
        )

    def to_json(self) -> bytes:
        """The table as people and `from_json` read it."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Table:
        """The table in the text; `Invalid` with the reason for what is none."""
        try:
            table = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise Invalid(f"this is not a router's table: {error}", hint="learn one from sessions") from error
        for kinds in table.tallies.values():
            for tally in kinds.values():
                if not 0 <= tally.ok <= tally.steps or tally.cost_usd < 0 or tally.seconds < 0:
                    raise Invalid(
                        "a router's table has impossible counts", hint="learn it anew from sessions"
                    )
        return table

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Table:
        """The table in a file."""
        try:
            return cls.from_json(Path(path).read_bytes())
        except OSError as error:
            raise NotFound(f"the router's table `{path}` cannot be read: {error.strerror}") from error

    def _all(self, model: str) -> Tally:
        return sum(self.tallies.get(model, {}).values(), Tally())
