"""Randomness, reached only through here, so that a test or a simulation can pass a seeded stream instead."""

from __future__ import annotations

import random


def system_random() -> random.Random:
    """Unpredictable, from the operating system; for ids and tokens outside tests."""
    return random.SystemRandom()
