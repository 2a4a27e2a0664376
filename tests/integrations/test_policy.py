import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent import Agent, Answer
from weft.agent.events import AnyEvent, SessionStarted
from weft.agent.policy import (
    SESSION_APPROVAL_S,
    Access,
    Action,
    Allow,
    Ask,
    Deny,
    Policy,
    Question,
    Resource,
)
from weft.agent.sandbox.unconfined import Unconfined
from weft.authz import Authz
from weft.core.errors import Invalid
from weft.integrations.policy import SCHEMA, AuthzPolicy
from weft.testing.agent import PolicyContract, call, failing_repository, scripted, step
from weft.testing.clock import VirtualClock


class TestAuthzPolicy(PolicyContract):
    @pytest.fixture
    def policy(self) -> Policy:
        judge = everything_granted()
        judge.grant("user:ann", "lander")
        judge.hide("private")
        return judge

    @pytest.fixture
    def allowed(self) -> Question:
        return Question("s1", "user:ann", "read_file", Access("read", Resource("file", "src/a.py")))


RELATIONS = {"reader": {"read"}, "writer": {"read", "write"}, "runner": {"run"}, "lander": {"land"}}


def policy(clock: VirtualClock | None = None) -> AuthzPolicy:
    clock = clock or VirtualClock()
    authz = Authz.open("memory:", clock=clock)
    authz.write_schema(SCHEMA)
    return AuthzPolicy(authz, "weft", clock=clock)


def ask(policy: AuthzPolicy, action: Action, name: str = "src/a.py", *, session: str = "s1") -> object:
    kind = {"run": "command", "connect": "host", "land": "workspace"}.get(action, "file")
    resource = Resource(kind, name)  # type: ignore[arg-type]
    return policy.decide(Question(session, "user:ann", "tool", Access(action, resource)))


def may(relations: set[str], action: str) -> bool:
    """A command can read everything, so whoever runs one must be allowed to read."""
    needed = {"run", "read"} if action == "run" else {action}
    return needed <= {right for relation in relations for right in RELATIONS[relation]}


@given(st.sets(st.sampled_from(sorted(RELATIONS))), st.sets(st.sampled_from(sorted(RELATIONS))))
def test_rights_are_the_intersection_of_user_and_session(user: set[str], session: set[str]) -> None:
    judge = policy()
    for who, relations in (("user:ann", user), ("session:s1", session)):
        if relations:
            judge.grant(who, *sorted(relations))
    for action in ("read", "write", "run", "land"):
        user_may, session_may = may(user, action), may(session, action)
        decision = ask(judge, action)
        assert isinstance(decision, Allow) == (user_may and session_may)
        assert isinstance(decision, Ask) == (action == "land" and user_may and not session_may)


def everything_granted(clock: VirtualClock | None = None) -> AuthzPolicy:
    judge = policy(clock)
    for who in ("user:ann", "session:s1"):
        judge.grant(who, "reader", "writer", "runner")
    return judge


def test_a_frozen_folder_holds_for_everything_in_it_and_nothing_else() -> None:
    judge = everything_granted()
    judge.freeze("tests/unit")
    for name in ("tests/unit", "tests/unit/a.py", "tests/unit/deep/er/a.py", "tests/./unit/../unit/a.py"):
        assert isinstance(ask(judge, "write", name), Deny)
        assert isinstance(ask(judge, "read", name), Allow)
    for name in ("tests/a.py", "tests/units/a.py", "src/tests/unit/a.py", "."):
        assert isinstance(ask(judge, "write", name), Allow)


@pytest.mark.parametrize("path", ["src/", "./src", "src//", "x/../src", ".", "", "./"])
def test_a_path_is_frozen_however_it_is_written(path: str) -> None:
    judge = everything_granted()
    judge.freeze(path)
    assert isinstance(ask(judge, "write", "src/a.py"), Deny)
    assert isinstance(ask(judge, "read", "src/a.py"), Allow)


@pytest.mark.parametrize("path", ["/", "/src", "..", "../src", "src/../../src"])
def test_what_is_outside_cannot_be_frozen(path: str) -> None:
    with pytest.raises(Invalid, match="outside the workspace"):
        everything_granted().freeze(path)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "..", "../x", "a/../../x", "/".join("d" * 200), "n" * 3_000, "ä" * 600, "\udcff"],
)
def test_paths_outside_too_deep_or_that_are_no_names_are_denied(name: str) -> None:
    judge = everything_granted()
    for action in ("read", "write"):
        assert isinstance(ask(judge, action, name), Deny)  # type: ignore[arg-type]


def test_other_sessions_of_the_same_user_have_no_rights() -> None:
    assert isinstance(ask(everything_granted(), "read", session="s2"), Deny)


def test_an_approval_ends_by_itself() -> None:
    clock = VirtualClock()
    judge = everything_granted(clock)
    judge.grant("user:ann", "lander")
    landing = Access("land", Resource("workspace", "weft"))
    assert isinstance(ask(judge, "land", "weft"), Ask)
    judge.approve("s1", landing, for_s=60)
    assert isinstance(ask(judge, "land", "weft"), Allow)
    clock.advance(61)
    assert isinstance(ask(judge, "land", "weft"), Ask)


def test_a_consent_for_the_session_is_a_tuple_that_expires(tmp_path: Path) -> None:
    clock = VirtualClock()
    judge = everything_granted(clock)
    judge.grant("user:ann", "lander")
    asked: list[str] = []

    def on_event(event: AnyEvent) -> None:
        if isinstance(event, SessionStarted):
            judge.grant(f"session:{event.session}", "reader", "writer", "runner")

    agent = Agent.open(
        failing_repository(tmp_path / "repository"),
        model=scripted(step(call("write_file", path="a", content="a")), step(say="x"), *[step()] * 3),
        policy=judge,
        sandbox=Unconfined(),
        verify="true",
        user="user:ann",
        clock=clock,
        on_event=on_event,
        approve=lambda question, reason: asked.append(reason) or Answer.SESSION,
    )
    result = agent.run("x", land=True)
    assert result.landed
    landing = Access("land", Resource("workspace", "weft"))
    question = Question(result.session, "user:ann", "land", landing)
    assert isinstance(judge.decide(question), Allow)
    clock.advance(SESSION_APPROVAL_S + 1)
    assert isinstance(judge.decide(question), Ask)
    assert len(asked) == 1


@pytest.mark.parametrize("for_s", [0.0, -1.0, float("nan"), float("inf")])
def test_an_approval_lasts_for_a_while(for_s: float) -> None:
    with pytest.raises(Invalid, match="an approval for"):
        everything_granted().approve("s1", Access("land", Resource("workspace", "weft")), for_s)


def test_what_is_granted_is_not_approved() -> None:
    with pytest.raises(Invalid, match="`write` needs no approval"):
        everything_granted().approve("s1", Access("write", Resource("file", "a.py")), 60)


def test_hosts_are_closed_until_the_user_may_visit_and_the_session_is_approved() -> None:
    authz = Authz.open("memory:")
    authz.write_schema(SCHEMA)
    judge = AuthzPolicy(authz, "weft")
    assert isinstance(ask(judge, "connect", "example.org"), Deny)
    authz.write(touch=["host:example.org#visitor@user:ann"])
    assert isinstance(ask(judge, "connect", "example.org"), Ask)
    judge.approve("s1", Access("connect", Resource("host", "example.org")), for_s=60)
    assert isinstance(ask(judge, "connect", "example.org"), Allow)
    assert isinstance(ask(judge, "connect", "example.com"), Deny)
    assert isinstance(ask(judge, "connect", "example.org", session="s2"), Ask)


def outside(judge: AuthzPolicy, command: str = "make get", *, session: str = "s1") -> object:
    access = Access("run_outside", Resource("command", command))
    return judge.decide(Question(session, "user:ann", "run_command", access))


def test_who_may_not_run_a_command_may_not_run_it_outside() -> None:
    judge = everything_granted()
    assert isinstance(outside(judge), Deny)
    judge.grant("user:ann", "outsider")
    assert isinstance(outside(judge), Ask)
    for who in ("user:ann", "session:s1"):
        judge._authz.write(delete=[f"workspace:weft#runner@{who}"])
        assert isinstance(outside(judge), Deny)
        judge.grant(who, "runner")
    judge.approve("s1", Access("run_outside", Resource("command", "make  get")), for_s=60)
    assert isinstance(outside(judge), Allow)
    judge._authz.write(delete=["workspace:weft#outsider@user:ann"])
    assert isinstance(outside(judge), Deny), "what a person gave goes with what they have"


@given(
    st.lists(st.sampled_from(["srv", "srv2", "data", "d"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["srv", "srv2", "data", "d"]), max_size=4),
    st.lists(st.sampled_from(["srv", "srv2", "data", "d"]), max_size=4),
)
def test_a_place_is_seen_where_both_see_it_or_a_folder_above(
    place: list[str], users: list[str], sessions: list[str]
) -> None:
    judge = everything_granted()
    asked, mine, theirs = ("/" + "/".join(parts) for parts in (place, users, sessions))
    judge._authz.write(touch=[f"place:{mine}#viewer@user:ann"])
    judge.approve("s1", Access("see", Resource("place", theirs)), for_s=60)
    decision = judge.decide(Question("s1", "user:ann", "t", Access("see", Resource("place", asked))))
    user_may, session_may = (place[: len(parts)] == parts for parts in (users, sessions))
    assert isinstance(decision, Allow) == (user_may and session_may)
    assert isinstance(decision, Ask) == (user_may and not session_may)


@pytest.mark.parametrize(
    "name", ["srv", "../srv", "/srv/..", "/srv/", "//srv", "/srv/./a", "", "/" + "n" * 3_000]
)
def test_what_is_no_place_is_denied(name: str) -> None:
    judge = everything_granted()
    judge._authz.write(touch=["place:/#viewer@user:ann"])
    access = Access("see", Resource("place", name))
    assert isinstance(judge.decide(Question("s1", "user:ann", "t", access)), Deny)


def test_a_denial_names_who_lacks_what() -> None:
    judge = everything_granted()
    judge.freeze("a.py")
    decision = ask(judge, "write", "a.py")
    assert isinstance(decision, Deny)
    assert decision.reason == "`session:s1` may not write `a.py`"


def test_odd_names_are_objects_of_their_own() -> None:
    judge = everything_granted()
    judge.freeze("a#b")
    for name, other in itertools.product(["a#b"], ["a", "b", "a b", "a#", "ä", "a[b", "*"]):
        assert isinstance(ask(judge, "write", name), Deny)
        assert isinstance(ask(judge, "write", other), Allow)


@pytest.mark.parametrize("user", ["session:s1", "user:*", "user:ann#friend", "ann", ""])
def test_only_one_user_can_be_acted_for(user: str) -> None:
    judge = everything_granted()
    access = Access("read", Resource("file", "a.py"))
    assert isinstance(judge.decide(Question("s1", user, "tool", access)), Deny)


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_workspaces_whose_paths_could_be_taken_for_others_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="cannot name a workspace"):
        AuthzPolicy(Authz.open("memory:"), name)


def test_a_host_is_the_same_however_it_is_written() -> None:
    judge = everything_granted()
    judge._authz.write(touch=["host:example.org#visitor@user:ann"])
    judge.approve("s1", Access("connect", Resource("host", "Example.ORG.")), for_s=60)
    assert isinstance(ask(judge, "connect", "example.org"), Allow)


def test_hidden_is_what_decide_denies_by_path_and_nobody_elses_business() -> None:
    authz = Authz.open("memory:")
    authz.write_schema(SCHEMA)
    judge, other = AuthzPolicy(authz, "weft"), AuthzPolicy(authz, "wefts")
    for who in ("user:ann", "session:s1"):
        judge.grant(who, "reader", "writer", "runner")
        other.grant(who, "reader", "writer", "runner")
    assert judge.hidden("s1", "user:ann") == []
    judge.hide("private/./keys")
    authz.write(touch=["path:weft/diary.txt#hidden@user:ann", "path:weft/bobs.txt#hidden@user:bob"])
    authz.write(touch=[f"path:weft/many/{number}#hidden@session:s1" for number in range(250)])
    hidden = judge.hidden("s1", "user:ann")
    assert set(hidden) == {"private/keys", "diary.txt", *(f"many/{number}" for number in range(250))}
    for path in [*hidden, "private/keys/deep/er"]:
        assert isinstance(ask(judge, "read", path), Deny)
        assert isinstance(ask(judge, "write", path), Deny)
    for path in ("bobs.txt", "private/other", "many"):
        assert isinstance(ask(judge, "read", path), Allow)
    assert other.hidden("s1", "user:ann") == []
