"""SpiceDB's expected relations: exactly these users have a permission, by these relations.

"[user:ann] is <doc:1#reader>/<doc:1#writer>"
"[user:bob[...]] is <doc:1#reader>"             bob's depends on a condition
"[user:* - {user:eve}] is <doc:1#reader>"       everybody's but eve's
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from weft.authz import Authz
from weft.authz.tuples import ObjectRef, User, parse_user
from weft.cli.authz.testing.assertions import every_subject
from weft.cli.authz.testing.sources import Sources, named_users
from weft.cli.authz.testing.suite import Fault
from weft.core.errors import Invalid

_LINE: Final = re.compile(r"\[(?P<subject>.+)\] is (?P<by><[^<>]+>(?:/<[^<>]+>)*)")
_SUBJECT: Final = re.compile(r"(?P<user>.+?)(?P<unsure>\[\.\.\.\])?(?: - \{(?P<but>[^{}]*)\})?")
_ELLIPSIS: Final = "#..."


class Subject(msgspec.Struct, frozen=True):
    """A user that has a permission, and how."""

    user: str
    conditional: bool
    by: frozenset[str]
    """The `object#relation` of the tuples that name the user."""
    but: frozenset[str] = frozenset()
    """Whom a wildcard does not mean."""

    def __str__(self) -> str:
        unsure = "[...]" if self.conditional else ""
        but = f" - {{{', '.join(sorted(self.but))}}}" if self.but else ""
        return f"[{self.user}{unsure}{but}] is {'/'.join(f'<{userset}>' for userset in sorted(self.by))}"


class RelationsAre(msgspec.Struct, frozen=True):
    """Exactly these users are in a relation on an object. Usersets may be listed, and need not be."""

    place: str
    object: ObjectRef
    relation: str
    expected: tuple[Subject, ...]

    @property
    def text(self) -> str:
        return f"users of {self.object}#{self.relation}"

    def judge(self, authz: Authz) -> Fault | None:
        came = {subject.user: subject for subject in self._subjects(authz)}
        expected = {subject.user: subject for subject in self.expected}
        wanted = {user for user in came if user in expected or not parse_user(user).is_userset}
        lines = [f"lacking {subject}" for user, subject in expected.items() if came.get(user) != subject]
        lines += [f"found {came[user]}" for user in sorted(wanted) if came[user] != expected.get(user)]
        if not lines:
            return None
        return Fault(
            "; ".join(map(str, self.expected)) or "nobody",
            "; ".join(str(came[user]) for user in sorted(wanted)) or "nobody",
            "\n".join(lines),
        )

    def _subjects(self, authz: Authz) -> Iterator[Subject]:
        tree = authz.expand(self.object, self.relation)
        named = named_users(tree)
        users = {parse_user(user) for user in (*named, *(subject.user for subject in self.expected))}
        for kind in sorted({_kind(user) for user in users}):
            items, unsure, but = every_subject(authz, self.object, self.relation, kind, {})
            for user in sorted(named & (items | unsure.keys())):
                excluded = frozenset(but) if parse_user(user).is_wildcard else frozenset[str]()
                yield Subject(user, user in unsure, Sources(authz, tree, user).found, excluded)


def read_subject(line: str) -> Subject:
    """A line of the format; `Invalid` otherwise."""
    whole = _LINE.fullmatch(line.strip())
    subject = _SUBJECT.fullmatch(whole["subject"]) if whole else None
    if whole is None or subject is None:
        raise Invalid(
            f"`{line[:80]}` is not an expected relation", hint="write `[user:ann] is <doc:1#reader>`"
        )
    but = [_user(user.removesuffix("[...]")) for user in re.split(r",\s*", subject["but"] or "") if user]
    by = frozenset(part.strip("<>") for part in whole["by"].split(">/<"))
    return Subject(_user(subject["user"]), subject["unsure"] is not None, by, frozenset(but))


def _user(text: str) -> str:
    return str(parse_user(text.strip().removesuffix(_ELLIPSIS)))


def _kind(user: User) -> str:
    return f"{user.namespace}#{user.relation}" if user.relation else user.namespace
