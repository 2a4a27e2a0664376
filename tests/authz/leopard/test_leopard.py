"""The index beside a mirror: it follows every revision, says nothing at others, and agrees with checks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.authz import LATEST, Authz, Check
from weft.authz.leopard import leopard as module
from weft.authz.leopard.leopard import Leopard
from weft.authz.mirror.mirror import Mirror
from weft.authz.serving.settings import Serving
from weft.authz.store import Write
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.tuples import parse_tuple

SCHEMA = """
use expiration
caveat recent(age int) { age < 10 }
definition user {}
definition group {
  relation owner: user | group#member
  relation member: user | user:* | group#member | group#everyone | user with recent
                 | group#member with expiration
  permission staff = owner + member
  permission everyone = staff
}
definition doc { relation viewer: user | group#member | group#everyone }
"""
IDS = ("a", "b", "c", "d")
USERS = ("user:1", "user:2")
GROUPS = [f"group:{id_}#{relation}" for id_ in IDS for relation in ("owner", "member", "everyone")]
TAILS = {"user:1": ("", "[recent]"), "group:b#member": ("", "[expiration:2100-01-01T00:00:00Z]")}


class Served:
    """A store, questions that walk it, and the index of its mirror."""

    def __init__(self, folder: Path) -> None:
        self.store = LmdbStore(folder)
        self.authz = Authz(self.store, serving=Serving(mirror=False))
        self.mirror = Mirror(self.store.numbered())
        self.leopard = Leopard(self.mirror)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leopard.close()
        self.mirror.close()
        self.authz.close()

    def contains(self, user: str, group: str) -> bool | None:
        """What the index says at the newest revision."""
        head = self.store.head()
        plan = self.authz._plan(head)
        view = self.mirror.view(head.revision)
        assert view is not None
        namespace, _, relation = group.partition("#")
        index = self.leopard.for_relation(plan, view, namespace.split(":")[0], relation)
        who, at = view.numbers.user(user), view.numbers.user(group)
        if index is None or who is None or at is None:
            return None
        return index.contains(who, at, head.revision)


@pytest.fixture(autouse=True)
def _pays_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAYS_FROM", 0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "authz") as served:
        served.authz.write_schema(SCHEMA)
        yield served


@st.composite
def _tuples(draw: st.DrawFn) -> str:
    relation = draw(st.sampled_from(["owner", "member"]))
    users = [*USERS, *(group for group in GROUPS if "owner" not in group)]
    user = draw(st.sampled_from([*users, "user:*"] if relation == "member" else [*USERS, "group:a#member"]))
    tail = draw(st.sampled_from(TAILS.get(user, ("",)))) if relation == "member" else ""
    return f"group:{draw(st.sampled_from(IDS))}#{relation}@{user}{tail}"


@settings(max_examples=25)
@given(commits=st.lists(st.lists(_tuples(), min_size=1, max_size=5), min_size=1, max_size=6))
def test_what_the_index_says_is_what_walking_says(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[str]]
) -> None:
    with Served(tmp_path_factory.mktemp("leopard") / "authz") as served:
        served.authz.write_schema(SCHEMA)
        there: set[str] = set()
        for commit in commits:
            by_key = {text.split("[")[0]: text for text in commit}
            delete = [key for key in by_key if key in there]
            served.authz.write(
                touch=[text for key, text in by_key.items() if key not in there], delete=delete
            )
            there ^= by_key.keys()
            assert said_as_walked(served) or not there
        served.leopard.close()
        served.leopard = Leopard(served.mirror)
        assert said_as_walked(served) or not there


def said_as_walked(served: Served) -> int:
    """How often the index says something, which must be what walking says."""
    asked = [Check(*group.split("#"), user) for group in GROUPS for user in (*USERS, *GROUPS)]
    walked = served.authz.check_many(asked, at=LATEST, context={"age": 1})
    said = [served.contains(str(check.user), f"{check.object}#{check.relation}") for check in asked]
    for check, answer, decision in zip(asked, said, walked, strict=True):
        assert answer in (None, decision.allowed), check
    return len(said) - said.count(None)


def test_tuples_that_the_schema_does_not_admit_do_not_count(served: Served) -> None:
    def write(*texts: str) -> None:
        served.store.write(Write(touch=[parse_tuple(text) for text in texts]))

    write("group:b#member@user:1", "group:a#owner@user:*", "group:a#owner@group:b#owner")
    assert served.contains("user:1", "group:a#owner") is False
    write("group:c#owner@user:*", "group:b#owner@user:2", "group:c#owner@group:b#member")
    assert served.contains("user:2", "group:c#owner") is False
    assert served.contains("user:2", "group:a#owner") is False
    assert served.contains("user:1", "group:c#owner") is True


def test_it_follows_adding_deleting_conditions_and_new_names(served: Served) -> None:
    write, contains = served.authz.write, served.contains
    write(touch=["group:a#member@group:b#member", "group:b#member@user:1"])
    assert contains("user:1", "group:a#member") is True
    assert contains("user:2", "group:a#member") is None, "nobody wrote of that user"
    write(touch=["group:c#owner@user:2"])
    assert contains("user:2", "group:a#member") is False
    write(touch=["group:b#member@user:1[recent]"])
    assert contains("user:1", "group:a#member") is None
    write(delete=["group:b#member@user:1"])
    assert contains("user:1", "group:a#member") is False
    write(touch=["group:a#member@group:c#everyone"])
    assert contains("user:2", "group:a#member") is True
    write(delete=["group:a#member@group:c#everyone"])
    assert contains("user:2", "group:a#member") is False
    assert contains("user:2", "group:c#everyone") is True
    write(touch=["group:a#member@user:*"])
    assert contains("user:2", "group:a#member") is True


def test_another_schema_begins_it_anew_and_an_equal_one_does_not(served: Served) -> None:
    served.authz.write(touch=["group:a#member@group:b#member", "group:b#owner@user:1"])
    assert served.contains("user:1", "group:a#member") is False
    before = served.leopard._index
    served.authz.write_schema(SCHEMA + "definition other {}")
    assert served.contains("user:1", "group:a#member") is False
    assert served.leopard._index is before
    served.authz.write_schema(SCHEMA.replace("user:* |", ""))
    assert served.contains("user:1", "group:a#member") is False
    assert served.leopard._index is not before


def test_it_says_nothing_of_another_schema_while_it_cannot_begin(served: Served) -> None:
    served.authz.write(touch=["doc:1#viewer@group:a#everyone", "group:a#member@user:1"])
    assert served.contains("user:1", "group:a#everyone") is True
    go_on = threading.Event()

    def busy() -> None:
        go_on.wait(30)

    served.leopard._start(busy)
    try:
        served.authz.write_schema(SCHEMA.replace("staff = owner + member", "staff = owner"))
        assert served.contains("user:1", "group:a#everyone") is None
    finally:
        go_on.set()
    background = served.leopard._background
    if background is not None:
        background.join()
    assert served.contains("user:1", "group:a#everyone") is False


def test_it_says_nothing_where_few_groups_are_nested(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAYS_FROM", 3)
    served.authz.write(touch=[f"group:{n}#member@group:{n + 1}#member" for n in range(2)])
    assert served.contains("group:2#member", "group:0#member") is None
    assert served.leopard._index is None
    served.authz.write(touch=["group:2#member@group:3#member"])
    assert served.contains("group:3#member", "group:0#member") is True


def test_it_says_nothing_at_other_revisions(served: Served) -> None:
    served.authz.write(touch=["group:a#member@group:b#member"])
    assert served.contains("group:b#member", "group:a#member") is True
    index = served.leopard._index
    assert index is not None
    view = served.mirror.view(served.store.head().revision)
    served.authz.write(delete=["group:a#member@group:b#member"])
    assert view is not None
    numbers = view.numbers
    pair = numbers.user("group:b#member"), numbers.user("group:a#member")
    assert None not in pair
    assert index.contains(*pair, view.revision) is True, "not told yet"  # type: ignore[arg-type]
    served.mirror.catch_up()
    assert index.contains(*pair, view.revision) is None  # type: ignore[arg-type]
    assert index.contains(*pair, view.revision + 1) is False  # type: ignore[arg-type]


def test_what_is_committed_while_it_is_built_is_not_lost(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL_ROWS", -1)
    served.authz.write(
        touch=["group:a#member@group:b#member", "group:b#member@user:1", "group:c#member@user:2"]
    )
    goes_on, begun = threading.Event(), threading.Event()
    build = module.Index.build

    def held(index: module.Index, *arguments: Any) -> None:
        begun.set()
        assert goes_on.wait(10)
        build(index, *arguments)

    monkeypatch.setattr(module.Index, "build", held)
    assert served.contains("user:1", "group:a#member") is None, "it is being built"
    assert begun.wait(10)
    served.authz.write(delete=["group:b#member@user:1"], touch=["group:b#member@user:2"])
    served.mirror.catch_up()
    goes_on.set()
    background = served.leopard._background
    if background is not None:
        background.join(10)
    assert served.contains("user:1", "group:a#member") is False
    assert served.contains("user:2", "group:a#member") is True


def test_hits_that_are_left_open_have_it_repaired(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.authz.leopard.closure._AT_ONCE", 0)
    chain = [f"group:{n}#member@group:{n + 1}#member" for n in range(20)]
    served.authz.write(touch=[*chain, "group:9#member@user:1"])
    assert served.contains("user:1", "group:0#member") is True
    served.authz.write(delete=["group:10#member@group:11#member"])
    assert served.contains("user:1", "group:15#member") is False
    seen = []
    for _ in range(200):
        seen.append(served.contains("user:1", "group:0#member"))
        background = served.leopard._background
        if background is not None:
            background.join(10)
        if seen[-1]:
            break
    assert set(seen[:-1]) == {None}
    assert seen[-1] is True
    assert len(seen) < 20
    assert served.contains("group:11#member", "group:0#member") is False
