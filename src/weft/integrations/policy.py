"""The agent asks weft.authz before every tool call: it may do what both its user and its session may.

Nothing that a model reads or writes can widen that: rights are relation tuples and not part of a prompt.
"""

from __future__ import annotations

import hashlib
import math
import posixpath
from collections.abc import Iterator, Sequence
from typing import Final

from weft.agent.commands import identity
from weft.agent.policy import Access, Allow, Ask, Decision, Deny, Question, wish
from weft.authz import LATEST, Authz, Check, Zookie
from weft.authz.tuples import ObjectRef, RelationTuple, TupleFilter, User, parse_user
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, LimitExceeded, NotFound

SCHEMA: Final = """\
use expiration

definition user {}
definition session {}

definition workspace {
  relation reader: user | session
  relation writer: user | session
  relation runner: user | session
  relation lander: user | session | session with expiration
  relation outsider: user
  permission read = reader + writer
  permission write = writer
  permission run = runner & read
  permission land = lander
  permission run_outside = outsider & run
}

definition path {
  relation parent: path | workspace
  relation frozen: user | session | user:* | session:*
  relation hidden: user | session | user:* | session:*
  permission read = parent->read - hidden
  permission write = parent->write - frozen - hidden
}

definition host {
  relation visitor: user | session | session with expiration
  permission connect = visitor
}

definition place {
  relation parent: place
  relation viewer: user | session with expiration
  permission see = viewer + parent->see
}

definition command {
  relation workspace: workspace
  relation outsider: session with expiration
  permission run_outside = outsider + workspace->run_outside
}
"""
"""In SpiceDB's schema language. `frozen` and `hidden` on a folder hold for everything in it, and so does
`viewer` on a place outside the workspace. A command can read all that is not hidden, so running one takes the
right to read."""

_APPROVABLE: Final = {"land": "lander", "connect": "visitor", "see": "viewer", "run_outside": "outsider"}
"""Actions that a session may be allowed for a while, and the relation that says so."""
_PAGE: Final = 1_000


class AuthzPolicy:
    """Fills `agent.policy.Policy` for one workspace.

    A file is the object `path:WORKSPACE/FILE`; its place in the tree is given with each question, so that a
    tuple on any folder above it counts and no file needs tuples of its own.
    """

    def __init__(self, authz: Authz, workspace: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        if not workspace or "/" in workspace:
            raise Invalid(f"`{workspace}` cannot name a workspace", hint="use a name without `/`")
        self._authz = authz
        self._workspace = workspace
        self._clock = clock

    def decide(self, question: Question) -> Decision:
        """Both the user and the session must have the right, at the newest revision."""
        access = question.access
        if access.action == "run_outside":
            # Who may not run it in the sandbox may not run it at all.
            inside = Question(question.session, question.user, question.tool, Access("run", access.resource))
            if isinstance(denied := self.decide(inside), Deny):
                return denied
        try:
            target = self._target(access)
            user, session = _person(question.user), User("session", question.session)
            decisions = self._authz.check_many(
                [Check(target, access.action, who) for who in (user, session)],
                at=LATEST,
                contextual_tuples=self._chain(target),
            )
        except (Invalid, LimitExceeded, NotFound) as error:
            return Deny(error.message)
        lacking = [
            who for who, decision in zip((user, session), decisions, strict=True) if not decision.allowed
        ]
        if not lacking:
            return Allow(f"`{user}` and `{session}` may do it")
        if lacking == [session] and access.action in _APPROVABLE:
            return Ask(wish(access))
        return Deny(f"{' and '.join(f'`{who}`' for who in lacking)} may not {wish(access)}")

    def hidden(self, session: str, user: str) -> Sequence[str]:
        """The paths that a tuple hides from the user or the session, as of now.

        Read off the tuples, which name everybody whom they concern: a question for each would take long.
        """
        whom = {_person(user), User("user", "*"), User("session", session), User("session", "*")}
        return sorted({place for place, who in self._all_hidden() if who in whom})

    def _all_hidden(self) -> Iterator[tuple[str, User]]:
        """Every path of the workspace that is hidden from somebody, and from whom."""
        prefix = f"{self._workspace}/"
        where = TupleFilter(namespace="path", object_id_prefix=prefix, relation="hidden")
        page = self._authz.read(where=where, limit=_PAGE, at=LATEST)
        while True:
            yield from ((found.object.id.removeprefix(prefix), found.user) for found in page.items)
            if page.cursor is None:
                return
            page = self._authz.read(where=where, limit=_PAGE, cursor=page.cursor)

    def hide(self, path: str) -> Zookie:
        """Let no session read or write a path or anything below it, by a tool or by a command."""
        hidden = self._path(_place(path))
        return self._authz.write(touch=[RelationTuple(hidden, "hidden", User("session", "*"))])

    def freeze(self, path: str) -> Zookie:
        """Let no session write to a path or below it; `.` is the whole workspace."""
        frozen = self._path(_place(path))
        return self._authz.write(touch=[RelationTuple(frozen, "frozen", User("session", "*"))])

    def grant(self, who: str, *relations: str) -> Zookie:
        """Give a user or session (`user:ann`) standing relations to the workspace, such as `reader`."""
        return self._authz.write(
            touch=[RelationTuple(self._root, relation, parse_user(who)) for relation in relations]
        )

    def approve(self, session: str, access: Access, for_s: float) -> Zookie:
        """Let a session land its change, reach a host, see a place or run a command outside, for so many
        seconds: a tuple that expires."""
        if access.action not in _APPROVABLE:
            raise Invalid(f"`{access.action}` needs no approval", hint="use `grant`")
        if not 0 < for_s < math.inf:
            raise Invalid(f"an approval for `{for_s}` seconds", hint="name a positive number")
        target = self._target(access)
        until_us = self._clock.now_us() + int(for_s * 1_000_000)
        relation = _APPROVABLE[access.action]
        return self._authz.write(
            touch=[RelationTuple(target, relation, User("session", session), expires_at_us=until_us)]
        )

    @property
    def _root(self) -> ObjectRef:
        return ObjectRef("workspace", self._workspace)

    def _path(self, place: str) -> ObjectRef:
        return ObjectRef("path", f"{self._workspace}/{place}")

    def _target(self, access: Access) -> ObjectRef:
        name = access.resource.name
        match access.resource.kind:
            case "file":
                return self._path(_place(name))
            case "host":
                return ObjectRef("host", name.lower().rstrip("."))
            case "place":
                return ObjectRef("place", _outside(name))
            case "command" if access.action == "run_outside":
                return ObjectRef("command", f"{self._workspace}/{_digest(identity(name))}")
        return self._root

    def _chain(self, target: ObjectRef) -> list[RelationTuple]:
        """Where the target stands, as tuples: the folders above it, and the workspace."""
        links: list[RelationTuple] = []
        match target.namespace:
            case "path":
                place = target.id.removeprefix(f"{self._workspace}/")
                while place != ".":
                    parent = posixpath.dirname(place) or "."
                    links.append(_link(self._path(place), self._path(parent)))
                    place = parent
                links.append(_link(self._path("."), self._root))
            case "place":
                while target.id != "/":
                    above = ObjectRef("place", posixpath.dirname(target.id))
                    links.append(_link(target, above))
                    target = above
            case "command":
                links.append(RelationTuple(target, "workspace", User(self._root.namespace, self._root.id)))
        return links


def _person(text: str) -> User:
    """The one user for whom a session acts: neither another session nor a group."""
    user = parse_user(text)
    if user.namespace != "user" or user.is_userset or user.is_wildcard:
        raise Invalid(f"`{text}` is no user", hint="name one like `user:ann`")
    return user


def _place(name: str) -> str:
    """A path as it is stored, relative to the workspace."""
    place = posixpath.normpath(name)
    if place.startswith(("/", "../")) or place == "..":
        raise Invalid(f"`{name}` is outside the workspace", hint="name a path inside it")
    return place


def _outside(name: str) -> str:
    """A path of the host as it is stored."""
    if not name.startswith("/") or posixpath.normpath(name) != name or name.startswith("//"):
        raise Invalid(f"`{name}` is no place", hint="name an absolute path, without `.` and `..`")
    return name


def _digest(command: str) -> str:
    """The name of a command's tuple: it may be longer than a name can be."""
    return hashlib.sha256(command.encode("utf-8", "surrogateescape")).hexdigest()


def _link(inner: ObjectRef, outer: ObjectRef) -> RelationTuple:
    return RelationTuple(inner, "parent", User(outer.namespace, outer.id))
