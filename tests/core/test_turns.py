"""Turns of the interpreter: short while anybody writes, and then as they were."""

from __future__ import annotations

import sys

import pytest

from weft.core.turns import short_turns


def test_turns_are_short_until_the_last_that_asked_is_done() -> None:
    before = sys.getswitchinterval()
    with short_turns():
        short = sys.getswitchinterval()
        assert short < before
        with short_turns():
            assert sys.getswitchinterval() == short
        assert sys.getswitchinterval() == short
    assert sys.getswitchinterval() == before


def test_turns_are_as_before_after_an_error() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), short_turns():
        raise KeyError
    assert sys.getswitchinterval() == before


def test_turns_that_are_shorter_already_stay() -> None:
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-5)
        with short_turns():
            assert sys.getswitchinterval() == pytest.approx(1e-5)
    finally:
        sys.setswitchinterval(before)
