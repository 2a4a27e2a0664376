"""Answers are the same with every serving layer on or off; and ways in which such layers have gone wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from weft.authz import EXACT, Authz, Check
from weft.authz.evaluate import Evaluation
from weft.authz.serving.flights import CLIENT
from weft.authz.serving.settings import Serving
from weft.core.errors import Invalid, LimitExceeded, WeftError
from weft.core.telemetry import AUTHZ_CACHE, AUTHZ_FLIGHTS, AUTHZ_HOT, AUTHZ_LEFT, Metric, Silent
from weft.testing.authz_stories import History, histories, opened, oracle_of, steps
from weft.testing.clock import START_US, VirtualClock

OFF = Serving(mirror=False, compiled=False, leopard=False, cache=False, flights=False, hot=False)
STORED = Serving(mirror=False)
LAYERS = ["mirror", "compiled", "leopard", "cache", "flights", "hot"]
SCHEMA = """
use expiration
caveat tier(level int) { level >= 3 }
caveat tagged(tags list<any>, deep any) { tags == [[1], [2, 3]] || deep == 1 }
definition user {}
definition group { relation member: user | group#member }
definition doc {
  relation reader: user | group#member | user with expiration | user with tier | user with tagged
  relation banned: user with tier
  permission view = reader - banned
}
"""


class Counts(Silent):
    """Counts what is counted, by metric and outcome."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        self.seen[metric.name, labels.get("outcome", "")] += int(amount)

    def of(self, metric: Metric, outcome: str = "") -> int:
        return self.seen[metric.name, outcome]


@contextmanager
def authz_with(
    folder: Path, *tuples: str, serving: Serving = STORED, schema: str = SCHEMA, **options: Any
) -> Iterator[tuple[Authz, Counts]]:
    counts = Counts()
    options = {"clock": VirtualClock(), "serving": serving, "telemetry": counts, **options}
    with Authz.open(folder / "authz", **options) as authz:
        authz.write_schema(schema)
        authz.write(touch=["doc:0#reader@user:zoe", *tuples])
        yield authz, counts


def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[Evaluation]:
    """Every evaluation that checks from now on."""
    made: list[Evaluation] = []
    check = Evaluation.check

    def noting(self: Evaluation, questions: Any) -> Any:
        made.append(self)
        return check(self, questions)

    monkeypatch.setattr(Evaluation, "check", noting)
    return made


# agreement


def alone(layer: str) -> Serving:
    """That layer, and what it stands on."""
    on = {layer: True} | ({"mirror": True} if layer in ("compiled", "leopard") else {})
    return msgspec.structs.replace(OFF, **on)


@pytest.mark.parametrize("layer", LAYERS)
@settings(max_examples=10)
@given(history=histories(conditions=True))
def test_each_layer_alone_changes_no_answer(layer: str, history: History) -> None:
    agree(history, alone(layer))


@settings(max_examples=25)
@given(history=histories(conditions=True), off=st.sampled_from([None, *LAYERS]))
def test_all_layers_but_one_change_no_answer(history: History, off: str | None) -> None:
    agree(history, msgspec.structs.replace(Serving(), **({off: False} if off else {})))


def agree(history: History, serving: Serving) -> None:
    clock = VirtualClock()
    with opened("lmdb", clock, serving) as authz, opened("lmdb", clock, OFF) as plain:
        moments = list(zip(steps(authz, history), steps(plain, history), strict=True))
        for (zookie, state), (plainly, _) in moments * 2:
            try:
                oracle = oracle_of(history, state, clock.now_us())
            except Invalid:
                reject()
            asked = [Check(*member) for member, _ in oracle.universe]
            context = history.context
            expected = plain.check_many(asked, at=EXACT(plainly), context=context)
            found = authz.check_many(asked, at=EXACT(zookie), context=context)
            shown = [(d.allowed, d.conditional, d.missing) for d in found]
            assert shown == [(d.allowed, d.conditional, d.missing) for d in expected]
            for check, decision in list(zip(asked, found, strict=True))[:: max(1, len(asked) // 12)]:
                for _ in range(2):
                    one = authz.check(
                        check.object, check.relation, check.user, at=EXACT(zookie), context=context
                    )
                    assert one == decision
            clock.advance(1_000_000_000)


# the result cache


def test_a_result_is_remembered_for_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with authz_with(tmp_path, "doc:1#reader@user:ann") as (authz, counts):
        made = evaluations(monkeypatch)
        assert [authz.check("doc:1", "view", "user:ann").allowed for _ in range(3)] == [True] * 3
        assert len(made) == 1
        assert (counts.of(AUTHZ_CACHE, "hit"), counts.of(AUTHZ_LEFT)) == (2, 3)
        authz.write(delete=["doc:1#reader@user:ann"])
        assert [authz.check("doc:1", "view", "user:ann").allowed for _ in range(3)] == [False] * 3
        assert len(made) == 2


CONTEXTS: list[dict[str, Any]] = [
    {"deep": deep} | tags
    for tags in (
        {},
        {"tags": [[1], [2, 3]]},
        {"tags": [[1, 2], [3]]},
        {"tags": [["1"], [2, 3]]},
        {"tags": []},
    )
    for deep in (1, True, 1.0, "1", [1], [[1]], {"1": 1}, None, 1.5, float("nan"))
]


def outcome(ask: Any, *question: Any, **options: Any) -> Any:
    try:
        decision = ask(*question, **options)
    except WeftError as error:
        return error.code, str(error)
    return decision.allowed, decision.missing


def test_contexts_that_look_alike_are_kept_apart(tmp_path: Path) -> None:
    with (
        authz_with(tmp_path / "a", "doc:1#reader@user:ann[tagged]") as (authz, counts),
        authz_with(tmp_path / "b", "doc:1#reader@user:ann[tagged]", serving=OFF) as (plain, _),
    ):
        question = ("doc:1", "view", "user:ann")
        for contexts in (CONTEXTS, CONTEXTS[::-1], CONTEXTS):
            found = [outcome(authz.check, *question, context=context) for context in contexts]
            assert found == [outcome(plain.check, *question, context=context) for context in contexts]
        assert counts.of(AUTHZ_CACHE, "hit") > len(CONTEXTS)
        assert {True, False} <= {one[0] for one in found}


def test_context_that_no_condition_takes_is_no_part_of_a_key(tmp_path: Path) -> None:
    with authz_with(tmp_path, "doc:1#reader@user:ann[tier]") as (authz, counts):
        for noise in (1, object(), float("nan")):
            assert authz.check("doc:1", "view", "user:ann", context={"level": 3, "noise": noise})
        assert counts.of(AUTHZ_CACHE, "hit") == 2


def test_a_conditional_answer_is_neither_remembered_nor_taken_for_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuples = ["doc:1#reader@user:ann[tier]", "doc:2#reader@user:ann", "doc:2#banned@user:ann[tier]"]
    with authz_with(tmp_path, *tuples) as (authz, counts):
        made = evaluations(monkeypatch)
        for number in range(1, 4):
            one = authz.check("doc:1", "view", "user:ann")
            two = authz.check("doc:2", "view", "user:ann")
            assert (one.conditional, two.conditional, one.missing) == (True, True, ("level",))
            assert len(made) == 2 * number
        assert counts.of(AUTHZ_CACHE, "hit") == 0
        assert authz.check("doc:1", "view", "user:ann", context={"level": 3})
        assert not authz.check("doc:2", "view", "user:ann", context={"level": 3})
        assert authz.check("doc:1", "view", "user:ann").conditional


def test_an_error_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [f"group:{n}#member@group:{n + 1}#member" for n in range(4)]
    with authz_with(tmp_path, "doc:1#reader@group:0#member", *chain, max_depth=3) as (authz, counts):
        made = evaluations(monkeypatch)
        for number in range(1, 4):
            with pytest.raises(LimitExceeded):
                authz.check("doc:1", "view", "user:ann")
            with pytest.raises(Invalid):
                authz.check("doc:0", "view", "user:zoe", at="nonsense")
            assert len(made) == number
        assert counts.of(AUTHZ_CACHE, "hit") == 0


def test_a_result_holds_until_the_expiry_that_it_met_and_not_before_it(tmp_path: Path) -> None:
    tuples = [
        "doc:1#reader@user:ann[expiration:2026-01-01T00:00:10Z]",
        "doc:2#reader@user:ann[expiration:2026-01-01T00:00:20Z]",
        "doc:3#reader@group:a#member",
        "group:a#member@user:ann",
    ]
    with authz_with(tmp_path, *tuples) as (authz, counts):
        clock: Any = authz._clock
        for seconds in (0, 9.999_999, 10, 0, 19.999_999, 20, 10, 5, 30):
            clock.set(START_US + int(seconds * 1_000_000))
            held = [authz.check(f"doc:{n}", "view", "user:ann").allowed for n in (1, 2, 3)]
            assert held == [seconds < 10, seconds < 20, True], seconds
        assert counts.of(AUTHZ_CACHE, "hit") > 8


def test_contextual_tuples_are_nobody_elses(tmp_path: Path) -> None:
    with authz_with(tmp_path) as (authz, _):
        extra = ["doc:0#reader@user:ann"]
        for _ in range(2):
            assert not authz.check("doc:0", "view", "user:ann")
            assert authz.check("doc:0", "view", "user:ann", contextual_tuples=extra)
            checks = [
                Check("doc:0", "view", "user:ann", contextual_tuples=extra),
                Check("doc:0", "view", "user:ann"),
            ]
            assert [d.allowed for d in authz.check_many(checks)] == [True, False]


def test_explanations_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace is of the request's own evaluation, whatever is remembered or under way."""
    with authz_with(tmp_path, "doc:1#reader@user:ann") as (authz, counts):
        assert authz.check("doc:1", "view", "user:ann")
        made = evaluations(monkeypatch)
        before = dict(counts.seen)
        for number in range(1, 3):
            assert authz.explain("doc:1", "view", "user:ann").decision.allowed
            assert len(made) == number
        assert counts.seen == before


# the lock table


def test_concurrent_checks_that_are_the_same_are_evaluated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authz_with(
        tmp_path, "doc:1#reader@user:ann", serving=msgspec.structs.replace(STORED, cache=False)
    ) as (
        authz,
        counts,
    ):
        assert authz._stored._flights is not None
        authz._stored._flights._patience_s = 30
        began, go_on = Event(), Event()
        made = held_evaluations(monkeypatch, began, go_on)
        answers: list[bool] = []

        def ask(user: str, client: str = "") -> None:
            CLIENT.set(client)
            answers.append(authz.check("doc:1", "view", user).allowed)

        leader = Thread(target=ask, args=("user:ann",))
        leader.start()
        assert began.wait(30)
        others = [Thread(target=ask, args=("user:ann",)) for _ in range(4)]
        others += [
            Thread(target=ask, args=("user:bob",)),
            Thread(target=ask, args=("user:ann", "other client")),
        ]
        for other in others:
            other.start()
        others[4].join(30)
        others[5].join(30)
        assert len(made) == 3, "another question and another client wait for nobody"
        go_on.set()
        for thread in (leader, *others):
            thread.join(30)
        assert sorted(answers) == [False] + [True] * 6
        assert len(made) == 3
        assert (counts.of(AUTHZ_FLIGHTS, "shared"), counts.of(AUTHZ_FLIGHTS, "led")) == (4, 3)


def held_evaluations(monkeypatch: pytest.MonkeyPatch, began: Event, go_on: Event) -> list[Evaluation]:
    """Evaluations from now on; the first waits for a sign."""
    made: list[Evaluation] = []
    check = Evaluation.check

    def holding(self: Evaluation, questions: Any) -> Any:
        made.append(self)
        if len(made) == 1:
            began.set()
            assert go_on.wait(30)
        return check(self, questions)

    monkeypatch.setattr(Evaluation, "check", holding)
    return made


# hot sets


def test_a_set_that_is_read_often_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuples = [f"doc:1#reader@user:u{n}" for n in range(40)] + [
        "doc:1#reader@group:a#member",
        "group:a#member@user:x",
    ]
    with authz_with(tmp_path, *tuples, serving=msgspec.structs.replace(OFF, hot=True)) as (authz, counts):
        for n in range(80):
            assert authz.check("doc:1", "reader", f"user:u{n}").allowed is (n < 40)
        assert authz.check("doc:1", "reader", "user:x")
        assert counts.of(AUTHZ_HOT, "fetched") == 2, "the document's readers and the group's members"
        answer, asked = authz._store.answer, []

        def noting(reads: Any, revision: int) -> Any:
            asked.extend(reads)
            return answer(reads, revision)

        monkeypatch.setattr(authz._store, "answer", noting)
        assert authz.check("doc:1", "reader", "user:u39")
        assert not authz.check("doc:1", "reader", "user:nobody")
        assert not [read for read in asked if read.object.namespace == "doc"]
        authz.write(delete=["doc:1#reader@user:u39"])
        assert not authz.check("doc:1", "reader", "user:u39")
        assert asked


def test_a_set_that_is_too_large_is_left_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.authz.serving.hot._MAX_ROWS", 10)
    tuples = [f"doc:1#reader@user:u{n}" for n in range(11)]
    with authz_with(tmp_path, *tuples, serving=msgspec.structs.replace(OFF, hot=True)) as (authz, counts):
        for n in range(40):
            assert authz.check("doc:1", "reader", f"user:u{n}").allowed is (n < 11)
        assert (counts.of(AUTHZ_HOT, "too large"), counts.of(AUTHZ_HOT, "fetched")) == (1, 0)


# switches


def test_a_layer_that_is_off_does_nothing(tmp_path: Path) -> None:
    with authz_with(tmp_path, serving=OFF) as (authz, counts):
        for _ in range(30):
            authz.check("doc:0", "view", "user:zoe")
        assert set(counts.seen) == {(AUTHZ_LEFT.name, "")}


def test_what_is_proven_needs_no_other_layer(tmp_path: Path) -> None:
    with authz_with(tmp_path, serving=Serving()) as (authz, counts):
        for _ in range(3):
            assert authz.check("doc:0", "view", "user:zoe")
        assert counts.of(AUTHZ_LEFT) == 0
