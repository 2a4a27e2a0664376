"""Every question agrees with the oracle and the others: on every store, at every revision, page by page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import assume, event, given, note, settings
from hypothesis import strategies as st

from weft.authz import EXACT, Authz, Check, Zookie
from weft.authz.schema import print_schema
from weft.authz.schema.model import Schema
from weft.authz.tuples import ObjectRef, RelationTuple, User
from weft.testing.authz import Oracle
from weft.testing.authz_schemas import Features, schemas, tuples_for
from weft.testing.clock import VirtualClock

PLAIN = Features(this="alone", conditions=False)
IDS = ("1", "2")
ASKED = [User(namespace, id_) for namespace in ("user", "group") for id_ in ("1", "2", "9", "*")]


@st.composite
def histories(draw: st.DrawFn, features: Features = PLAIN) -> tuple[Schema, list[list[RelationTuple]]]:
    """A schema, and writes: each commit toggles its tuples."""
    schema = draw(schemas(features))
    assume(any(relation.allowed for config in schema.namespaces for relation in config.relations))
    commits = st.lists(
        st.lists(tuples_for(schema, IDS), min_size=1, max_size=8, unique_by=lambda item: item.key), max_size=4
    )
    return schema, draw(commits)


@contextmanager
def opened(kind: str, clock: VirtualClock) -> Iterator[Authz]:
    if kind == "memory":
        with Authz.open("memory:", clock=clock) as authz:
            yield authz
    else:
        with tempfile.TemporaryDirectory() as folder, Authz.open(folder + "/authz", clock=clock) as authz:
            yield authz


def play(
    authz: Authz, schema: Schema, commits: list[list[RelationTuple]]
) -> list[tuple[Zookie, dict[object, RelationTuple]]]:
    """Write the history; each zookie with the tuples that are there at it."""
    state: dict[object, RelationTuple] = {}
    moments = [(authz.write_schema(print_schema(schema, "zed")), dict(state))]
    for commit in commits:
        delete = [item for item in commit if state.get(item.key) == item]
        touch = [item for item in commit if state.get(item.key) != item]
        state = {key: item for key, item in state.items() if item not in delete}
        state.update({item.key: item for item in touch})
        moments.append((authz.write(touch=touch, delete=delete), dict(state)))
    return moments


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
@settings(max_examples=25)
@given(history=histories(), page_size=st.integers(1, 4))
def test_all_questions_agree(
    kind: str, history: tuple[Schema, list[list[RelationTuple]]], page_size: int
) -> None:
    schema, commits = history
    clock = VirtualClock()
    with opened(kind, clock) as authz:
        for zookie, state in play(authz, schema, commits):
            users = [user for user in ASKED if user.namespace in schema.by_name]
            objects = [ObjectRef(config.name, id_) for config in schema.namespaces for id_ in IDS]
            oracle = Oracle(schema, state.values(), now_us=clock.now_us(), users=users, objects=objects)
            if oracle.sure != oracle.possible:
                event("an exclusion depends on itself")
            at = EXACT(zookie)
            checks_agree(authz, oracle, at)
            lists_agree(authz, schema, oracle, at, page_size)
            reads_agree(authz, state, clock, at, page_size)


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
                expected = [
                    str(o)
                    for o, r, u in sorted(oracle.sure)
                    if (o.namespace, r, u) == (config.name, relation.name, user)
                ]
                found = list(
                    pages(authz.list_objects, config.name, relation.name, user, at=at, limit=page_size)
                )
                assert [item for page in found for item in page.items] == expected
            for object_ in oracle.objects:
                if object_.namespace == config.name:
                    subjects_agree(authz, oracle, object_, relation.name, at, page_size)


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
