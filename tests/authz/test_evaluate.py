"""The evaluator: limits, cycles, and what it may not remember."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from weft.authz import Authz, Check
from weft.authz.plan import Plan
from weft.authz.schema import parse_schema
from weft.authz.tuples import ObjectRef, User
from weft.core.errors import Invalid, LimitExceeded, NotFound
from weft.testing.clock import VirtualClock

GROUPS = """
definition user {}
definition group { relation member: user | group#member }
"""
BANS = """
definition user {}
definition group {
  relation member: user | group#member
  relation banned: user | group#active
  permission active = member - banned
}
"""
CONDITIONS = """
caveat recent(age int) { age < 10 }
caveat inside(region string) { region == "eu" }
definition user {}
definition doc {
  relation viewer: user with recent | user with inside
  relation editor: user with recent
  relation banned: user with inside
  permission both = viewer & editor
  permission view = viewer - banned
}
"""


@contextmanager
def authz_with(schema: str, *tuples: str, **options: object) -> Iterator[Authz]:
    with Authz.open("memory:", **options) as authz:  # type: ignore[arg-type]
        authz.write_schema(schema)
        authz.write(touch=tuples)
        yield authz


def chain(length: int) -> list[str]:
    nested = [f"group:{number}#member@group:{number + 1}#member" for number in range(1, length)]
    return [*nested, f"group:{length}#member@user:ann"]


def test_a_path_as_long_as_the_limit_is_found_and_a_longer_one_is_an_error() -> None:
    with authz_with(GROUPS, *chain(10), max_depth=9) as authz:
        assert authz.check("group:2", "member", "user:ann")
        with pytest.raises(LimitExceeded, match="9 tuples"):
            authz.check("group:1", "member", "user:ann")
        with pytest.raises(LimitExceeded):
            authz.check("group:1", "member", "user:bob")
        assert authz.list_subjects("group:1", "member", "user").items == ["user:ann"], "proven, at any depth"


def test_an_answer_within_the_limit_needs_no_deeper_look() -> None:
    with authz_with(GROUPS, *chain(10), "group:1#member@user:ann", max_depth=5) as authz:
        assert authz.check("group:1", "member", "user:ann")


def test_a_cycle_ends_with_the_least_fixed_point() -> None:
    tuples = ["group:a#member@group:b#member", "group:b#member@group:a#member"]
    with authz_with(GROUPS, *tuples) as authz:
        assert not authz.check("group:a", "member", "user:ann")
        authz.write(touch=["group:b#member@user:ann"])
        checks = [Check(f"group:{id_}", "member", "user:ann") for id_ in "abab"]
        assert all(authz.check_many(checks))
        assert authz.check("group:a", "member", "group:b#member")


def test_an_exclusion_that_depends_on_itself_denies_and_explain_names_the_loop() -> None:
    tuples = ["group:a#member@user:ann", "group:a#banned@group:a#active"]
    with authz_with(BANS, *tuples) as authz:
        decision = authz.check("group:a", "active", "user:ann")
        assert not decision.allowed
        assert not decision.conditional
        assert not authz.list_objects("group", "active", "user:ann").items
        explanation = authz.explain("group:a", "active", "user:ann")
        assert set(explanation.loop) == {"group:a#active", "group:a#banned"}
        assert "depends on itself" in str(explanation)


def test_a_loop_that_does_not_matter_does_not_deny() -> None:
    tuples = ["group:a#member@user:ann", "group:a#banned@group:b#active", "group:b#banned@group:a#active"]
    with authz_with(BANS, *tuples) as authz:
        assert authz.check("group:a", "active", "user:ann")
        authz.write(touch=["group:b#member@user:ann"])
        assert not authz.check("group:a", "active", "user:ann")
        authz.write(touch=["group:b#banned@user:ann"])
        assert authz.check("group:a", "active", "user:ann")


def test_missing_context_is_named_and_given_context_decides() -> None:
    tuples = [
        "doc:1#viewer@user:ann[recent]",
        "doc:1#editor@user:ann[recent]",
        "doc:1#banned@user:ann[inside]",
    ]
    with authz_with(CONDITIONS, *tuples) as authz:
        view = authz.check("doc:1", "view", "user:ann")
        assert (view.allowed, view.conditional, view.missing) == (False, True, ("age", "region"))
        assert authz.check("doc:1", "both", "user:ann").missing == ("age",)
        assert authz.check("doc:1", "both", "user:ann", context={"age": 3})
        assert authz.check("doc:1", "view", "user:ann", context={"age": 3}).missing == ("region",)
        assert authz.check("doc:1", "view", "user:ann", context={"age": 3, "region": "us"})
        old = authz.check("doc:1", "view", "user:ann", context={"age": 30})
        assert (old.allowed, old.conditional) == (False, False)
        page = authz.list_objects("doc", "view", "user:ann")
        assert page.items == []
        assert [(item.item, item.missing) for item in page.conditional] == [("doc:1", ("age", "region"))]
        [subject] = authz.list_subjects("doc:1", "both", "user").conditional
        assert (subject.item, subject.missing) == ("user:ann", ("age",))
        names = {p.name: p.decision.missing for p in authz.list_permissions("doc:1", "user:ann")}
        assert names["view"] == ("age", "region")


def test_no_condition_brings_in_who_is_in_none_of_all() -> None:
    schema = """
    caveat recent(age int) { age < 10 }
    definition user {}
    definition folder { relation viewer: user }
    definition doc {
      relation parent: folder | folder with recent
      permission view = parent.all(viewer)
    }
    """
    with authz_with(schema, "doc:1#parent@folder:a[recent]") as authz:
        assert not authz.check("doc:1", "view", "user:ann").conditional
        authz.write(touch=["folder:a#viewer@user:ann"])
        assert authz.check("doc:1", "view", "user:ann").missing == ("age",)
        assert not authz.check("doc:1", "view", "user:ann", context={"age": 30})
        authz.write(touch=["doc:1#parent@folder:b"])
        assert not authz.check("doc:1", "view", "user:ann").conditional
        authz.write(touch=["folder:b#viewer@user:ann"], delete=["folder:a#viewer@user:ann"])
        assert authz.check("doc:1", "view", "user:ann").missing == ("age",)
        assert authz.check("doc:1", "view", "user:ann", context={"age": 30})


def test_an_arrow_goes_by_the_object_of_a_userset() -> None:
    """As in the Zanzibar paper, where `$TUPLE_USERSET_OBJECT` is the object of the userset."""
    schema = """
    definition user {}
    definition folder { relation viewer: user }
    definition doc { relation parent: folder#viewer | folder permission view = parent->viewer }
    """
    tuples = ["doc:1#parent@folder:a#viewer", "doc:2#parent@folder:a", "folder:a#viewer@user:ann"]
    with authz_with(schema, *tuples) as authz:
        assert authz.check("doc:1", "view", "user:ann")
        assert authz.list_objects("doc", "view", "user:ann").items == ["doc:1", "doc:2"]
        assert authz.list_subjects("doc:1", "view", "user").items == ["user:ann"]


def test_stored_context_wins_over_the_request() -> None:
    with authz_with(CONDITIONS, 'doc:1#editor@user:ann[recent:{"age":3}]') as authz:
        assert authz.check("doc:1", "editor", "user:ann", context={"age": 30})


def test_context_of_the_wrong_type_is_a_clear_error() -> None:
    with authz_with(CONDITIONS, "doc:1#editor@user:ann[recent]") as authz:
        with pytest.raises(Invalid, match="`age`"):
            authz.check("doc:1", "editor", "user:ann", context={"age": "old"})
        with pytest.raises(Invalid, match="`age`"):
            authz.write(touch=['doc:1#editor@user:bob[recent:{"age":"old"}]'])


def test_alike_checks_of_one_call_keep_their_own_context() -> None:
    """Cache keys must tell nested and differently typed values apart."""
    with authz_with(CONDITIONS, "doc:1#editor@user:ann[recent]") as authz:
        ages = [3, 30, 3, None]
        checks = [Check("doc:1", "editor", "user:ann", {} if age is None else {"age": age}) for age in ages]
        decisions = authz.check_many(checks)
        assert [d.allowed for d in decisions] == [True, False, True, False]
        assert [d.conditional for d in decisions] == [False, False, False, True]


def test_contextual_tuples_count_for_one_request_as_if_touched() -> None:
    with authz_with(GROUPS, "group:a#member@user:ann") as authz:
        extra = ["group:b#member@group:a#member"]
        assert authz.check("group:b", "member", "user:ann", contextual_tuples=extra)
        assert authz.list_objects("group", "member", "user:ann", contextual_tuples=extra).items == [
            "group:a",
            "group:b",
        ]
        assert authz.list_subjects("group:b", "member", "user", contextual_tuples=extra).items == ["user:ann"]
        assert "user:ann" in set(authz.expand("group:b", "member", contextual_tuples=extra).users())
        assert not authz.check("group:b", "member", "user:ann")
        with pytest.raises(LimitExceeded, match="101 contextual tuples"):
            authz.check("group:b", "member", "user:ann", contextual_tuples=chain(101))
        with pytest.raises(NotFound):
            authz.check("group:b", "member", "user:ann", contextual_tuples=["doc:1#viewer@user:ann"])


def test_expiry_is_held_against_the_instant_of_the_request() -> None:
    clock = VirtualClock(1_767_225_600_000_000)
    schema = "use expiration definition user {} definition doc { relation viewer: user with expiration }"
    with authz_with(schema, "doc:1#viewer@user:ann[expiration:2026-01-01T00:00:10Z]", clock=clock) as authz:
        clock.advance(9.999_999)
        assert authz.check("doc:1", "viewer", "user:ann")
        assert authz.list_objects("doc", "viewer", "user:ann").items == ["doc:1"]
        clock.advance(0.000_001)
        assert not authz.check("doc:1", "viewer", "user:ann")
        assert not authz.list_objects("doc", "viewer", "user:ann").items
        assert not authz.list_subjects("doc:1", "viewer", "user").items
        assert not authz.read("doc:1").items


def test_a_question_left_asleep_is_woken_when_asked_later() -> None:
    schema = "use self definition doc { relation viewer: doc permission own = self & viewer }"
    with authz_with(schema, "doc:1#viewer@doc:2") as authz:
        request = authz._request(None, None, ())
        evaluation = request.evaluation()
        user, object_ = User("doc", "2"), ObjectRef("doc", "1")
        assert request.run(evaluation.check([(user, object_, "own")])) == [False]
        assert request.run(evaluation.check([(user, object_, "viewer")])) == [True]


def test_a_cycle_decided_for_one_question_is_decided_for_all_that_wait() -> None:
    schema = """
    caveat recent(age int) { age < 10 }
    definition user {}
    definition group { relation member: user | user with recent | group#member }
    """
    tuples = [
        "group:root#member@group:slow#member",
        "group:root#member@group:quick#member",
        "group:quick#member@user:ann",
        "group:slow#member@group:a#member",
        "group:a#member@group:b#member",
        "group:b#member@group:a#member",
        "group:b#member@user:ann[recent]",
    ]
    with authz_with(schema, *tuples) as authz:
        request = authz._request(None, None, ())
        evaluation = request.evaluation()

        def value(group: str) -> object:
            question = (User("user", "ann"), ObjectRef("group", group), "member")
            [found] = request.run(evaluation.check([question]))
            return found

        assert value("root") is True
        assert value("a") == {"age"}
        assert value("slow") == {"age"}


def test_unions_of_unions_are_put_in_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Along each of the ways that lead there it would be a million times."""
    steps = 20
    rungs = "".join(
        f"permission a{n} = b{n} + c{n}  permission b{n} = a{n + 1}  permission c{n} = a{n + 1}\n"
        for n in range(steps)
    )
    rungs += f"relation viewer: user  permission a{steps} = viewer"
    text = f"definition user {{}} definition doc {{ {rungs} }}"
    plan = Plan(parse_schema(text, "zed"))
    asked: list[str] = []
    rule = plan.rule

    def noted(namespace: str, relation: str, user: User) -> Any:
        asked.append(relation)
        assert len(asked) <= 3 * steps + 2
        return rule(namespace, relation, user)

    monkeypatch.setattr(plan, "rule", noted)
    ann = User("user", "ann")
    assert plan.flat_rule("doc", "a0", ann) == rule("doc", "viewer", ann)
    assert len(asked) == len(set(asked)) == 3 * steps + 2
