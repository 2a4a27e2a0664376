"""Compiled checks agree with the evaluator and the oracle, at every revision, and leave little over."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, note, reject, settings

from weft.authz import EXACT, Authz, Check, Decision
from weft.authz.serving.settings import Serving
from weft.authz.tuples import ObjectRef, User
from weft.core.errors import Invalid, WeftError
from weft.testing.authz import Oracle
from weft.testing.authz_stories import History, histories, opened, oracle_of, steps
from weft.testing.clock import VirtualClock

IDS = ("1", "2", "3", "4")
COMPILED = Serving(leopard=False, cache=False, flights=False, hot=False)


def proven(authz: Authz, at: EXACT, member: tuple[ObjectRef, str, User], context: Any) -> Decision | None:
    """What the compiled programs alone say."""
    assert authz._compiled is not None
    return authz._compiled.check(authz._moments.head(at), *member, context)


def walked(authz: Authz, at: EXACT, member: tuple[ObjectRef, str, User], context: Any) -> Decision | str:
    """What the evaluator says, or its error."""
    try:
        return authz._walked_check(*member, at=at, context=context, contextual_tuples=())
    except WeftError as error:
        return error.code


@settings(max_examples=40)
@given(history=histories(conditions=False, ids=IDS))
def test_what_is_proven_is_so(history: History) -> None:
    clock = VirtualClock()
    with opened("lmdb", clock, COMPILED) as authz:
        played = []
        for zookie, state in steps(authz, history):
            oracle = oracle_of(history, state, clock.now_us())
            agree(authz, oracle, EXACT(zookie), {})
            played.append((zookie, oracle))
        for zookie, oracle in played:
            agree(authz, oracle, EXACT(zookie), {})
            batches_agree(authz, oracle, EXACT(zookie))


@settings(max_examples=40)
@given(history=histories(conditions=True))
def test_what_is_proven_in_a_context_is_so(history: History) -> None:
    clock = VirtualClock()
    with opened("lmdb", clock, COMPILED) as authz:
        for zookie, state in steps(authz, history):
            try:
                oracle = oracle_of(history, state, clock.now_us())
            except Invalid:
                reject()
            agree(authz, oracle, EXACT(zookie), history.context)


def agree(authz: Authz, oracle: Oracle, at: EXACT, context: dict[str, Any]) -> None:
    left = 0
    for member, _ in oracle.universe:
        decision = proven(authz, at, member, context)
        reference = walked(authz, at, member, context)
        note(f"{member} {decision} {reference}")
        if decision is None:
            left += 1
            continue
        assert decision == reference, member
        assert decision.allowed is (member in oracle.sure), member
    event(f"left over: {-(-10 * left // max(1, len(oracle.universe)))} tenths")


def batches_agree(authz: Authz, oracle: Oracle, at: EXACT) -> None:
    """However checks are put together."""
    members = [member for member, _ in oracle.universe]
    groups: dict[tuple[ObjectRef, str], list[tuple[ObjectRef, str, User]]] = {}
    for member in members:
        groups.setdefault(member[:2], []).append(member)
    plain = [[member for member in group if not member[2].relation] for group in groups.values()]
    for batch in (members, *groups.values(), *plain):
        decisions = authz.check_many([Check(*member) for member in batch], at=at)
        assert [d.allowed for d in decisions] == [member in oracle.sure for member in batch]
