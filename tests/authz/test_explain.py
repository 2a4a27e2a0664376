"""Explain: the shortest path, or everything that was tried and what would have helped."""

from __future__ import annotations

import pytest

from weft.authz import Authz

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition folder { relation viewer: user | group#member }
definition doc {
  relation parent: folder
  relation viewer: user | group#member
  relation banned: user
  permission view = (viewer + parent->viewer) - banned
}
"""


@pytest.fixture
def authz() -> Authz:
    authz = Authz.open("memory:")
    authz.write_schema(SCHEMA)
    authz.write(
        touch=[
            "doc:1#parent@folder:plans",
            "folder:plans#viewer@group:all#member",
            "group:all#member@group:eng#member",
            "group:eng#member@user:ann",
        ]
    )
    return authz


def test_an_allowed_check_shows_the_shortest_path(authz: Authz) -> None:
    explanation = authz.explain("doc:1", "view", "user:ann")
    assert explanation.decision.allowed
    assert str(explanation).splitlines() == [
        "allowed: `user:ann` in `doc:1#view`",
        "  allowed: all of",
        "    allowed: by `doc:1#parent@folder:plans`",
        "      allowed: `user:ann` in `folder:plans#viewer`",
        "        allowed: by `folder:plans#viewer@group:all#member`",
        "          allowed: `user:ann` in `group:all#member`",
        "            allowed: by `group:all#member@group:eng#member`",
        "              allowed: `user:ann` in `group:eng#member`",
        "                allowed: by `group:eng#member@user:ann`",
        "    allowed: not",
        "      denied: `user:ann` in `doc:1#banned`",
    ]
    authz.write(touch=["doc:1#viewer@user:ann"])
    assert "folder:plans" not in str(authz.explain("doc:1", "view", "user:ann"))


def test_a_denied_check_shows_what_was_tried_and_what_would_have_allowed_it(authz: Authz) -> None:
    explanation = authz.explain("doc:1", "view", "user:bob")
    assert not explanation.decision.allowed
    for tried in ("doc:1#viewer", "folder:plans#viewer", "group:all#member", "group:eng#member"):
        assert f"denied: `user:bob` in `{tried}`" in str(explanation)
    assert explanation.would_allow[0] == "doc:1#viewer@user:bob"
    assert "group:eng#member@user:bob" in explanation.would_allow
    for text in explanation.would_allow:
        assert authz.check("doc:1", "view", "user:bob", contextual_tuples=[text])


def test_a_denial_by_exclusion_shows_the_excluding_tuple_and_suggests_nothing(authz: Authz) -> None:
    authz.write(touch=["doc:1#banned@user:ann"])
    explanation = authz.explain("doc:1", "view", "user:ann")
    assert "allowed: by `doc:1#banned@user:ann`" in str(explanation)
    assert "parent" not in str(explanation)
    assert explanation.would_allow == ()


def test_cycles_end(authz: Authz) -> None:
    authz.write(touch=["group:eng#member@group:all#member"])
    assert "group:eng#member@user:ann" in str(authz.explain("doc:1", "view", "user:ann"))
    assert not authz.explain("doc:1", "view", "user:bob").decision
