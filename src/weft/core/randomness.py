"""Randomness, reached only through here: one root seed gives every component a stream of its own."""

from __future__ import annotations

import random

import xxhash


def system_random() -> random.Random:
    """Unpredictable, from the operating system; for ids and tokens outside tests."""
    return random.SystemRandom()


def derived_random(seed: int, actor: str) -> random.Random:
    """The stream of one named actor under a root seed; streams of different actors are independent."""
    return random.Random(xxhash.xxh3_128_intdigest(actor.encode(), seed=seed & (2**64 - 1)))
