"""Short histories of random schemas and tuples, to be played on a store and held against the oracle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from hypothesis import assume, event
from hypothesis import strategies as st

from weft.authz import Authz, Zookie
from weft.authz.conditions import Conditions
from weft.authz.schema import Language, print_schema
from weft.authz.schema.model import Schema
from weft.authz.serving.settings import Serving
from weft.authz.tuples import ObjectRef, RelationTuple, User
from weft.testing.authz import Oracle
from weft.testing.authz_schemas import Features, contexts, schemas, tuples_for
from weft.testing.clock import VirtualClock

IDS: Final[Sequence[str]] = ("1", "2")
ASKED: Final = [User(namespace, id_) for namespace in ("user", "group") for id_ in ("1", "2", "9", "*")]
LANGUAGES: dict[Language, Features] = {
    "zed": Features(this="alone"),
    "zanzibar": Features(nil=False, self=False, all=False, untyped=True),
}
ALL_ON: Final = Serving()


class History(NamedTuple):
    """A schema, commits that toggle tuples, and the context that questions come with."""

    language: Language
    schema: Schema
    commits: list[list[RelationTuple]]
    context: dict[str, Any]

    def judge(self, item: RelationTuple) -> bool | None:
        """Whether the condition of a tuple holds; None when context is missing."""
        if item.condition is None:
            return True
        found = Conditions(self.schema).evaluate(item.condition, self.context)
        return found if isinstance(found, bool) else None


@st.composite
def histories(draw: st.DrawFn, /, *, conditions: bool, ids: Sequence[str] = IDS) -> History:
    """Histories over few ids, so that much is connected."""
    language = draw(st.sampled_from(list(LANGUAGES)))
    schema = draw(schemas(LANGUAGES[language]._replace(conditions=conditions)))
    assume(any(relation.allowed for config in schema.namespaces for relation in config.relations))
    items = st.lists(tuples_for(schema, ids), min_size=1, max_size=8, unique_by=lambda item: item.key)
    commits = draw(st.lists(items, max_size=4))
    context: dict[str, Any] = {}
    for condition in schema.conditions:
        context |= draw(contexts(condition))
    return History(language, schema, commits, context)


@contextmanager
def opened(kind: str, clock: VirtualClock, serving: Serving = ALL_ON) -> Iterator[Authz]:
    """A fresh store of a kind: `memory` or `lmdb`."""
    if kind == "memory":
        with Authz.open("memory:", clock=clock, serving=serving) as authz:
            yield authz
    else:
        with (
            tempfile.TemporaryDirectory() as folder,
            Authz.open(folder + "/authz", clock=clock, serving=serving) as authz,
        ):
            yield authz


State = dict[object, RelationTuple]
"""The tuples that are there, by key."""


def steps(authz: Authz, history: History) -> Iterator[tuple[Zookie, State]]:
    """Write the history, a commit at a time; after each its zookie, and the tuples that are there."""
    state: State = {}
    text = print_schema(history.schema, history.language)
    yield authz.write_schema(text, history.language), state
    for commit in history.commits:
        delete = [item for item in commit if state.get(item.key) == item]
        touch = [item for item in commit if state.get(item.key) != item]
        state = {key: item for key, item in state.items() if item not in delete}
        state.update({item.key: item for item in touch})
        yield authz.write(touch=touch, delete=delete), state


def play(authz: Authz, history: History) -> list[tuple[Zookie, State]]:
    """Write the history; each zookie with the tuples that are there at it."""
    return list(steps(authz, history))


def oracle_of(history: History, state: State, now_us: int) -> Oracle:
    """What set algebra says about a state."""
    known = history.schema.by_name
    users = [user for user in ASKED if user.namespace in known]
    objects = [ObjectRef(namespace, id_) for namespace in known for id_ in IDS]
    oracle = Oracle(
        history.schema, state.values(), now_us=now_us, judge=history.judge, users=users, objects=objects
    )
    if oracle.sure != oracle.possible:
        event("not everything is decided")
    return oracle
