"""The suite of hostile programs itself: every case has a control, and neither can pass by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.sandbox import Promise, SandboxFailed
from weft.agent.sandbox.unconfined import Unconfined
from weft.testing.sandbox import (
    ATTEMPTS,
    Attempt,
    ControlContract,
    Ground,
    Outside,
    Verdict,
    outside_world,
    run_control,
)
from weft.testing.sandbox.escapes import EscapeContract
from weft.testing.sandbox.fixtures import Arena

pytestmark = pytest.mark.sandbox


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with outside_world(tmp_path) as world:
        yield world


def attempt(code: str, promise: Promise = Promise.FILES) -> Attempt:
    return Attempt("an attempt", promise, code)


class Weak(Unconfined):
    """Promises what it does not hold."""

    name = "weak"

    @property
    def promises(self) -> frozenset[Promise]:
        return frozenset(Promise)


def test_every_case_is_tried_inside_and_as_a_control() -> None:
    names = [each.name for each in ATTEMPTS]
    assert len(names) == len(set(names)) >= 160
    for test in (EscapeContract.test_attempt_is_refused, ControlContract.test_attempt_gets_through):
        [mark] = [mark for mark in test.pytestmark if mark.name == "parametrize"]
        assert mark.args == ("attempt", ATTEMPTS)
    # What a namespace of the test or an ordinary user can show is not left to root.
    assert sum(each.ground is not Ground.ROOT for each in ATTEMPTS) >= 110


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        ("TRYING\nREACHED\n", Verdict.REACHED),
        ("TRYING\nREFUSED PermissionError(1)\n", Verdict.REFUSED),
        ("TRYING\nABSENT there is none\n", Verdict.ABSENT),
        ("noise\nTRYING\nnoise\nREFUSED x\n", Verdict.REFUSED),
        ("", Verdict.BROKEN),
        ("TRYING\n", Verdict.BROKEN),
        ("REFUSED x\n", Verdict.BROKEN),
        ("TRYING\nREFUSED x\nKilled\n", Verdict.BROKEN),
        ("cannot run `python`: Permission denied\n", Verdict.BROKEN),
        ("Traceback\nREFUSEDLY\n", Verdict.BROKEN),
    ],
)
def test_a_verdict_is_the_last_word_of_an_attempt_that_was_made(output: str, verdict: Verdict) -> None:
    assert Verdict.of(output) is verdict


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("pass", Verdict.REACHED),
        ("open('/nowhere')", Verdict.REFUSED),
        ("assert 1 == 2", Verdict.REFUSED),
        ("raise MemoryError", Verdict.REFUSED),
        ("raise Absent('none')", Verdict.ABSENT),
        ("call('no_such_call')", Verdict.BROKEN),
        ("no_such_name", Verdict.BROKEN),
        ("this is no Python", Verdict.BROKEN),
        ("os.kill(os.getpid(), 9)", Verdict.BROKEN),
    ],
)
@pytest.mark.parametrize("ground", [Ground.BARE, Ground.NAMESPACES])
def test_an_attempt_that_breaks_was_not_refused(
    outside: Outside, code: str, ground: Ground, verdict: Verdict
) -> None:
    assert run_control(outside, Attempt("one", Promise.FILES, code, ground))[0] is verdict


def test_a_trace_outside_counts_more_than_the_word_of_the_program(outside: Outside) -> None:
    code = "open(OUTSIDE + '/trace', 'w').close(); raise OSError"
    traced = Attempt("one", Promise.FILES, code, seen=lambda world: (world.folder / "trace").exists())
    assert run_control(outside, traced)[0] is Verdict.REACHED
    untraced = Attempt("other", Promise.FILES, "pass", seen=lambda world: False)
    assert run_control(outside, untraced)[0] is Verdict.REFUSED


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "no_such_name",
        "open(OUTSIDE + '/trace', 'w').close(); raise OSError",
        "open(OUTSIDE + '/notes', 'a').write('x'); raise OSError",
        "os.chmod(TOOLS + '/tool', 0o777); raise OSError",
    ],
)
def test_the_contract_fails_where_an_attempt_gets_through(
    outside: Outside, tmp_path: Path, code: str
) -> None:
    (tmp_path / "state").mkdir()
    provider = Weak(state=str(tmp_path / "state"))
    arena = Arena(provider, outside)
    with pytest.raises(AssertionError):
        EscapeContract().test_attempt_is_refused(provider, arena, attempt(code))
    arena.close()


def test_the_contract_goes_on_with_a_new_sandbox_where_one_broke(outside: Outside, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    provider = Weak(state=str(tmp_path / "state"))
    arena = Arena(provider, outside)
    with pytest.raises(SandboxFailed):
        EscapeContract().test_attempt_is_refused(
            provider, arena, attempt("os.kill(EXECUTOR, 9); time.sleep(9)")
        )
    EscapeContract().test_attempt_is_refused(provider, arena, attempt("raise OSError"))
    arena.close()
