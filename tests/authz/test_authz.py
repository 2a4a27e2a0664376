"""The front door: what it takes, what it refuses, and what the refusals say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import weft.authz
from weft.authz import EXACT, Authz, Check
from weft.authz.schema import SchemaError
from weft.authz.store import IdempotencyConflict, OrphanedTuples, PreconditionFailed, TupleExists
from weft.authz.stores.memory import MemoryStore
from weft.authz.tuples import ObjectRef, TupleFilter, User, parse_tuple
from weft.core.errors import Invalid, LimitExceeded, NotFound, WeftError

SCHEMA = """
caveat recent(age int) { age < 10 }
definition user {}
definition group { relation member: user | group#member }
definition doc {
  relation viewer: user | user:* | group#member | user with recent
  relation banned: user
  permission view = viewer - banned
}
"""


@pytest.fixture(params=["memory", "lmdb"])
def authz(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Authz]:
    with Authz.open("memory:" if request.param == "memory" else str(tmp_path / "authz")) as authz:
        authz.write_schema(SCHEMA)
        yield authz


def test_the_door_shows_what_it_exports() -> None:
    names = {"EXACT", "LATEST", "AsyncAuthz", "Authz", "Check", "Decision", "Zookie"}
    assert set(weft.authz.__all__) == names
    assert all(hasattr(weft.authz, name) for name in weft.authz.__all__)


@pytest.mark.parametrize("url", ["", "nosuch://host", "memory:x", "http://localhost"])
def test_an_unknown_url_says_what_to_write(url: str) -> None:
    with pytest.raises(Invalid, match="names no tuple store; use `memory:` or the path"):
        Authz.open(url)


def test_without_a_schema_nothing_is_answered() -> None:
    with Authz.open("memory:") as authz:
        for ask in (
            lambda: authz.check("doc:1", "view", "user:ann"),
            lambda: authz.write(touch=["doc:1#viewer@user:ann"]),
            authz.read_schema,
        ):
            with pytest.raises(Invalid, match="no schema yet; write one"):
                ask()


def test_texts_and_parsed_forms_are_alike(authz: Authz) -> None:
    authz.write(touch=[parse_tuple("doc:1#viewer@user:ann"), "doc:2#viewer@user:ann"])
    assert authz.check(ObjectRef("doc", "2"), "view", User("user", "ann"))
    assert authz.check("doc:1", "view", "user:ann")
    assert authz.read(where=TupleFilter(object_id="1")).items == [parse_tuple("doc:1#viewer@user:ann")]


BAD: list[tuple[Callable[[Authz], object], type[WeftError], str]] = [
    (lambda a: a.check("doc", "view", "user:ann"), Invalid, "`doc` is not an object"),
    (lambda a: a.check("doc:1", "view", "ann"), Invalid, "`ann` is not a user"),
    (lambda a: a.check("dox:1", "view", "user:ann"), NotFound, "did you mean `doc`"),
    (lambda a: a.check("doc:1", "veiw", "user:ann"), NotFound, "did you mean `view`"),
    (lambda a: a.check("doc:1", "view", "usr:ann"), NotFound, "did you mean `user`"),
    (lambda a: a.check("doc:1", "view", "group:1#members"), NotFound, "did you mean `member`"),
    (lambda a: a.check("doc:1", "view", User("user", "")), Invalid, "empty"),
    (lambda a: a.check_many([Check("doc:1", "view", "user:a")] * 10_001), LimitExceeded, "10,001 checks"),
    (lambda a: a.list_objects("dox", "view", "user:ann"), NotFound, "did you mean `doc`"),
    (lambda a: a.list_objects("doc", "view", "user:ann", limit=0), Invalid, "at least one"),
    (lambda a: a.list_objects("doc", "view", "user:ann", cursor="x"), Invalid, "cursor"),
    (lambda a: a.list_subjects("doc:1", "view", "usr"), NotFound, "did you mean `user`"),
    (lambda a: a.read("doc:1", "vi ewer"), Invalid, "not a name"),
    (lambda a: a.expand("doc:1", "veiw"), NotFound, "did you mean"),
    (lambda a: a.write(touch=["doc:1#viewer"]), Invalid, "`doc:1#viewer`"),
    (lambda a: a.write(touch=["doc:1#view@user:ann"]), Invalid, "computed"),
    (lambda a: a.write(touch=["doc:1#banned@user:*"]), Invalid, "it takes `user`"),
    (lambda a: a.write(touch=["doc:1#viewer@user:a[old]"]), Invalid, "`user with recent`"),
    (lambda a: a.write(touch=['doc:1#viewer@user:a[recent:{"age":"x"}]']), Invalid, "`age`"),
    (lambda a: a.write(touch=["doc:1#viewer@user:a"], delete=["doc:1#viewer@user:a"]), Invalid, "twice"),
    (lambda a: a.write(touch=[f"doc:{n}#viewer@user:a" for n in range(1_001)]), LimitExceeded, "1,001"),
    (lambda a: a.write_schema("definition {"), SchemaError, ""),
    (lambda a: a.write_schema(SCHEMA, "yaml"), Invalid, "`yaml` is not a schema language"),  # type: ignore[arg-type]
    (lambda a: a.watch("nonsense"), Invalid, "not a zookie"),
    (lambda a: list(a.export_tuples(after="nonsense")), Invalid, "`nonsense`"),
]


@pytest.mark.parametrize(("ask", "kind", "message"), BAD, ids=[message or "schema" for *_, message in BAD])
def test_bad_input_is_one_clear_error_and_writes_nothing(
    authz: Authz, ask: Callable[[Authz], object], kind: type[WeftError], message: str
) -> None:
    before = authz.read_schema().zookie
    with pytest.raises(kind) as caught:
        ask(authz)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) or kind is SchemaError
    assert authz.read_schema().zookie == before


def test_writes_are_all_or_nothing(authz: Authz) -> None:
    authz.write(create=["doc:1#viewer@user:ann"])
    with pytest.raises(TupleExists, match="use touch"):
        authz.write(create=["doc:2#viewer@user:ann", "doc:1#viewer@user:ann"])
    with pytest.raises(PreconditionFailed, match="must exist"):
        authz.write(touch=["doc:2#viewer@user:ann"], must_exist=["doc:9#viewer@user:ann"])
    with pytest.raises(PreconditionFailed, match="must not exist"):
        authz.write(touch=["doc:2#viewer@user:ann"], must_not_exist=[TupleFilter(namespace="doc")])
    assert authz.list_objects("doc", "view", "user:ann").items == ["doc:1"]
    authz.write(touch=["doc:2#viewer@user:ann"], must_exist=["doc:1#viewer@user:ann"])
    assert authz.list_objects("doc", "view", "user:ann").items == ["doc:1", "doc:2"]


def test_an_idempotency_key_gives_the_first_zookie_again(authz: Authz) -> None:
    first = authz.write(create=["doc:1#viewer@user:ann"], idempotency_key="k1")
    authz.write(delete=["doc:1#viewer@user:ann"])
    authz.write_schema(SCHEMA + "definition folder {}")
    assert authz.write(create=["doc:1#viewer@user:ann"], idempotency_key="k1") == first
    assert not authz.check("doc:1", "view", "user:ann")
    with pytest.raises(IdempotencyConflict):
        authz.write(touch=["doc:1#viewer@user:ann"], idempotency_key="k1")


def test_a_schema_that_would_orphan_tuples_is_refused_and_told_apart(authz: Authz) -> None:
    authz.write(touch=["doc:1#viewer@user:*", 'doc:1#viewer@user:ann[recent:{"age":3}]'])
    narrower = SCHEMA.replace("user:* | ", "")
    with pytest.raises(OrphanedTuples, match=r"`doc:1#viewer@user:\*`"):
        authz.write_schema(narrower)
    assert authz.diff_schema(narrower).orphans == ("doc:1#viewer@user:*",)
    assert authz.diff_schema(SCHEMA).changes == ()
    retyped = SCHEMA.replace("age int", "age string").replace("age < 10", 'age == "x"')
    with pytest.raises(OrphanedTuples, match=r'recent:\{"age":3\}'):
        authz.write_schema(retyped)
    authz.write(delete=["doc:1#viewer@user:*"])
    authz.write_schema(narrower)
    assert authz.read_schema().text == narrower


def test_stored_tuples_that_the_schema_no_longer_admits_are_ignored() -> None:
    """They cannot be written; they get there when an older version of a schema was more generous."""
    store = MemoryStore()
    authz = Authz(store)
    authz.write_schema(SCHEMA)
    strays = [
        "doc:1#banned@user:*",
        "doc:1#view@user:ann",
        "doc:1#viewer@doc:2",
        "doc:1#viewer@user:bob[gone]",
    ]
    from weft.authz.store import Write

    store.write(Write(touch=tuple(map(parse_tuple, strays))))
    for user in ("user:ann", "user:bob", "doc:2"):
        assert not authz.check("doc:1", "view", user)
        assert not authz.list_objects("doc", "view", user).items
    assert not authz.list_subjects("doc:1", "banned", "user").items
    assert not authz.read("doc:1").items
    assert not list(authz.expand("doc:1", "view").users())
    authz.write(delete=strays)
    assert list(authz.export_tuples()) == []


def test_a_list_goes_on_at_its_own_revision(authz: Authz) -> None:
    authz.write(touch=[f"doc:{n}#viewer@user:ann" for n in range(5)])
    first = authz.list_objects("doc", "view", "user:ann", limit=2)
    assert (first.items, first.complete) == (["doc:0", "doc:1"], False)
    authz.write(delete=["doc:2#viewer@user:ann"], touch=["doc:9#viewer@user:ann"])
    rest = authz.list_objects("doc", "view", "user:ann", limit=9, cursor=first.cursor)
    assert (rest.items, rest.complete) == (["doc:2", "doc:3", "doc:4"], True)
    assert rest.zookie == first.zookie
    with pytest.raises(Invalid, match="another question"):
        authz.list_objects("doc", "view", "user:bob", cursor=first.cursor)


def test_a_wildcard_is_reported_with_whom_it_excludes(authz: Authz) -> None:
    authz.write(touch=["doc:1#viewer@user:*", "doc:1#viewer@user:ann", "doc:1#banned@user:bob"])
    page = authz.list_subjects("doc:1", "view", "user")
    assert (page.items, page.excluded) == (["user:*", "user:ann"], ["user:bob"])
    pages = [authz.list_subjects("doc:1", "view", "user", limit=1)]
    while (cursor := pages[-1].cursor) is not None:
        pages.append(authz.list_subjects("doc:1", "view", "user", limit=1, cursor=cursor))
    assert [item for page in pages for item in page.items] == ["user:*", "user:ann"]
    assert [name for page in pages for name in page.excluded] == ["user:bob"]


def test_a_decision_is_true_only_when_allowed(authz: Authz) -> None:
    authz.write(touch=["doc:1#viewer@user:ann[recent]"])
    decision = authz.check("doc:1", "view", "user:ann")
    assert decision.conditional
    assert not decision


def test_expand_shows_the_tree(authz: Authz) -> None:
    zookie = authz.write(touch=["doc:1#viewer@group:a#member", "group:a#member@group:a#member"])
    authz.write(touch=["group:a#member@user:ann"])
    tree = authz.expand("doc:1", "view")
    assert (tree.operation, tree.userset) == ("userset", "doc:1#view")
    [exclusion] = tree.children
    assert exclusion.operation == "exclusion"
    assert [child.userset for child in exclusion.children] == ["doc:1#viewer", "doc:1#banned"]
    assert list(tree.users()) == ["user:ann"]
    assert list(authz.expand("doc:1", "view", at=EXACT(zookie)).users()) == []
    shallow = authz.expand("doc:1", "view", depth=0)
    assert list(shallow.users()) == []
    [group] = shallow.children[0].children[0].children[0].children
    assert (group.userset, group.open) == ("group:a#member", True)


def test_a_directory_is_opened_once_per_process(tmp_path: Path) -> None:
    with Authz.open(str(tmp_path / "authz")), pytest.raises(Invalid, match="open"):
        Authz.open(str(tmp_path / "authz"))


@pytest.mark.parametrize("name", ["create", "touch", "delete", "must_exist", "must_not_exist"])
def test_a_text_is_not_taken_for_a_list_of_letters(authz: Authz, name: str) -> None:
    with pytest.raises(Invalid, match=f"`{name}` takes a list"):
        authz.write(**{name: "doc:1#viewer@user:ann"})
    with pytest.raises(Invalid, match="`namespaces` takes a list"):
        next(authz.watch(namespaces="doc"))
    with pytest.raises(NotFound, match="`dox`"):
        next(authz.watch(namespaces=["dox"]))


@pytest.mark.parametrize(
    ("asked", "kind", "says"),
    [
        ({"object": "dox"}, NotFound, "`dox`"),
        ({"object": "dox:1"}, NotFound, "`dox`"),
        ({"object": "doc:1", "relation": "viewr"}, NotFound, "`viewr`"),
        ({"object": "doc:1", "relation": "view"}, Invalid, "no tuple is stored"),
    ],
)
def test_no_typing_error_is_answered_with_an_empty_page(
    authz: Authz, asked: dict[str, str], kind: type[WeftError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        authz.read(**asked)  # type: ignore[arg-type]
