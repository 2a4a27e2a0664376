"""A condition that fails matters only where the answer depends on it, and then in every question alike."""

import pytest

from weft.authz import Authz
from weft.core.errors import Invalid

SCHEMA = """
caveat reciprocal(x int) { 1 / x == 1 }
definition user {}
definition group { relation member: user | user with reciprocal }
definition doc {
  relation owner: user
  relation member: group#member
  permission view = owner + member
  permission only = member - owner
}
"""
FAILING = {"x": 0}


@pytest.fixture
def authz() -> Authz:
    opened = Authz.open("memory:")
    opened.write_schema(SCHEMA)
    opened.write(
        touch=[
            "doc:1#owner@user:ann",
            "doc:1#member@group:g#member",
            "group:g#member@user:ann[reciprocal]",
            "group:g#member@user:eve",
        ]
    )
    return opened


def test_what_does_not_depend_on_it_is_answered_by_every_question(authz: Authz) -> None:
    for context in (FAILING, {"x": 1}, {}):
        assert authz.check("doc:1", "view", "user:ann", context=context).allowed
        assert authz.explain("doc:1", "view", "user:ann", context=context).decision.allowed
        assert authz.list_objects("doc", "view", "user:ann", context=context).items == ["doc:1"]
        page = authz.list_subjects("doc:1", "view", "user", context=context)
        assert sorted(page.items) == ["user:ann", "user:eve"]
        assert not authz.check("doc:1", "only", "user:ann", context=context).allowed


@pytest.mark.parametrize("at", ["check", "explain", "list_objects", "list_subjects", "list_permissions"])
def test_what_depends_on_it_is_refused_by_every_question(authz: Authz, at: str) -> None:
    authz.write(touch=["doc:2#member@group:g#member"])
    questions = {
        "check": lambda: authz.check("doc:2", "view", "user:ann", context=FAILING),
        "explain": lambda: authz.explain("doc:2", "view", "user:ann", context=FAILING),
        "list_objects": lambda: authz.list_objects("doc", "view", "user:ann", context=FAILING),
        "list_subjects": lambda: authz.list_subjects("doc:2", "view", "user", context=FAILING),
        "list_permissions": lambda: authz.list_permissions("doc:2", "user:ann", context=FAILING),
    }
    with pytest.raises(Invalid, match="condition `reciprocal` fails"):
        questions[at]()
    assert authz.check("doc:2", "view", "user:eve", context=FAILING).allowed
