"""Every question agrees with the oracle and the others: on every store, at every revision, page by page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, note, reject, settings
from hypothesis import strategies as st

from weft.authz import EXACT, Authz, Check
from weft.authz.schema.model import Schema, Self, walk
from weft.authz.tuples import ObjectRef, RelationTuple
from weft.core.errors import Invalid
from weft.testing.authz import Oracle
from weft.testing.authz_stories import ASKED, History, histories, opened, oracle_of, play
from weft.testing.authz_tree import holds_in_tree
from weft.testing.clock import VirtualClock


@pytest.fixture(autouse=True, scope="module")
def _small_steps() -> Iterator[None]:
    """Lists check a few candidates at a time, so that what one step finds out must serve the next; and every
    walk is kept for the next page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weft.authz.lists._CHECKED_TOGETHER", 2)
        patch.setattr("weft.authz.walks._KEPT_FROM", 0)
        yield


@settings(max_examples=25)
@given(history=histories(conditions=False), page_size=st.integers(1, 4))
def test_lists_agree_when_everything_in_them_is_checked(history: History, page_size: int) -> None:
    clock = VirtualClock()
    with pytest.MonkeyPatch.context() as patch, opened("memory", clock) as authz:
        patch.setattr("weft.authz.walks.proven", lambda found: frozenset())
        zookie, state = play(authz, history)[-1]
        oracle = oracle_of(history, state, clock.now_us())
        lists_agree(authz, history.schema, oracle, EXACT(zookie), page_size)


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
@settings(max_examples=25)
@given(history=histories(conditions=False), page_size=st.integers(1, 4))
def test_all_questions_agree_at_every_revision(kind: str, history: History, page_size: int) -> None:
    clock = VirtualClock()
    with opened(kind, clock) as authz:
        for zookie, state in play(authz, history):
            oracle = oracle_of(history, state, clock.now_us())
            at = EXACT(zookie)
            checks_agree(authz, oracle, at)
            lists_agree(authz, history.schema, oracle, at, page_size)
            reads_agree(authz, state, clock, at, page_size)
            trees_agree(authz, history, oracle, at)
            permissions_agree(authz, oracle, at)


@settings(max_examples=60)
@given(history=histories(conditions=True), page_size=st.integers(1, 4))
def test_conditional_answers_agree(history: History, page_size: int) -> None:
    """Allowed only what is so whatever the missing context; denied only what cannot be; the rest says which
    names are missing, in checks and lists alike."""
    clock = VirtualClock()
    with opened("memory", clock) as authz:
        zookie, state = play(authz, history)[-1]
        try:
            oracle = oracle_of(history, state, clock.now_us())
        except Invalid:
            reject()
        asked = [Check(*member) for member, _ in oracle.universe]
        decisions = authz.check_many(asked, at=zookie, context=history.context)
        trees_agree(authz, history, oracle, EXACT(zookie))
        looping = loops(history, state, clock)
        names = {p.name for c in history.schema.conditions for p in c.parameters} - history.context.keys()
        for (member, _), decision in zip(oracle.universe, decisions, strict=True):
            note(f"{member} {decision}")
            between = member in oracle.possible and member not in oracle.sure
            assert decision.allowed is (member in oracle.sure)
            assert not decision.conditional or between
            assert decision.conditional or not between or looping
            assert set(decision.missing) <= names
            assert decision.conditional is bool(decision.missing)
        by_member = dict(zip((member for member, _ in oracle.universe), decisions, strict=True))
        for config in history.schema.namespaces:
            for relation in config.relations:
                for user in oracle.users:
                    target = config.name, relation.name, user
                    found = list(
                        pages(
                            authz.list_objects, *target, at=zookie, context=history.context, limit=page_size
                        )
                    )
                    listed = {item.item: item.missing for page in found for item in page.conditional}
                    assert listed == {
                        str(object_): decision.missing
                        for (object_, name, who), decision in by_member.items()
                        if (object_.namespace, name, who) == target and decision.conditional
                    }


def loops(history: History, state: dict[object, RelationTuple], clock: VirtualClock) -> bool:
    """Whether an exclusion depends on itself when conditional tuples are taken in, or left out."""
    kept = [item for item in state.values() if history.judge(item) is not None]
    for tuples in (state.values(), kept):
        oracle = Oracle(history.schema, tuples, now_us=clock.now_us(), users=ASKED)
        if oracle.sure != oracle.possible:
            return True
    return False


def checks_agree(authz: Authz, oracle: Oracle, at: EXACT) -> None:
    asked = [member for member, _ in oracle.universe]
    decisions = authz.check_many([Check(object_, relation, user) for object_, relation, user in asked], at=at)
    for member, decision in zip(asked, decisions, strict=True):
        assert decision.allowed is (member in oracle.sure), member
        assert not decision.conditional
    for member in asked[:: max(1, len(asked) // 20)]:
        note(str(member))
        assert authz.check(*member, at=at).allowed is (member in oracle.sure), member


def lists_agree(authz: Authz, schema: Schema, oracle: Oracle, at: EXACT, page_size: int) -> None:
    for config in schema.namespaces:
        for relation in config.relations:
            for user in oracle.users:
                expected = in_order(
                    authz,
                    [
                        o
                        for o, r, u in oracle.sure
                        if (o.namespace, r, u) == (config.name, relation.name, user)
                    ],
                )
                found = list(
                    pages(authz.list_objects, config.name, relation.name, user, at=at, limit=page_size)
                )
                assert [item for page in found for item in page.items] == expected
            for object_ in oracle.objects:
                if object_.namespace == config.name:
                    subjects_agree(authz, oracle, object_, relation.name, at, page_size)


def in_order(authz: Authz, objects: list[ObjectRef]) -> list[str]:
    """As the store has them; what it does not know comes last."""
    places = dict(zip(objects, authz._store.places(objects), strict=True))
    return [str(o) for o in sorted(objects, key=lambda o: (places[o] is None, places[o] or b"", o.id))]


def permissions_agree(authz: Authz, oracle: Oracle, at: EXACT) -> None:
    for user in oracle.users:
        on_any = {f"{object_.namespace}#{relation}" for object_, relation, who in oracle.sure if who == user}
        assert {item.name for item in authz.list_permissions(None, user, at=at)} == on_any
        for object_ in oracle.objects:
            has = [p.name for p in authz.list_permissions(object_, user, at=at)]
            assert set(has) == {r for o, r, who in oracle.sure if (o, who) == (object_, user)}


def subjects_agree(
    authz: Authz, oracle: Oracle, object_: ObjectRef, relation: str, at: EXACT, limit: int
) -> None:
    for kind in {(user.namespace, user.relation) for user in oracle.users}:
        of_kind = [user for user in oracle.users if (user.namespace, user.relation) == kind]
        name = "#".join(filter(None, kind))
        found = list(pages(authz.list_subjects, object_, relation, name, at=at, limit=limit))
        items = [item for page in found for item in page.items]
        excluded = {item for page in found for item in page.excluded}
        assert len(items) == len(set(items))
        everybody = f"{kind[0]}:*" in items and not kind[1]
        for user in of_kind:
            listed = str(user) in items or (everybody and str(user) not in excluded)
            assert listed is ((object_, relation, user) in oracle.sure), (object_, relation, user)


def trees_agree(authz: Authz, history: History, oracle: Oracle, at: EXACT) -> None:
    """Set algebra over the expanded tree gives what the oracle gives; its leaves name whoever is in it."""
    for object_, relation in {(object_, relation) for (object_, relation, _), _ in oracle.universe}:
        tree = authz.expand(object_, relation, at=at)
        leaves = set(tree.users())
        for user in oracle.users:
            expected = oracle.value(object_, relation, user)
            assert holds_in_tree(tree, user, history.judge) is expected, (object_, relation, user)
            if expected and not user.relation and user.object != object_:
                everybody = f"{user.namespace}:*"
                assert {str(user), everybody} & leaves or _has_self(history.schema), (object_, user)


def _has_self(schema: Schema) -> bool:
    rewrites = (relation.rewrite for config in schema.namespaces for relation in config.relations)
    return any(isinstance(node, Self) for rewrite in rewrites for node in walk(rewrite))


def reads_agree(
    authz: Authz, state: dict[object, RelationTuple], clock: VirtualClock, at: EXACT, page_size: int
) -> None:
    live = {item for item in state.values() if not item.expired(clock.now_us())}
    found = [item for page in pages(authz.read, at=at, limit=page_size) for item in page.items]
    assert len(found) == len(set(found))
    assert set(found) == live
    for item in live:
        user = str(item.user)
        same_object = {i for i in live if i.object == item.object}
        assert set(authz.read(object=str(item.object), at=at).items) == same_object
        assert set(authz.read(user=user, at=at).items) == {i for i in live if i.user == item.user}
        assert authz.read(str(item.object), item.relation, user, at=at).items == [item]


def pages(ask, *arguments, **options):  # type: ignore[no-untyped-def]
    cursor = None
    for _ in range(1_000):
        page = ask(*arguments, cursor=cursor, **options)
        assert len(page.items) <= options["limit"] + 1
        yield page
        cursor = page.cursor
        if cursor is None:
            assert page.complete
            return
    raise AssertionError("the pages never end")
