"""Assertions on checks and lists, which both formats of test files have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from weft.authz import Authz
from weft.authz.results import Page
from weft.authz.tuples import ObjectRef, User
from weft.cli.authz.output import verdict
from weft.cli.authz.testing.suite import Fault

Verdict = Literal["allowed", "denied", "conditional"]


class CheckIs(msgspec.Struct, frozen=True):
    """A check has this verdict."""

    place: str
    object: ObjectRef
    relation: str
    user: User
    expected: Verdict
    context: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        return f"{self.object}#{self.relation}@{self.user}{_with(self.context)} is {self.expected}"

    def judge(self, authz: Authz) -> Fault | None:
        asked = (self.object, self.relation, self.user)
        came = verdict(authz.check(*asked, context=self.context))
        if came.split(" ")[0] == self.expected:
            return None
        return Fault(self.expected, came, str(authz.explain(*asked, context=self.context)))


class ObjectsAre(msgspec.Struct, frozen=True):
    """A user is in a relation on exactly these objects of a namespace."""

    place: str
    namespace: str
    relation: str
    user: User
    expected: frozenset[str]
    context: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        return f"objects of {self.namespace}#{self.relation}@{self.user}{_with(self.context)}"

    def judge(self, authz: Authz) -> Fault | None:
        def ask(cursor: str | None) -> Page[str]:
            return authz.list_objects(
                self.namespace, self.relation, self.user, cursor=cursor, context=self.context
            )

        came, _, _ = every_item(ask)
        return _set_fault(self.expected, came)


class SubjectsAre(msgspec.Struct, frozen=True):
    """Exactly these users of some kinds are in a relation on an object.

    Whom a wildcard in the list means anyway may be listed, and need not be.
    """

    place: str
    object: ObjectRef
    relation: str
    kinds: tuple[str, ...]
    expected: frozenset[str]
    context: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        return f"users ({', '.join(self.kinds)}) of {self.object}#{self.relation}{_with(self.context)}"

    def judge(self, authz: Authz) -> Fault | None:
        came: set[str] = set()
        meant: set[str] = set()
        for kind in self.kinds:
            items, _, _ = every_subject(authz, self.object, self.relation, kind, self.context)
            came |= items
            if f"{kind}:*" in items & self.expected:
                meant |= items - {f"{kind}:*"}
        return _set_fault(self.expected - meant, came - meant)


def every_subject(
    authz: Authz, object_: ObjectRef, relation: str, kind: str, context: Mapping[str, Any]
) -> tuple[set[str], dict[str, tuple[str, ...]], set[str]]:
    """All pages of `list_subjects`: the users, the conditional ones, and whom a wildcard does not mean."""
    return every_item(
        lambda cursor: authz.list_subjects(object_, relation, kind, cursor=cursor, context=context)
    )


def every_item(
    ask: Callable[[str | None], Page[str]],
) -> tuple[set[str], dict[str, tuple[str, ...]], set[str]]:
    """All pages of a list: the items, the conditional ones with what they miss, and the excluded ones."""
    page = ask(None)
    pages = [page]
    while page.cursor is not None:
        page = ask(page.cursor)
        pages.append(page)
    items = {item for page in pages for item in page.items}
    unsure = {item.item: item.missing for page in pages for item in page.conditional}
    return items, unsure, {item for page in pages for item in page.excluded}


def _set_fault(expected: frozenset[str], came: set[str]) -> Fault | None:
    if came == expected:
        return None
    lacking = [f"lacking {item}" for item in sorted(expected - came)]
    beyond = [f"beyond that {item}" for item in sorted(came - expected)]
    return Fault(_shown(expected), _shown(came), "\n".join(lacking + beyond))


def _shown(items: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(items)) or "nothing"


def _with(context: Mapping[str, Any]) -> str:
    return f" with {msgspec.json.encode(context).decode()}" if context else ""
