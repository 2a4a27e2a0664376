"""What compiled checks must prove, what they must leave over, and that they never mix two revisions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from weft.authz import EXACT, LATEST, AsyncAuthz, Authz, Check, Decision
from weft.authz.compiled.build import Programs
from weft.authz.compiled.point import Point
from weft.authz.compiled.program import Program
from weft.authz.mirror.live import Live
from weft.authz.mirror.past import Undo
from weft.authz.serving.settings import Serving
from weft.authz.store import Write
from weft.authz.stores.lmdb_numbered import NumberedChange
from weft.authz.tuples import ObjectRef, User, parse_tuple
from weft.core.errors import Invalid, LimitExceeded, NotFound, WeftError
from weft.testing.clock import START_US, VirtualClock

SCHEMA = """
use expiration
use self
caveat tier(level int, least int) { level >= least }
definition user {}
definition group {
  relation member: user | user:* | group#member | user with expiration | group#member with expiration
}
definition folder {
  relation parent: folder
  relation viewer: user | group#member
  permission view = viewer + parent->view
}
definition doc {
  relation folder: folder
  relation reader: user | user:* | group#member | user with tier
  relation banned: user | group#member
  permission view = reader + folder->view
  permission both = reader & banned
  permission but = reader - banned
  permission every = folder.all(view)
  permission own = self
}
definition other { relation reader: user }
"""
TUPLES = [
    "doc:1#reader@group:a#member",
    "group:a#member@group:b#member",
    "group:b#member@group:c#member",
    "group:c#member@group:a#member",
    "group:c#member@user:ann",
    "doc:1#banned@user:bob",
    "doc:1#reader@user:bob",
    "doc:1#folder@folder:x",
    "doc:1#folder@folder:y",
    "folder:x#parent@folder:z",
    "folder:z#viewer@user:cat",
    "folder:z#viewer@user:fay",
    "folder:y#viewer@user:fay",
    "folder:y#viewer@group:b#member",
    'doc:1#reader@user:dan[tier:{"least":3}]',
    "doc:2#reader@user:*",
    "group:d#member@user:eve[expiration:2026-01-01T00:00:10Z]",
    "group:e#member@group:d#member[expiration:2026-01-01T00:00:20Z]",
    "doc:3#reader@group:e#member",
]
COMPILED = Serving(leopard=False, cache=False, flights=False, hot=False)
PROVEN = {
    "doc:1#view@user:ann": True,
    "doc:1#view@user:bob": True,
    "doc:1#view@user:cat": True,
    "doc:1#view@user:nobody": False,
    "doc:1#view@user:*": False,
    "doc:1#view@group:c#member": True,
    "group:c#member@group:c#member": True,
    "doc:1#both@user:bob": True,
    "doc:1#both@user:ann": False,
    "doc:1#but@user:bob": False,
    "doc:1#but@user:ann": True,
    "doc:1#every@user:cat": False,
    "doc:1#every@user:ann": False,
    "doc:1#every@user:fay": True,
    "doc:2#every@user:fay": False,
    "doc:1#own@doc:1": True,
    "doc:1#own@doc:2": False,
    "doc:2#view@user:nobody": True,
    "doc:2#view@user:ann": True,
    "doc:2#view@user:*": True,
    "doc:9#view@user:ann": False,
    "doc:3#view@user:eve": True,
    "doc:3#view@user:ann": False,
}


@contextmanager
def authz_with(folder: Path, schema: str, *tuples: str, **options: Any) -> Iterator[Authz]:
    options = {"clock": VirtualClock(), "serving": COMPILED, **options}
    with Authz.open(folder / "authz", **options) as authz:
        authz.write_schema(schema)
        if tuples:
            authz.write(touch=tuples)
        yield authz


@pytest.fixture
def authz(tmp_path: Path) -> Iterator[Authz]:
    with authz_with(tmp_path, SCHEMA, *TUPLES) as authz:
        yield authz


def proven(authz: Authz, question: str, context: dict[str, Any] | None = None) -> bool | None:
    """What the programs alone say of `doc:1#view@user:ann`."""
    asked = parse_tuple(question)
    decision = compiled(authz, asked.object, asked.relation, asked.user, context or {})
    return None if decision is None else decision.allowed


def compiled(authz: Authz, object_: Any, relation: str, user: Any, context: Any) -> Decision | None:
    assert authz._compiled is not None
    return authz._compiled.check(authz._store.head(), object_, relation, user, context)


@pytest.mark.parametrize("question", PROVEN)
def test_it_is_proven(authz: Authz, question: str) -> None:
    assert proven(authz, question) is PROVEN[question]
    asked = parse_tuple(question)
    assert compiled(authz, str(asked.object), asked.relation, str(asked.user), {}) is not None


def test_conditions_and_expiries_are_held_against_the_request(authz: Authz) -> None:
    clock: Any = authz._clock
    assert proven(authz, "doc:1#view@user:dan", {"level": 3}) is True
    assert proven(authz, "doc:1#view@user:dan", {"level": 2}) is False
    assert proven(authz, "doc:1#view@user:dan") is None
    assert proven(authz, "doc:1#view@user:dan", {"level": "high"}) is None
    assert authz.check("doc:1", "view", "user:dan").missing == ("level",)
    with pytest.raises(Invalid, match="`level`"):
        authz.check("doc:1", "view", "user:dan", context={"level": "high"})
    clock.set(START_US + 9_999_999)
    assert proven(authz, "doc:3#view@user:eve") is True
    clock.set(START_US + 10_000_000)
    assert proven(authz, "doc:3#view@user:eve") is False


def test_each_check_of_a_batch_has_its_own_context(authz: Authz) -> None:
    contexts: list[dict[str, Any]] = [
        {"level": 3},
        {"level": 2},
        {},
        {"level": 3.0},
        {"level": "high", "x": 1},
    ]
    asked = [Check("doc:1", "view", "user:dan", context) for context in contexts[:4]]
    decisions = authz.check_many(asked)
    assert [(d.allowed, d.conditional) for d in decisions] == [
        (True, False),
        (False, False),
        (False, True),
        (True, False),
    ]
    assert [d.allowed for d in authz.check_many(asked, context={"level": 9})] == [True, False, True, True]
    with pytest.raises(Invalid, match="`level`"):
        authz.check_many([*asked, Check("doc:1", "view", "user:dan", contexts[4])])


def test_a_definite_part_settles_what_missing_context_cannot_change(authz: Authz) -> None:
    authz.write(touch=["doc:1#banned@user:dan"])
    assert proven(authz, "doc:1#but@user:dan") is False
    assert proven(authz, "doc:1#both@user:dan") is None
    authz.write(touch=["folder:x#viewer@user:dan"])
    assert proven(authz, "doc:1#view@user:dan") is True


def test_what_depends_on_itself_through_an_exclusion_is_left_over(tmp_path: Path) -> None:
    schema = """
    definition user {}
    definition club {
      relation guest: user
      relation barred: club#enter
      permission enter = guest - barred
    }
    """
    tuples = ["club:a#guest@user:ann", "club:a#barred@club:b#enter", "club:b#barred@club:a#enter"]
    with authz_with(tmp_path, schema, *tuples, "club:b#guest@user:ann", "club:c#guest@user:ann") as authz:
        assert proven(authz, "club:a#enter@user:ann") is None
        assert proven(authz, "club:c#enter@user:ann") is True
        assert not authz.check("club:a", "enter", "user:ann")


GROUPS = "definition user {} definition group { relation member: user | group#member }"
TURNS = """
definition user {}
definition group { relation member: user | team#member }
definition team { relation member: user | group#member }
"""
CONDITIONAL = """
use expiration
definition user {}
definition group { relation member: user | group#member with expiration }
"""


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    ("schema", "other", "tail"),
    [
        (GROUPS, "group", ""),
        (TURNS, "team", ""),
        (CONDITIONAL, "group", "[expiration:2030-01-01T00:00:00Z]"),
    ],
)
def test_a_path_that_is_too_deep_is_left_over(
    schema: str, other: str, tail: str, wide: bool, tmp_path: Path
) -> None:
    kinds = ["group" if n % 2 else other for n in range(1, 12)]
    chain = [f"{kinds[n]}:{n}#member@{kinds[n + 1]}:{n + 1}#member{tail}" for n in range(9)]
    if wide:
        chain += [f"{kinds[n]}:{n}#member@{kinds[n + 1]}:side{n}#member{tail}" for n in range(9)]
    with authz_with(tmp_path, schema, *chain, f"{kinds[9]}:9#member@user:ann", max_depth=5) as authz:
        assert proven(authz, f"{kinds[5]}:5#member@user:ann") is True
        assert proven(authz, f"{kinds[5]}:5#member@user:bob") is False
        for name in ("ann", "bob"):
            assert proven(authz, f"{kinds[4]}:4#member@user:{name}") is None
            with pytest.raises(LimitExceeded):
                authz.check(f"{kinds[4]}:4", "member", f"user:{name}")
            with pytest.raises(LimitExceeded):
                authz.check_many([Check(f"{kinds[4]}:4", "member", f"user:{name}")] * 5)


def test_rows_that_the_schema_does_not_admit_prove_nothing(authz: Authz) -> None:
    assert proven(authz, "doc:1#view@user:ann") is True
    authz._store.write(
        Write(touch=[parse_tuple("doc:1#reader@other:1"), parse_tuple("other:1#reader@user:*")])
    )
    assert proven(authz, "doc:1#view@user:ann") is None
    assert proven(authz, "other:1#reader@user:ann") is None
    assert not authz.check("other:1", "reader", "user:ann")
    assert not authz.check("doc:1", "reader", "other:1")
    assert authz.check("doc:1", "view", "user:ann")


def test_rows_of_a_new_kind_are_seen(tmp_path: Path) -> None:
    schema = """
    definition user {}
    definition group { relation member: user | user:* | group#member }
    definition doc { relation reader: user | user:* | group#member }
    """
    with authz_with(tmp_path, schema, "doc:1#reader@user:bob") as authz:
        assert proven(authz, "doc:1#reader@user:bob") is True
        authz.write(touch=["doc:1#reader@group:a#member", "group:a#member@user:ann"])
        assert proven(authz, "doc:1#reader@user:ann") is True
        authz.write(touch=["group:b#member@user:cat", "group:a#member@group:b#member"])
        assert proven(authz, "doc:1#reader@user:cat") is True
        authz.write(touch=["group:b#member@user:*"])
        assert proven(authz, "doc:1#reader@user:dan") is True


def test_a_new_schema_is_gone_by_at_once_and_the_old_one_at_its_moments(authz: Authz) -> None:
    before = authz.write(touch=["doc:1#reader@user:zoe"])
    assert authz.check("doc:1", "view", "user:zoe")
    authz.write_schema(SCHEMA.replace("view = reader + folder->view", "view = folder->view"))
    assert proven(authz, "doc:1#view@user:zoe") is False
    assert not authz.check("doc:1", "view", "user:zoe", at=before)
    assert authz.check("doc:1", "view", "user:zoe", at=EXACT(before))


def test_bad_questions_fail_as_ever(authz: Authz) -> None:
    with pytest.raises(NotFound, match="`vieww`"):
        authz.check("doc:1", "vieww", "user:ann")
    with pytest.raises(NotFound, match="`usr`"):
        authz.check("doc:1", "view", "usr:ann")
    for object_, user in [
        ("group:a#member", "user:ann"),
        ("user:*", "user:ann"),
        ("doc:1", "user"),
        ("1", "user:ann"),
    ]:
        authz.check("doc:1", "view", "group:a#member")
        with pytest.raises(Invalid):
            authz.check(object_, "view", user)
    with pytest.raises(Invalid):
        authz.check("doc:1", "view", User("group", "*", "member"))
    with pytest.raises(NotFound, match="`nope`"):
        authz.check("1", "view", "group:a#nope")
    assert not authz.check(ObjectRef("doc", "*"), "view", "user:ann")
    assert authz.list_subjects(ObjectRef("doc", "*"), "view", "user").items == []
    with pytest.raises(Invalid):
        authz.check("doc:*", "view", "user:ann")


@pytest.mark.parametrize(
    ("checks", "error"),
    [
        ([Check("doc:1", "nope", "user:ann"), Check("doc:1", "nope", "user:#")], "`nope`"),
        ([Check("doc:new", "nope", "user:new"), Check("doc:1", "view", "user:#")], "`nope`"),
        ([Check("folder:z", "viewer", "user:fay", context={"level": {1}})], "set"),
    ],
)
def test_a_batch_fails_as_the_evaluator_does(authz: Authz, checks: list[Check], error: str) -> None:
    assert authz.check("doc:1", "view", "user:bob")
    messages = []
    for serving in (Serving(), Serving(mirror=False)):
        with pytest.raises(WeftError, match=error) as raised:
            Authz(authz._store, serving=serving).check_many(checks)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_two_that_were_never_written_may_be_the_same(authz: Authz) -> None:
    assert authz.check("doc:new", "own", "doc:new")
    assert authz.check("group:new", "member", "group:new#member")
    assert not authz.check("doc:new", "own", "doc:newer")
    assert authz.check_many([Check("doc:new", "own", "doc:new"), Check("doc:new", "own", "doc:other")])[
        0
    ].allowed


def test_a_mirror_that_goes_on_in_mid_check_changes_nothing(
    authz: Authz, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is that of the head that the check began with."""
    ask = Point.ask
    left = [1]

    def moving(self: Point, *arguments: Any) -> Any:
        if left:
            left.pop()
            authz.write(touch=["doc:7#reader@user:ann"], delete=["doc:1#reader@user:bob"])
            assert authz.check("doc:7", "view", "user:ann")
        return ask(self, *arguments)

    monkeypatch.setattr(Point, "ask", moving)
    assert authz.check("doc:1", "reader", "user:bob")
    assert not authz.check("doc:1", "reader", "user:bob")
    left.append(1)
    authz.write(delete=["doc:7#reader@user:ann"])
    assert not authz.check("doc:7", "reader", "user:ann")


def test_a_mirror_that_goes_on_in_mid_batch_changes_nothing(
    authz: Authz, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = Program.users
    left = [1]

    def moving(self: Program, *arguments: Any) -> Any:
        if left:
            left.pop()
            authz.write(delete=["doc:1#reader@user:bob"])
            authz.check("doc:1", "reader", "user:ann", at=LATEST)
        return users(self, *arguments)

    monkeypatch.setattr(Program, "users", moving)
    asked = [Check("doc:1", "reader", f"user:{name}") for name in ("bob", "ann", "dan", "eve", "bob")]
    authz.write(delete=["doc:1#reader@user:dan"])
    assert [d.allowed for d in authz.check_many(asked)] == [True, True, False, False, True]
    assert not left
    assert [d.allowed for d in authz.check_many(asked)] == [False, True, False, False, False]


def test_an_asynchronous_check_that_is_at_hand_takes_no_thread(
    authz: Authz, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[Any] = []
    to_thread = asyncio.to_thread

    async def noting(ask: Any, *arguments: Any) -> Any:
        threads.append(ask)
        return await to_thread(ask, *arguments)

    async def ask() -> list[bool]:
        face = AsyncAuthz(authz)
        found = [await face.check("doc:1", "view", f"user:{name}") for name in ("ann", "bob", "nobody")]
        authz.write(delete=["doc:1#reader@user:bob"])
        found += [await face.check("doc:1", "reader", "user:bob") for _ in range(2)]
        extra = ["doc:1#reader@user:bob"]
        found.append(await face.check("doc:1", "reader", "user:bob", contextual_tuples=extra))
        return [decision.allowed for decision in found]

    monkeypatch.setattr(asyncio, "to_thread", noting)
    assert asyncio.run(ask()) == [True, True, False, False, False, True]
    assert len(threads) == 3, "at the first look, after the commit, and where tuples come along"


def test_a_program_is_asked_only_when_it_is_whole(authz: Authz, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Program.fill
    began, go_on = Event(), Event()

    def slowly(self: Program, *arguments: Any, **options: Any) -> None:
        began.set()
        assert go_on.wait(30)
        fill(self, *arguments, **options)

    monkeypatch.setattr(Program, "fill", slowly)
    answers: list[bool | None] = []
    threads = [
        Thread(target=lambda: answers.append(proven(authz, "group:a#member@user:ann"))) for _ in range(2)
    ]
    threads[0].start()
    assert began.wait(30)
    threads[1].start()
    threads[1].join(0.05)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert answers == [True, True]


def test_programs_follow_rows_that_were_loaded_anew(authz: Authz) -> None:
    assert authz._mirror is not None
    assert authz._compiled is not None
    assert proven(authz, "doc:9#view@user:ann") is False
    point = authz._compiled._newest
    assert point is not None
    fresh = Programs(point.programs.plan, point.view)
    authz._mirror._drop("loading")
    authz.write(touch=["doc:9#reader@user:ann"])
    assert proven(authz, "doc:9#view@user:ann") is True
    newest = authz._compiled._newest
    assert newest is not None
    assert not fresh.carry_over(newest.view), "the rows are others"


def test_after_an_interrupted_change_every_moment_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's handler may raise anywhere."""
    with Authz.open(tmp_path / "authz", serving=COMPILED) as authz:
        authz.write_schema(SCHEMA)
        before = authz.write(touch=["doc:1#reader@user:ann"])
        assert authz.check("doc:1", "reader", "user:ann").allowed
        authz.write(delete=["doc:1#reader@user:ann"], touch=["doc:1#reader@user:bob"])
        changes = iter([Live._change])

        def interrupted(live: Live, change: NumberedChange) -> Undo:
            return next(changes, stop)(live, change)

        def stop(live: Live, change: NumberedChange) -> Undo:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Live, "_change", interrupted)
            with pytest.raises(KeyboardInterrupt):
                authz.check("doc:1", "reader", "user:ann")
        for user, then in (("user:ann", True), ("user:bob", False)):
            assert authz.check("doc:1", "reader", user).allowed is not then
            assert authz.check("doc:1", "reader", user, at=EXACT(before)).allowed is then


def test_programs_of_the_past_are_not_those_of_the_newest_rows(tmp_path: Path) -> None:
    with Authz.open(tmp_path / "authz", serving=COMPILED) as authz:
        authz.write_schema(SCHEMA)
        before = authz.write(touch=["doc:1#reader@user:ann"])
        assert not authz.check("doc:new", "reader", "user:new").allowed
        authz.write(touch=["doc:1#reader@user:bob"], delete=["doc:1#reader@user:ann"])
        assert not authz.check("doc:new", "reader", "user:new").allowed
        assert authz.check("doc:1", "reader", "user:ann", at=EXACT(before)).allowed
        assert not authz.check("doc:1", "reader", "user:ann").allowed
        assert authz.check("doc:1", "reader", "user:bob").allowed


def test_while_others_write_each_answer_is_of_one_revision(tmp_path: Path) -> None:
    """A writer moves ann between two groups, in one commit each time: she is in exactly one at any moment."""
    schema = """
    definition user {}
    definition group { relation member: user }
    definition doc {
      relation left: group
      relation right: group
      permission either = left->member + right->member
      permission both = left->member & right->member
    }
    """
    ends = ["doc:1#left@group:l", "doc:1#right@group:r"]
    with authz_with(tmp_path, schema, *ends, "group:l#member@user:ann") as authz:
        stop, wrong = Event(), []

        def write() -> None:
            sides = ["l", "r"]
            for _ in range(150):
                old, new = sides
                authz.write(delete=[f"group:{old}#member@user:ann"], touch=[f"group:{new}#member@user:ann"])
                sides.reverse()
            stop.set()

        def read() -> None:
            while not stop.is_set():
                either, both = (
                    authz.check("doc:1", "either", "user:ann"),
                    authz.check("doc:1", "both", "user:ann"),
                )
                many = authz.check_many([Check("doc:1", name, "user:ann") for name in ("either", "both")])
                if [either.allowed, both.allowed, *(d.allowed for d in many)] != [True, False] * 2:
                    wrong.append((either, both, many))

        threads = [Thread(target=write), *(Thread(target=read) for _ in range(2))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
