"""One graph for every benchmark of hops: degrees follow a power law, and a seed decides all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SKEW = 2.0
_PEOPLE_PER_EDGE = 0.1


class PowerLaw(NamedTuple):
    """Distinct edges in the order of source and target, and people `0 .. people - 1` at their ends."""

    people: int
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    since: NDArray[np.int64]
    close: NDArray[np.bool_]

    def starts(self, number: int, seed: int = 2) -> list[str]:
        """People who follow somebody, each as likely as any other."""
        followers = np.unique(self.source)
        chosen = np.random.default_rng(seed).choice(followers, number)
        return [name(int(person)) for person in chosen]


def name(person: int) -> str:
    return f"p{person:08}"


def names(people: NDArray[np.int64]) -> list[str]:
    return [name(person) for person in people.tolist()]


def power_law(edges: int, seed: int = 1) -> PowerLaw:
    """About `edges` edges among a tenth as many people. Both degrees follow a power law, and those of one
    person do not depend on each other."""
    rng = np.random.default_rng(seed)
    people = max(10, int(edges * _PEOPLE_PER_EDGE))
    ends = [rng.permutation(people)[(people * rng.random(edges) ** _SKEW).astype(np.int64)] for _ in range(2)]
    pairs = np.unique(ends[0] * people + ends[1])
    since = rng.integers(2_000, 2_030, len(pairs))
    return PowerLaw(people, pairs // people, pairs % people, since, rng.random(len(pairs)) < 0.5)
