"""What lists check, and what they need not: only what the walk did not prove."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from weft.authz import Authz
from weft.authz.evaluate import Evaluation, Question, Steps
from weft.core.errors import LimitExceeded

SCHEMA = """
caveat recent(age int) { age < 10 }
definition user {}
definition group { relation member: user | group#member | user:* }
definition folder { relation owner: user  permission view = owner }
definition doc {
  relation parent: folder
  relation viewer: user | group#member | user with recent | user with expiration
  relation banned: user
  permission view = viewer + parent->view
  permission see = view - banned
  permission both = viewer & parent->view
  permission every = parent.all(view)
}
"""
TUPLES = [
    "group:a#member@user:ann",
    "group:b#member@group:a#member",
    "doc:1#viewer@user:ann",
    "doc:2#viewer@group:b#member",
    "folder:f#owner@user:ann",
    "doc:3#parent@folder:f",
    "doc:4#viewer@user:ann[recent]",
    "doc:5#viewer@user:ann[expiration:2100-01-01T00:00:00Z]",
    "doc:1#banned@user:ann",
]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """All questions that are checked from here on."""
    asked: list[Question] = []
    check = Evaluation.check

    def noted(self: Evaluation, questions: Iterable[Question]) -> Steps:
        questions = list(questions)
        asked.extend(questions)
        return check(self, questions)

    monkeypatch.setattr(Evaluation, "check", noted)
    return asked


@pytest.fixture
def authz() -> Iterator[Authz]:
    with Authz.open("memory:") as authz:
        authz.write_schema(SCHEMA.replace("caveat", "use expiration\ncaveat", 1))
        authz.write(touch=TUPLES)
        yield authz


@pytest.mark.parametrize(
    ("relation", "listed", "unproven"),
    [
        ("view", "1 2 3 5", "4 5"),
        ("viewer", "1 2 5", "4 5"),
        ("see", "2 3 5", "1 2 3 4 5"),
        ("both", "", "1 2 4 5"),
        ("every", "3", "3"),
    ],
)
def test_objects_that_the_walk_proves_are_not_checked(
    authz: Authz, checked: list[Question], relation: str, listed: str, unproven: str
) -> None:
    page = authz.list_objects("doc", relation, "user:ann")
    assert page.items == [f"doc:{id_}" for id_ in listed.split()]
    assert sorted(object_.id for _, object_, _ in checked) == unproven.split()


@pytest.mark.parametrize(
    ("object_", "relation", "listed", "unproven"),
    [
        ("doc:2", "view", ["user:ann"], []),
        ("doc:3", "view", ["user:ann"], []),
        ("doc:4", "view", [], ["ann"]),
        ("doc:1", "see", [], ["ann"]),
        ("doc:2", "see", ["user:ann"], ["ann"]),
        ("doc:3", "every", ["user:ann"], ["ann"]),
    ],
)
def test_subjects_that_the_walk_proves_are_not_checked(
    authz: Authz, checked: list[Question], object_: str, relation: str, listed: list[str], unproven: list[str]
) -> None:
    page = authz.list_subjects(object_, relation, "user")
    assert page.items == listed
    assert [user.id for user, _, _ in checked if user.id != "*"] == unproven


def test_what_is_proven_is_known_to_the_checks_of_the_rest(authz: Authz) -> None:
    """Of a document that the user surely views, only the ban is read."""
    authz.write(touch=[f"doc:n{n}#viewer@user:ann" for n in range(50)])
    reads: list[Any] = []
    answer = authz._store.answer

    def noted(asked: Any, revision: int) -> Any:
        reads.extend(asked)
        return answer(asked, revision)

    authz._store.answer = noted  # type: ignore[method-assign]
    assert len(authz.list_objects("doc", "see", "user:ann").items) == 53
    of_new = [read.relation for read in reads if hasattr(read, "object") and read.object.id.startswith("n")]
    assert of_new == ["banned"] * 50


def test_a_list_goes_deeper_than_a_check_where_that_is_proof() -> None:
    with Authz.open("memory:", max_depth=5) as authz:
        authz.write_schema(SCHEMA.replace("caveat", "use expiration\ncaveat", 1))
        authz.write(touch=[f"group:{n + 1}#member@group:{n}#member" for n in range(9)])
        authz.write(touch=["group:0#member@user:ann"])
        assert len(authz.list_objects("group", "member", "user:ann").items) == 10
        assert authz.list_subjects("group:0", "member", "user").items == ["user:ann"]
        with pytest.raises(LimitExceeded):
            authz.check("group:9", "member", "user:ann")


def test_permissions_of_every_type_are_those_on_any_object(authz: Authz) -> None:
    def held(user: str, **given: Any) -> dict[str, tuple[str, ...]]:
        return {p.name: p.decision.missing for p in authz.list_permissions(None, user, **given)}

    authz.write(touch=["doc:8#viewer@user:cy[recent]", "doc:9#viewer@user:cy[recent]"])
    assert held("user:cy") == {"doc#viewer": ("age",), "doc#view": ("age",), "doc#see": ("age",)}
    assert held("user:cy", context={"age": 3})["doc#view"] == ()
    assert held("user:cy", context={"age": 30}) == {}
    assert set(held("user:ann")) >= {"folder#owner", "doc#banned", "doc#see", "doc#every"}
    assert "doc#both" not in held("user:ann")
