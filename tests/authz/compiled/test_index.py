"""Compiled checks with the index of groups: the same answers, also beyond the depth that is walked."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from weft.authz import Authz
from weft.authz.leopard.index import Index
from weft.authz.serving.settings import Serving
from weft.core.errors import LimitExceeded
from weft.testing.clock import VirtualClock

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition doc { relation reader: user | group#member  permission view = reader }
"""
WITHOUT = Serving(cache=False, flights=False, hot=False, leopard=False)
WITH = Serving(cache=False, flights=False, hot=False)


@pytest.mark.parametrize("seed", range(3))
def test_random_groups_are_answered_as_without_it(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    asked = count_look_ups(monkeypatch)
    with (
        Authz.open(tmp_path / "with", clock=VirtualClock(), serving=WITH) as authz,
        Authz.open(tmp_path / "without", clock=VirtualClock(), serving=WITHOUT) as plain,
    ):
        for one in (authz, plain):
            one.write_schema(SCHEMA)
        edges: set[str] = set()
        for size in (150, 20, 20):
            new = {edge(rng) for _ in range(size)}
            gone = set(rng.sample(sorted(edges), min(len(edges), size // 2))) - new
            edges = (edges | new) - gone
            for one in (authz, plain):
                one.write(touch=sorted(new), delete=sorted(gone))
            for _ in range(150):
                user = rng.choice([f"user:{rng.randrange(40)}", f"group:{rng.randrange(70)}#member"])
                object_, relation = rng.choice([("doc:1", "view"), (f"group:{rng.randrange(70)}", "member")])
                assert (
                    authz.check(object_, relation, user).allowed
                    is plain.check(object_, relation, user).allowed
                )
    assert sum(asked) > 100


def edge(rng: random.Random) -> str:
    group = f"group:{rng.randrange(70)}#member"
    return rng.choice(
        [
            f"{group}@group:{rng.randrange(70)}#member",
            f"{group}@group:{rng.randrange(70)}#member",
            f"{group}@user:{rng.randrange(40)}",
            f"doc:1#reader@{group}",
        ]
    )


def test_what_the_index_knows_may_be_deeper_than_what_is_walked(tmp_path: Path) -> None:
    chain = [f"group:{n}#member@group:{n + 1}#member" for n in range(200)]
    for serving in (WITH, WITHOUT):
        with Authz.open(tmp_path / str(serving.leopard), clock=VirtualClock(), serving=serving) as authz:
            authz.write_schema(SCHEMA)
            authz.write(touch=["doc:1#reader@group:0#member", *chain, "group:200#member@user:ann"])
            if serving.leopard:
                assert authz.check("doc:1", "view", "user:ann")
                assert not authz.check("doc:1", "view", "user:bob")
            else:
                with pytest.raises(LimitExceeded):
                    authz.check("doc:1", "view", "user:ann")


def count_look_ups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    asked: list[int] = []
    contains = Index.contains

    def counting(self: Index, user: int, group: int, revision: int) -> bool | None:
        found = contains(self, user, group, revision)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(Index, "contains", counting)
    return asked
