"""Readers take no lock: they see a revision whole, or nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from weft.authz.leopard.index import Edge, Index

KIND = 3 << 16 | 2
USER = 1 << 48 | 1
REVISIONS = 3_000


def group(serial: int) -> int:
    return 3 << 64 | 2 << 48 | serial


@pytest.fixture(autouse=True)
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("at_once", [0, 256])
def test_who_moves_between_groups_is_never_seen_in_none(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each revision takes the user, and the group that it is in, from one place to another."""
    monkeypatch.setattr("weft.authz.leopard.closure._AT_ONCE", at_once)
    index = Index((KIND,))
    top, halves, bottoms = group(1), (group(2), group(3)), (group(4), group(5))
    index.build(
        0,
        [
            *(Edge(top, half, True) for half in halves),
            *(Edge(halves[0], bottoms[0], True), Edge(halves[1], bottoms[1], True)),
            Edge(bottoms[0], USER, True),
        ],
    )
    seen: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            revision = index.revision
            if revision < 0:
                continue
            seen[index.contains(USER, top, revision)] += 1
            found = index.groups_of(USER, revision)
            if found is not None:
                assert top in found.sure or top in found.possible
                assert len({*bottoms} & {*found.sure}) == 1

    failed: list[BaseException] = []

    def watched() -> None:
        try:
            ask()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=watched) for _ in range(2)]
    for thread in threads:
        thread.start()
    for revision in range(1, REVISIONS):
        here, there = revision % 2, 1 - revision % 2
        index.apply(
            revision,
            [
                *(Edge(bottoms[there], USER, None), Edge(bottoms[here], USER, True)),
                *(Edge(halves[0], bottoms[there], None), Edge(halves[1], bottoms[there], True)),
                *(Edge(halves[1], bottoms[here], None), Edge(halves[0], bottoms[here], True)),
            ],
        )
        if revision % 50 == 0:
            index.repair()
    done.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert seen[False] == 0
    assert seen[True] or seen[None]
    index.repair()
    assert index.contains(USER, top, index.revision) is True


class Meanwhile(dict[int, object]):
    """Does something at the first look into it."""

    def __init__(self, known: dict[int, object], do: Callable[[], None]) -> None:
        super().__init__(known)
        self._do: Callable[[], None] | None = do

    def get(self, key: int, default: object = None) -> object:
        found = super().get(key, default)
        do, self._do = self._do, None
        if do is not None:
            do()
        return found


@pytest.mark.parametrize("question", ["contains", "groups_of", "groups_below"])
def test_an_answer_that_a_revision_came_into_is_none(question: str) -> None:
    index = Index((KIND,))
    index.build(0, [Edge(group(1), group(2), True), Edge(group(2), USER, True)])
    asked = {"contains": (USER, group(1)), "groups_of": (USER,), "groups_below": (group(1),)}[question]
    assert getattr(index, question)(*asked, 0) is not None

    def go_on() -> None:
        index.apply(1, [Edge(group(1), group(2), None)])

    looked_into = "_node" if question == "groups_below" else "_direct"
    setattr(index, looked_into, Meanwhile(getattr(index, looked_into), go_on))
    assert getattr(index, question)(*asked, 0) is None
    assert getattr(index, question)(*asked, 1) is not None
