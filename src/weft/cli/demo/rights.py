"""Act 2: permissions that follow from the history; checks, lists, a reason, and a revocation."""

from __future__ import annotations

import msgspec

from weft.authz import EXACT, LATEST, Authz, Decision
from weft.authz.tuples import ObjectRef, User
from weft.cli.demo.screen import Screen
from weft.cli.demo.stores import Stores
from weft.graph import Graph
from weft.integrations.repository.history import ROOT
from weft.integrations.visibility import AuthzVisibility

GUEST = "person:guest-reviewer"
"""Has written nothing, so that every right it has comes from the team."""
_MEMBER = f"team:core#member@{GUEST}"


class Act(msgspec.Struct, frozen=True):
    """`seen` is how many files a traversal shows the guest before and after the revocation."""

    team: list[str]
    editable: int
    seen_before: int
    seen_after: int


def play(screen: Screen, stores: Stores, file: str) -> Act:
    """The people with most commits become the team that maintains everything; a guest joins and leaves."""
    graph, authz = stores.graph, stores.authz
    core = graph.start("commit").in_("authored").count_by(top=3)
    members = [str(User("person", group.key.id)) for group in core]
    joined = authz.write(
        touch=[
            f"folder:{ROOT}#maintainer@team:core#member",
            *(f"team:core#member@{person}" for person in members),
            _MEMBER,
        ]
    )
    target, stranger = str(ObjectRef("file", file)), "person:stranger"
    page = authz.list_objects("file", "edit", members[0], at=joined, limit=1_000)
    authors = authz.list_subjects(target, "author", "person", at=joined)
    rows = [
        (f"may {GUEST} edit {file}?", _said(authz.check(target, "edit", GUEST, at=joined))),
        (f"may {stranger} edit {file}?", _said(authz.check(target, "edit", stranger, at=joined))),
        (f"which files may {members[0]} edit?", f"{len(page.items):,}{'' if page.complete else ' and more'}"),
        (f"who is an author of {file}?", f"{len(authors.items):,} people"),
    ]
    screen.table("checks and lists, all at one zookie", ("question", "answer"), rows)
    screen.say(f"why may {GUEST} edit it?")
    screen.say(str(authz.explain(target, "edit", GUEST, at=joined)))

    seen_before = _seen(graph, authz, file)
    revoked = authz.write(delete=[_MEMBER])
    seen_after = _seen(graph, authz, file)
    after = [
        ("check at the revocation's zookie", _said(authz.check(target, "edit", GUEST, at=revoked))),
        ("check exactly at the moment before", _said(authz.check(target, "edit", GUEST, at=EXACT(joined)))),
        ("check at the latest revision", _said(authz.check(target, "edit", GUEST, at=LATEST))),
        ("files that changed together with it, in the guest's eyes", f"{seen_before:,}, then {seen_after:,}"),
    ]
    screen.table("the guest leaves the team", ("what is asked", "answer"), after)
    return Act(members, len(page.items), seen_before, seen_after)


def _seen(graph: Graph, authz: Authz, file: str) -> int:
    """What one traversal shows the guest: hidden files are not walked through, returned or counted."""
    eyes = AuthzVisibility(authz, GUEST, {"file": "view"}, public=("commit", "person"))
    return graph.seen_by(eyes).start("file", file).in_("changed").out("changed").count()


def _said(decision: Decision) -> str:
    return "yes" if decision else "no"
