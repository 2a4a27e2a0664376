"""A request under which its history is collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from weft.authz import EXACT, Authz, Check
from weft.authz.serving.settings import Serving
from weft.authz.zookie import ExpiredZookie
from weft.testing.clock import VirtualClock

SCHEMA = "definition user {} definition doc { relation viewer: user  permission view = viewer }"
QUESTIONS: dict[str, Callable[..., Any]] = {
    "check": lambda a, **at: a.check("doc:1", "view", "user:ann", **at).allowed,
    "check_many": lambda a, **at: (
        a.check_many((Check("doc:1", "view", "user:ann") for _ in range(1)), **at)[0].allowed
    ),
    "expand": lambda a, **at: list(a.expand("doc:1", "view", **at).users()) == ["user:ann"],
    "explain": lambda a, **at: a.explain("doc:1", "view", "user:ann", **at).decision.allowed,
    "list_objects": lambda a, **at: a.list_objects("doc", "view", "user:ann", **at).items == ["doc:1"],
    "list_subjects": lambda a, **at: a.list_subjects("doc:1", "view", "user", **at).items == ["user:ann"],
    "list_permissions": lambda a, **at: len(a.list_permissions("doc:1", "user:ann", **at)) == 2,
    "read": lambda a, **at: len(a.read("doc:1", **at).items) == 1,
}


@pytest.fixture(params=["memory", "lmdb"])
def authz(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Authz]:
    url = "memory:" if request.param == "memory" else str(tmp_path / "authz")
    walks = Serving(mirror=False)  # What the mirror answers needs no history of the store.
    with Authz.open(url, clock=VirtualClock(), retention_s=3_600, serving=walks) as authz:
        authz.write_schema(SCHEMA)
        yield authz


def collected_under(authz: Authz, times: int) -> None:
    """Ann may view, and at each of the next reads that goes into history, of which a request began with."""
    store: Any = authz._store
    clock: Any = authz._clock
    left = [times]

    def collecting(read: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*args: Any, **kwargs: Any) -> Any:
            if left[0]:
                left[0] -= 1
                authz.write(touch=["doc:1#viewer@user:ann", f"doc:other{left[0]}#viewer@user:ann{times}"])
                authz.write(delete=[f"doc:other{left[0]}#viewer@user:ann{times}"])
                clock.advance(4_000)
                store.collect()
            return read(*args, **kwargs)

        return ask

    store.answer = collecting(store.answer)
    store.scan = collecting(store.scan)


@pytest.mark.parametrize("name", QUESTIONS)
def test_it_is_asked_again_where_any_newer_moment_does(authz: Authz, name: str) -> None:
    collected_under(authz, 1)
    assert QUESTIONS[name](authz)


@pytest.mark.parametrize("name", QUESTIONS)
def test_where_one_moment_was_asked_for_it_says_that_that_is_gone(authz: Authz, name: str) -> None:
    at = EXACT(authz.write(touch=["doc:9#viewer@user:ann"]))
    collected_under(authz, 1)
    with pytest.raises(ExpiredZookie, match="older than the retained history"):
        QUESTIONS[name](authz, at=at)


def test_a_page_behind_another_is_of_the_same_moment_or_an_error(authz: Authz) -> None:
    authz.write(touch=["doc:1#viewer@user:ann", "doc:2#viewer@user:ann", "doc:2#viewer@user:bob"])
    cursors = {
        "list_objects": (("doc", "view", "user:ann"), authz.list_objects),
        "list_subjects": (("doc:2", "view", "user"), authz.list_subjects),
        "read": ((), authz.read),
    }
    pages = {name: ask(*question, limit=1).cursor for name, (question, ask) in cursors.items()}
    collected_under(authz, 3)
    for name, (question, ask) in cursors.items():
        with pytest.raises(ExpiredZookie):
            ask(*question, limit=1, cursor=pages[name])


def test_short_processes_forget_too(tmp_path: Path) -> None:
    clock = VirtualClock()
    for day in range(6):
        with Authz.open(tmp_path / "store", clock=clock) as authz:
            if not day:
                authz.write_schema("definition user {} definition doc { relation viewer: user }")
            authz.write(touch=[f"doc:{day}#viewer@user:ann"])
            oldest = authz._store.oldest()
        clock.advance(2 * 24 * 3_600)
    assert oldest >= 4
