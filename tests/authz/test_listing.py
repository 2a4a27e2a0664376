"""Lists by way of the mirror and the index are the lists by way of the store: item by item, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.authz import EXACT, Authz, Zookie
from weft.authz.lists import Candidates
from weft.authz.results import Page
from weft.authz.serving.settings import Serving
from weft.authz.store import Write
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.tuples import parse_tuple
from weft.core.errors import LimitExceeded
from weft.core.randomness import derived_random

SCHEMA = """
use expiration
use self
caveat recent(age int) { age < 10 }
definition user { permission itself = self }
definition group {
  relation owner: user | group#member
  relation member: user | user:* | group#member | group#all | user with recent | group#member with expiration
  permission staff = owner + member
  permission all = staff
  permission some = member - owner
}
definition folder {
  relation parent: folder
  relation viewer: user | group#all | user:*
  permission view = viewer + parent->view
}
definition doc {
  relation folder: folder | folder with recent
  relation team: group | group#member
  relation viewer: user | user:* | group#member | group#all | user with expiration
  relation banned: user | group#member | user with recent
  permission view = viewer + folder->view + team->member
  permission read = view - banned
  permission both = viewer & folder->view
  permission every = folder.all(view)
  permission ever = team->all
}
"""
IDS = ("1", "2", "3")
USERS = tuple(f"user:{id_}" for id_ in IDS)
MEMBERS = tuple(f"group:{id_}#member" for id_ in IDS)
ALL = tuple(f"group:{id_}#all" for id_ in IDS)
LATER = "[expiration:2100-01-01T00:00:00Z]"
PAST = "[expiration:2000-01-01T00:00:00Z]"
NAMED = {
    "group#owner": (*USERS, *MEMBERS),
    "group#member": (
        *(*USERS, "user:*", *MEMBERS, *MEMBERS, *ALL, "user:1[recent]"),
        *("group:1#member" + LATER, "group:2#member" + PAST),
    ),
    "folder#parent": tuple(f"folder:{id_}" for id_ in IDS),
    "folder#viewer": (*USERS, *ALL, "user:*"),
    "doc#folder": (*(f"folder:{id_}" for id_ in IDS), "folder:1[recent]"),
    "doc#team": (*(f"group:{id_}" for id_ in IDS), *MEMBERS),
    "doc#viewer": (*USERS, "user:*", *MEMBERS, *ALL, "user:1" + LATER, "user:2" + PAST),
    "doc#banned": (*USERS, *MEMBERS, "user:3[recent]"),
}
TARGETS = [
    *(("group", name) for name in ("owner", "member", "all", "some")),
    *(("folder", "view"), ("user", "itself")),
    *(("doc", name) for name in ("viewer", "view", "read", "both", "every", "ever", "team")),
]


@st.composite
def tuples(draw: st.DrawFn) -> str:
    at = draw(st.sampled_from(sorted(NAMED)))
    namespace, relation = at.split("#")
    return f"{namespace}:{draw(st.sampled_from(IDS))}#{relation}@{draw(st.sampled_from(NAMED[at]))}"


COMMITS = st.tuples(
    st.lists(tuples(), min_size=1, max_size=30),
    st.lists(st.lists(tuples(), min_size=1, max_size=5), max_size=3),
).map(lambda drawn: [drawn[0], *drawn[1]])


class Ways:
    """One store, asked with everything on, and with nothing."""

    def __init__(self, store: LmdbStore) -> None:
        self.store = store
        self.fast = Authz(store)
        self.slow = Authz(store, serving=Serving(mirror=False, cache=False, flights=False, hot=False))

    def write(self, texts: list[str], there: dict[str, str]) -> Zookie:
        """Write what is not there, and delete what is."""
        by_key = {text.split("[")[0]: text for text in texts}
        delete = [key for key in by_key if key in there]
        touch = [text for key, text in by_key.items() if key not in there]
        for key in delete:
            del there[key]
        there.update((text.split("[")[0], text) for text in touch)
        return self.fast.write(touch=touch, delete=delete)


@contextmanager
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with LmdbStore(tmp_path_factory.mktemp("listing") / "authz") as store:
        both = Ways(store)
        both.fast.write_schema(SCHEMA)
        yield both
        both.fast.close()


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """The index always pays, pages are kept and small, and removed edges leave sets dirty now and then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weft.authz.leopard.leopard.PAYS_FROM", 0)
        patch.setattr("weft.authz.leopard.closure._AT_ONCE", 3)
        patch.setattr("weft.authz.lists._CHECKED_TOGETHER", 2)
        patch.setattr("weft.authz.lists._SELECTED_FROM", 2)
        patch.setattr("weft.authz.lists._SELECTED", 2)
        patch.setattr("weft.authz.walks._KEPT_FROM", 0)
        yield


def whole(ask: Any, *arguments: Any, **options: Any) -> list[Page[str]]:
    pages = [ask(*arguments, **options)]
    while pages[-1].cursor is not None:
        assert len(pages) < 100
        pages.append(ask(*arguments, cursor=pages[-1].cursor, **options))
    return pages


def plain(page: Page[str]) -> tuple[Any, ...]:
    return page.items, page.conditional, page.excluded, page.complete


def in_turns(ways: Ways, name: str, *arguments: Any, **options: Any) -> list[Page[str]]:
    """Page by page, each by the other way than the page before."""
    cursor = None
    pages: list[Page[str]] = []
    while not pages or cursor is not None:
        authz = (ways.fast, ways.slow)[len(pages) % 2]
        pages.append(getattr(authz, name)(*arguments, cursor=cursor, **options))
        cursor = pages[-1].cursor
    return pages


def agree(ways: Ways, name: str, *arguments: Any, **options: Any) -> None:
    fast = whole(getattr(ways.fast, name), *arguments, **options)
    slow = whole(getattr(ways.slow, name), *arguments, **options)
    assert list(map(plain, fast)) == list(map(plain, slow)), arguments
    assert list(map(plain, in_turns(ways, name, *arguments, **options))) == list(map(plain, slow))


OBJECTS_ASKED = st.tuples(
    st.just("list_objects"),
    st.sampled_from(TARGETS),
    st.sampled_from([*USERS, "user:new", "user:*", "group:1#member", "group:2#all", "group:3#owner"]),
)
SUBJECTS_ASKED = st.tuples(
    st.just("list_subjects"),
    st.sampled_from(TARGETS),
    st.sampled_from(["user", "user", "group#member", "group#all", "folder"]),
)


@settings(max_examples=120)
@given(
    commits=COMMITS,
    questions=st.lists(OBJECTS_ASKED | SUBJECTS_ASKED, min_size=4, max_size=12, unique=True),
    context=st.sampled_from([{}, {"age": 1}, {"age": 50}]),
    limit=st.integers(1, 3),
)
def test_lists_are_the_same_at_every_revision(
    tmp_path_factory: pytest.TempPathFactory,
    commits: list[list[str]],
    questions: list[tuple[str, tuple[str, str], str]],
    context: dict[str, int],
    limit: int,
) -> None:
    with ways(tmp_path_factory) as both:
        there: dict[str, str] = {}
        zookies = [both.write(commit, there) for commit in commits]
        for at in {zookies[0], zookies[-1]}:
            asked: dict[str, Any] = {"at": EXACT(at), "context": context, "limit": limit}
            for name, (namespace, relation), who in questions:
                if name == "list_objects":
                    agree(both, name, namespace, relation, who, **asked)
                else:
                    for id_ in IDS[:2]:
                        agree(both, name, f"{namespace}:{id_}", relation, who, **asked)


def walked_fast(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each list from here on, whether its candidates come from the mirror."""
    seen: list[bool] = []
    made = Candidates.__init__

    def noted(self: Candidates, *arguments: Any, **options: Any) -> None:
        seen.append(options.get("numbered", False))
        made(self, *arguments, **options)

    monkeypatch.setattr(Candidates, "__init__", noted)
    return seen


def test_what_the_mirror_answers_and_what_it_leaves_over(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = walked_fast(monkeypatch)
    with ways(tmp_path_factory) as both:
        both.write(["doc:1#viewer@user:1", "group:1#member@user:1", "doc:2#viewer@group:1#member"], {})
        fast = both.fast
        assert fast.list_objects("doc", "read", "user:1").items == ["doc:1", "doc:2"]
        assert fast.list_objects("doc", "read", "user:unknown").items == []
        assert fast.list_subjects("doc:2", "read", "user").items == ["user:1"]
        assert seen == [True] * 3
        fast.list_objects("doc", "read", "user:1", contextual_tuples=["doc:3#viewer@user:1"])
        assert fast.list_objects("user", "itself", "user:unknown").items == ["user:unknown"]
        assert fast.list_subjects("doc:unknown", "read", "user").items == []
        assert seen[3:] == [False] * 3
        both.store.write(Write(touch=[parse_tuple("doc:1#viewer@folder:1")]))
        assert fast.list_objects("doc", "viewer", "user:1").items == ["doc:1", "doc:2"]
        assert seen[6:] == [False], "a tuple that the schema does not admit"


def test_what_unions_do_not_prove_is_checked(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ways(tmp_path_factory) as both:
        both.write(
            [
                *("folder:1#viewer@user:1", "doc:1#folder@folder:1", "doc:1#folder@folder:2"),
                *("doc:2#folder@folder:1", "doc:3#viewer@user:1", "doc:2#viewer@user:1"),
                *("doc:2#viewer@group:1#all", "group:1#owner@user:2", "group:2#owner@group:1#member"),
                "doc:3#viewer@group:3#all",
            ],
            {},
        )
        for target, user, items in (
            ("every", "user:1", ["doc:2"]),
            ("both", "user:1", ["doc:2"]),
            ("view", "group:1#member", ["doc:2"]),
            ("view", "group:1#owner", ["doc:2"]),
            ("view", "group:3#owner", ["doc:3"]),
        ):
            assert both.fast.list_objects("doc", target, user).items == items, target
            agree(both, "list_objects", "doc", target, user)


def test_a_group_that_no_tuple_names_is_in_what_is_computed_from_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with ways(tmp_path_factory) as both:
        both.fast.write_schema("""
        definition user {}
        definition team {
          relation owner: user | team#all
          permission all = owner
        }
        definition page {
          relation viewer: team#all
          relation team: team
        }
        """)
        both.write(["page:1#viewer@team:1#all", "team:1#owner@user:1", "page:1#team@team:2"], {})
        assert both.fast.list_objects("team", "all", "team:2#owner").items == ["team:2"]
        agree(both, "list_objects", "team", "all", "team:2#owner")


def test_objects_come_in_the_order_of_their_writing_and_the_request_s_own_last(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with ways(tmp_path_factory) as both:
        for ids in (("b", "c"), ("a", "d")):
            both.fast.write(touch=[f"doc:{id_}#viewer@user:1" for id_ in ids])
        for authz in (both.fast, both.slow):
            assert authz.list_objects("doc", "view", "user:1").items == ["doc:b", "doc:c", "doc:a", "doc:d"]
            given_ = ["doc:x#viewer@user:1", "doc:b#viewer@user:1", "doc:e#viewer@user:1"]
            listed = whole(authz.list_objects, "doc", "view", "user:1", limit=2, contextual_tuples=given_)
            assert [page.items for page in listed] == [
                ["doc:c", "doc:a"],
                ["doc:d", "doc:b"],
                ["doc:e", "doc:x"],
            ]


def test_a_cursor_stays_at_its_revision_whoever_writes_and_whichever_way_goes_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with ways(tmp_path_factory) as both:
        both.fast.write(touch=[f"doc:{n}#viewer@user:1" for n in range(6)])
        first = both.fast.list_objects("doc", "view", "user:1", limit=2)
        both.fast.write(delete=["doc:3#viewer@user:1"], touch=["doc:9#viewer@user:1"])
        others = Authz(both.store)
        for authz in (both.fast, both.slow, others):
            rest = authz.list_objects("doc", "view", "user:1", limit=9, cursor=first.cursor)
            assert (rest.items, rest.complete) == ([f"doc:{n}" for n in range(2, 6)], True)
        assert len(both.fast.list_objects("doc", "view", "user:1").items) == 6


def test_depth_does_not_end_a_list_that_is_proven(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ways(tmp_path_factory) as both:
        chain = [f"group:{n}#member@group:{n + 1}#member" for n in range(80)]
        both.fast.write(touch=[*chain, "group:80#member@user:1", "doc:1#viewer@group:0#member"])
        for authz in (both.fast, both.slow):
            assert len(whole(authz.list_objects, "group", "member", "user:1", limit=50)) == 2
            assert authz.list_objects("doc", "view", "user:1").items == ["doc:1"]
            assert authz.list_subjects("doc:1", "view", "user").items == ["user:1"]
        with pytest.raises(LimitExceeded):
            both.slow.check("group:0", "member", "user:1")


@pytest.mark.parametrize("parts", [1, 3, 40, 400])
def test_the_first_of_many_are_the_first_of_all(parts: int) -> None:
    """Picked out of overlapping parts without putting all in order."""
    rng = derived_random(parts, "candidates")
    for round_ in range(20):
        proven = [{rng.randrange(2_000) for _ in range(rng.randrange(1, 30))} for _ in range(parts)]
        unproven = {rng.randrange(2_000) for _ in range(30)} if round_ % 2 else set()
        candidates = Candidates(
            proven,
            unproven,
            ids=lambda keys: list(map(str, keys)),
            place_of=lambda key: key.to_bytes(8, "big"),
            key_of=lambda place: int.from_bytes(place, "big"),
        )
        expected = sorted(set().union(unproven, *proven))
        count = rng.randrange(1, 30)
        found, after = [], b""
        while chunk := candidates.following(after, count):
            assert len(chunk) == count or len(found) + len(chunk) == len(expected)
            found += chunk
            after = candidates.place_of(chunk[-1])
        assert found == expected
        assert candidates.following(b"", count) == expected[:count]
